/* `distill compress`: distillation, then every number format, and one table of them all. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json_text.h"
#include "cli/stage.h"
#include "quant/quantizer.h"

static const kd_option OPTIONS[] = {
    KD_STAGE_OPTIONS,
    {"dry-run", NULL, "say what would be trained, how long it takes and whether it fits"},
    {"formats", "LIST",
     "in place of the config's \"quantize\": formats (q8_0), a rounding before one (gptq:q4_0),\n"
     "bits per weight of a budget (4.5), integers; separated by commas"},
    {NULL, NULL, NULL}};

static const kd_usage USAGE = {
    .command = "compress",
    .positional = "CONFIG",
    .least = 1,
    .most = 1,
    .summary =
        "Distils, then writes the student in every entry of \"quantize\", and measures them all "
        "on\n"
        "the same test set: size, speed, quality with its interval, how far the answers are from\n"
        "the float student's (KL, by quantile) and how often they are the same, the worst class "
        "or\n"
        "speaker; runs/<name>/report.html and pareto.svg draw size against quality. Stages that\n"
        "are done stay as they are.",
    .options = OPTIONS,
    .example = "distill compress configs/smollm_student.json\n"
               "distill compress configs/smollm_student.json --dry-run\n"
               "distill compress configs/whisper_base_en.json --formats q8_0,q4_0,gptq:q4_0,4.5"};

/* An entry of "quantize" of one word; the file's name is short, and differs from the others'. */
static int add_entry(kd_text *out, const char *word) {
    char *end;
    const double bits = strtod(word, &end);
    const char *colon = strchr(word, ':'), *format = colon ? colon + 1 : word;
    if (strcmp(word, kd_quantizer_integers.name) == 0) {
        kd_text_add(out, "{}");
    } else if (end != word && *end == '\0' && bits > 0 && isfinite(bits)) {
        kd_text_add(out, "{\"name\": \"budget%.4g\", \"budget\": {\"bits_per_weight\": %.9g}}",
                    bits, bits);
    } else if (!kd_number_format_named(format)) {
        return kd_fail(KD_EUSAGE, "--formats: %s is no format, rounding:format, bits, nor integers",
                       word);
    } else {
        kd_text_add(out, "{");
        kd_json_add_string(out, "format", format);
        if (colon)
            kd_text_add(out, ", \"rounding\": \"%.*s\", \"name\": \"%s-%.*s\"", (int)(colon - word),
                        word, format, (int)(colon - word), word);
        kd_text_add(out, "}");
    }
    return KD_OK;
}

/* "quantize=[…]" of a list of words. */
static int list_entries(kd_text *out, const char *formats) {
    char *words = strdup(formats), *rest = NULL;
    int status = words ? KD_OK : kd_fail_memory(strlen(formats), "--formats"), count = 0;
    kd_text_add(out, "quantize=[");
    for (char *word = words ? strtok_r(words, ",", &rest) : NULL; word && status == KD_OK;
         word = strtok_r(NULL, ",", &rest)) {
        if (count++ > 0) kd_text_add(out, ", ");
        status = add_entry(out, word);
    }
    kd_text_add(out, "]");
    free(words);
    if (status == KD_OK && count == 0) status = kd_fail(KD_EUSAGE, "--formats: names none");
    return status == KD_OK ? kd_text_finish(out, "--formats") : status;
}

int kd_cmd_compress(int argc, char **argv) {
    kd_arguments arguments;
    kd_text set = {0};
    int status = kd_arguments_parse(&arguments, &USAGE, argc, argv);
    if (status != KD_OK) return status;
    const char *formats = kd_arguments_value(&arguments, "formats");
    if (formats) status = list_entries(&set, formats);
    if (status == KD_OK && kd_arguments_has(&arguments, "dry-run"))
        status = kd_stage_plan(&arguments, 0, set.text);
    else if (status == KD_OK)
        status = kd_stage_carry_out_of(&arguments, KD_STAGE_ALL, KD_STAGE_QUANTIZE, set.text);
    free(set.text);
    return status;
}
