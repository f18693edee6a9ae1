/* How pages and drawings look: one style, two colour schemes. The colours of series and models keep
 * apart for people who see few of them (after Okabe and Ito). */
#ifndef KD_REPORT_STYLE_H
#define KD_REPORT_STYLE_H

/* A class for each colour, on light ground; what has it draws with currentColor. */
#define COLOURS                                                                                    \
    ".c0{color:#0072b2}.c1{color:#d55e00}.c2{color:#009e73}.c3{color:#cc79a7}.c4{color:#b07800}"   \
    ".c5{color:#56b4e9}.c6{color:#8b5cf6}.c7{color:#7a7f87}.c8{color:#a33b3b}.c9{color:#4d7c0f}\n" \
    ".teacher{color:#6f7883}.student{color:#0067b1}.baseline{color:#b07800}.ptq{color:#b0619a}"       \
    ".blob{color:#00866a}.total{color:#1d2126}\n"                                                  \
    ".term1{color:#0067b1}.term2{color:#c2500a}.term3{color:#b0619a}.term4{color:#00866a}\n"

/* Those that would be too dark on a dark screen. */
#define DARK_COLOURS                                                                               \
    ".c0,.student,.term1{color:#56b0ee}.c1,.term2{color:#f0864a}.c2,.blob,.term4{color:#35c29c}"   \
    ".c3,.ptq,.term3{color:#dc93c6}.c4,.baseline{color:#e3a92b}.c6{color:#a78bfa}.c7,.teacher{color:" \
    "#"                                                                                            \
    "98a2ad}"                                                                                      \
    ".c8{color:#e07a7a}.c9{color:#8fbf4d}.total{color:#e7eaed}"

#define PLOT_STYLE(ink, soft, line)                                                                \
    ".plot text{font:12px system-ui,sans-serif;fill:" soft ";font-variant-numeric:tabular-nums}\n" \
    ".plot .title{font-size:14px;font-weight:600;fill:" ink "}.plot .label{fill:" ink "}\n"        \
    ".plot .end{text-anchor:end}.plot .mid{text-anchor:middle}\n"                                  \
    ".plot .grid{stroke:" line ";fill:none}.plot .minor{opacity:.5}"                               \
    ".plot .axis,.plot .hairline{stroke:" soft ";fill:none}"                                       \
    ".plot .hairline{stroke-dasharray:3 3}\n"                                                      \
    ".plot .line{fill:none;stroke:currentColor;stroke-width:1.7;stroke-linejoin:round}"            \
    ".plot .dash{stroke-dasharray:5 4}.plot .faint{opacity:.25;stroke-width:1}\n"                  \
    ".plot circle,.plot rect[class]{fill:currentColor}.plot .hit{fill:transparent}"                \
    ".plot .value{fill:" soft ";opacity:.55}\n"

#define PAGE_PLOT_STYLE PLOT_STYLE("var(--ink)", "var(--soft)", "var(--line)")

static const char REPORT_STYLE[] =
    ":root{color-scheme:light dark;--ground:#fff;--ink:#1d2126;--soft:#5c6670;--line:#dfe3e8;"
    "--track:#f4f6f8}\n" COLOURS
    "@media screen and (prefers-color-scheme:dark){:root{--ground:#14171a;--ink:#e7eaed;"
    "--soft:#9ba5b0;--line:#2d333a;--track:#1b1f24}\n" DARK_COLOURS "}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.5 system-ui,sans-serif}\n"
    "main{max-width:74rem;margin:0 auto;padding:2rem 1.25rem 4rem}\n"
    "h1{font-size:1.6rem;line-height:1.25;margin:0;overflow-wrap:anywhere}\n"
    "h2{font-size:1.1rem;margin:2.75rem 0 .75rem}\n"
    "p{margin:.35rem 0;max-width:46rem}\n"
    ".soft{color:var(--soft);font-size:.9rem}\n"
    ".facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(13rem,1fr));gap:1.25rem 2rem;"
    "margin:1.75rem 0 0;padding:1.25rem 0;border:solid var(--line);border-width:1px 0}\n"
    ".facts dt{color:var(--soft);font-size:.9rem}\n"
    ".facts dd{margin:0}\n"
    ".facts b{display:block;font-size:1.75rem;line-height:1.3;font-weight:600;"
    "font-variant-numeric:tabular-nums}\n"
    ".scroll{overflow-x:auto}\n"
    "table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.95rem}"
    "\n"
    "th,td{padding:.5rem .75rem;text-align:right;border-bottom:1px solid var(--line);"
    "white-space:nowrap}\n"
    "th{font-weight:600}\n"
    "thead th{color:var(--soft);font-weight:500;font-size:.85rem;vertical-align:bottom;"
    "white-space:normal}\n"
    "th:first-child,td:last-child,thead th:last-child{text-align:left}\n"
    "th:first-child{padding-left:0}\n"
    "td small{color:var(--soft)}\n"
    "i{display:inline-block;width:.7em;height:.7em;border-radius:2px;margin-right:.5em;"
    "background:currentColor;print-color-adjust:exact;-webkit-print-color-adjust:exact}\n"
    ".other{color:var(--soft)}\n"
    ".legend{display:flex;flex-wrap:wrap;gap:.1rem 1.1rem;list-style:none;margin:.2rem 0 .6rem;"
    "padding:0;font-size:.9rem;color:var(--soft)}\n"
    ".charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(19rem,1fr));gap:1.75rem "
    "2.25rem}\n"
    "figure{margin:0;min-width:0;display:flex;flex-direction:column;break-inside:avoid}\n"
    "figcaption{font-weight:600;font-size:.95rem;margin-bottom:.2rem;overflow-wrap:anywhere}\n"
    "svg{display:block;width:100%;height:auto;max-width:27rem;overflow:visible}\n"
    ".level svg{margin-top:auto}\n" PAGE_PLOT_STYLE
    "details{margin-top:2.75rem}summary{cursor:pointer;font-weight:600}\n"
    "pre{background:var(--track);padding:1rem;overflow-x:auto;font-size:.85rem;line-height:1.45;"
    "tab-size:2}\n"
    "@media print{body{font-size:12px}main{padding:0;max-width:none}h2,h2+p{break-after:avoid}"
    ".scroll{overflow:visible}table{font-size:.9em}th,td{padding:.3rem .4rem}"
    ".charts{grid-template-columns:1fr 1fr}details{display:none}}\n";

#endif
