#include "report/page.h"

#include <string.h>

#include "report/style.h"

void kd_text_add_escaped(kd_text *out, const char *text) {
    for (const char *p = text; *p;) {
        size_t plain = strcspn(p, "&<>\"'");
        kd_text_add(out, "%.*s", (int)plain, p);
        p += plain;
        if (*p) kd_text_add(out, "&#%d;", *p++);
    }
}

void kd_report_begin_page(kd_text *out, const char *name) {
    kd_text_add(out,
                "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
                "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>");
    kd_text_add_escaped(out, name);
    kd_text_add(out, " – distill</title>\n<style>\n%s", REPORT_STYLE);
}

void kd_report_begin_body(kd_text *out, const char *name) {
    kd_text_add(out, "</style></head>\n<body><main>\n<h1>");
    kd_text_add_escaped(out, name);
    kd_text_add(out, "</h1>\n");
}

void kd_report_add_settings(kd_text *out, uint64_t seed, const char *precision,
                            const kd_hash *config) {
    kd_text_add(out, "<p class=\"soft\">Seed %llu, precision %s, configuration %.8s</p>\n",
                (unsigned long long)seed, precision, config->hex);
}

void kd_report_end_page(kd_text *out, const char *resolved) {
    kd_text_add(out, "<details><summary>Configuration, resolved</summary>\n<pre>");
    kd_text_add_escaped(out, resolved);
    kd_text_add(out, "</pre></details>\n</main></body></html>\n");
}
