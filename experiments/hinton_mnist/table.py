#!/usr/bin/env python3
"""The published table beside ours, from the reports of a sweep's runs.

    python3 experiments/hinton_mnist/table.py runs/hinton_mnist [figure.svg]

prints the table and, when a second path is given, draws it there.
"""
import glob
import json
import math
import os
import statistics
import sys
from xml.sax.saxutils import escape

# What: words, variant's folder, kind of model in its report, published errors, published errors on
# the classes named, those classes.
ROWS = [
    ("teacher 2×1200, dropout, max-norm, jitter", "soft_targets", "teacher", 67, None, ()),
    ("student 2×800, labels only", "labels_only", "student", 146, None, ()),
    ("student 2×800, soft targets, τ = 20", "soft_targets", "student", 74, None, ()),
    ("… no 3 in the transfer set", "no_3", "student", 206, 133, (3,)),
    ("… no 3, bias of 3 raised", "no_3", "corrected", 109, 14, (3,)),
    ("… only 7 and 8 in the transfer set", "only_7_and_8", "student", 4730, None, (7, 8)),
    ("… only 7 and 8, their biases lowered", "only_7_and_8", "corrected", 1320, None, (7, 8)),
    ("student 2×800, labels, shifted images", "labels_shifted", "student", None, None, ()),
    ("student 2×800, soft targets, shifted images", "shifted", "student", None, None, ()),
]
SHIFTS = {("no_3", "corrected"): "+3.5", ("only_7_and_8", "corrected"): "−7.6"}


def read_runs(folder, variant, kind):
    """The model of that kind in every seed's report, in the order of the seeds; one teacher that
    taught all seeds counts once."""
    found = {}
    for path in glob.glob(os.path.join(folder, variant + "-s*", "report.json")):
        seed = int(os.path.basename(os.path.dirname(path)).rsplit("-s", 1)[1])
        with open(path, encoding="utf-8") as file:
            models = {model["kind"]: model for model in json.load(file)["models"]}
        if kind in models:
            found[seed] = models[kind]
    models = [found[seed] for seed in sorted(found)]
    shared = kind == "teacher" and os.path.isdir(os.path.join(folder, "teacher"))
    return models[:1] if shared else models


def errors(model, classes=None):
    parts = [model["classes"][c] for c in classes] if classes else [model]
    return sum(part["samples"] - part["correct"] for part in parts)


def spread(values, form="%.1f"):
    if not values:
        return "–"
    text = form % statistics.mean(values)
    return text + " ± " + form.replace("+", "") % statistics.stdev(values) if len(values) > 1 else text


def table(folder):
    lines = [("test errors of 10,000", "published", "ours", "seeds", "on the missing", "ours",
              "shift of the bias", "ours")]
    for words, variant, kind, published, on_classes, classes in ROWS:
        models = read_runs(folder, variant, kind)
        missing = [c for c in range(10) if c not in (7, 8)] if classes == (7, 8) else classes
        shift = SHIFTS.get((variant, kind), "")
        lines.append((
            words, f"{published:,}" if published else "", spread([errors(m) for m in models]),
            " ".join(f"{errors(m):,}" for m in models), str(on_classes or ""),
            spread([errors(m, missing) for m in models]) if missing else "", shift,
            spread([m["bias_shift"] for m in models], "%+.2f").replace("-", "−") if shift else ""))
    width = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        cells = [line[0].ljust(width[0])] + [c.rjust(w) for c, w in zip(line[1:], width[1:])]
        print("   ".join(cells).rstrip())


def figure(folder, path):
    """Published (a diamond) and ours (every seed, and the mean) on a logarithmic axis."""
    left, right, top, step, low, high = 322, 706, 46, 34, 50, 6000
    height = top + step * len(ROWS) + 44

    def x(count):
        return left + (right - left) * math.log(count / low) / math.log(high / low)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 {height}" '
           'font-family="system-ui, sans-serif" font-size="13" fill="#1d2126">',
           f'<rect width="760" height="{height}" fill="#fff"/>']
    bottom = top + step * len(ROWS)
    for tick in (50, 100, 200, 500, 1000, 2000, 5000):
        out.append(f'<path d="M{x(tick):.1f} {top - 8}V{bottom}" stroke="#dfe3e8"/>'
                   f'<text x="{x(tick):.1f}" y="{bottom + 17}" text-anchor="middle" '
                   f'fill="#5c6670">{tick:,}</text>')
    out.append(f'<text x="{(left + right) / 2}" y="{bottom + 36}" text-anchor="middle" '
               'fill="#5c6670">errors on the 10,000 test images</text>')
    for i, (words, variant, kind, published, _, _) in enumerate(ROWS):
        y = top + step * i + step / 2 - 8
        counts = [errors(model) for model in read_runs(folder, variant, kind)]
        mean = statistics.mean(counts) if counts else None
        out.append(f'<text x="{left - 14}" y="{y + 4.5}" text-anchor="end">{escape(words)}</text>')
        end = max(map(x, counts), default=left)
        if published:
            px = x(published)
            end = max(end, px + 7)
            out.append(f'<path d="M{px:.1f} {y - 7}l7 7l-7 7l-7 -7z" fill="none" stroke="#b07800" '
                       f'stroke-width="2"><title>published: {published:,}</title></path>')
        for count in counts:
            out.append(f'<circle cx="{x(count):.1f}" cy="{y}" r="3" fill="#0067b1" '
                       'fill-opacity=".35"/>')
        if mean:
            out.append(f'<path d="M{x(mean):.1f} {y - 8}v16" stroke="#0067b1" stroke-width="3">'
                       f'<title>ours, mean: {mean:,.1f}</title></path>')
            out.append(f'<text x="{end + 9:.1f}" y="{y + 4.5}" fill="#0067b1">{mean:,.0f}</text>')
    out.append('<path d="M292 20l7 7l-7 7l-7 -7z" transform="translate(8 -9)" fill="none" '
               'stroke="#b07800" stroke-width="2"/><text x="316" y="22.5">published</text>'
               '<path d="M404 10v16" stroke="#0067b1" stroke-width="3"/>'
               '<text x="414" y="22.5">ours, mean</text>'
               '<circle cx="506" cy="18" r="3" fill="#0067b1" fill-opacity=".35"/>'
               '<text x="516" y="22.5">one seed</text>')
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(out) + "\n</svg>\n")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    table(sys.argv[1])
    if len(sys.argv) == 3:
        figure(sys.argv[1], sys.argv[2])
