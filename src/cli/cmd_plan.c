/* `distill plan`: bit widths against the memory and the speed of devices. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "cli/cli.h"
#include "cli/plan_model.h"
#include "config/reader.h"
#include "config/rows.h"
#include "files/formats/number_format.h"

static const kd_option OPTIONS[] = {
    {"device", "NAME", "one of them in detail, and what to do first"},
    {"devices", "FILE", "devices of your own, as src/planner/devices.json has them"},
    {"tokens", "N", "kept in the cache of keys and values (default 2048)"},
    {NULL, NULL, NULL}};

static const kd_usage USAGE = {
    .command = "plan",
    .positional = "MODEL",
    .least = 1,
    .most = 1,
    .summary =
        "Says in how many bits a model fits on which device, and how fast it can be there. MODEL\n"
        "is an exported student, a Whisper or a language model, a number of parameters (7B, "
        "135M),\n"
        "or a JSON list of stages that share a device (docs/planner.md), with --device.",
    .options = OPTIONS,
    .example = "distill plan 7B\n"
               "distill plan runs/fashion_mnist/student.int8.gguf --device mcu-512k\n"
               "distill plan pipeline.json --device jetson-orin-nano"};

/* --- a list of stages ------------------------------------------------------------------------- */

typedef struct {
    char name[KD_DEVICE_NAME_MAX], format[16];
    char model[KD_PATH_MAX], parameters[32];
    double rate;
    int64_t tokens;
} written_stage;

typedef struct {
    written_stage stage[KD_STAGES_MAX];
    int count;
} pipeline;

/* clang-format off */
static const kd_config_key STAGE_KEYS[] = {
    {"name", KD_KEY_TEXT, FIELD(written_stage, name), .required = true, .doc = "for people"},
    {"model", KD_KEY_PATH, FIELD(written_stage, model), .doc = "a file or folder of a model"},
    {"parameters", KD_KEY_TEXT, FIELD(written_stage, parameters),
     .doc = "in place of a model: of a decoder, \"7B\""},
    {"rate", KD_KEY_REAL, FIELD(written_stage, rate), ABOVE_ZERO, .required = true,
     .doc = "tokens, samples or windows a second that are wanted"},
    {"format", KD_KEY_TEXT, FIELD(written_stage, format),
     .doc = "of its weights; without, the plan chooses"},
    {"tokens", KD_KEY_INTEGER, FIELD(written_stage, tokens), RANGE(1, BILLION), .fallback = "2048",
     .doc = "kept in its cache"},
};
static const kd_config_table STAGE_TABLE = {.name = "stage", .key = STAGE_KEYS,
    .count = COUNT(STAGE_KEYS), .doc = "One model at work."};
static const kd_config_key PIPELINE_KEYS[] = {
    {"stages", KD_KEY_OBJECTS, LIST(pipeline, stage, count), .table = &STAGE_TABLE,
     .required = true, .doc = "models that share a device"},
};
static const kd_config_table PIPELINE = {.name = "", .key = PIPELINE_KEYS,
    .count = COUNT(PIPELINE_KEYS), .doc = "Stages for distill plan."};
/* clang-format on */

static int more_bits_first(const void *a, const void *b) {
    const double x = ((const kd_plan_format *)a)->bits, y = ((const kd_plan_format *)b)->bits;
    return (x < y) - (x > y);
}

/* float32 … int4 without scales and, unless `is_plain`, the block formats with theirs;
 * returns how many. */
static int list_formats(kd_plan_format out[KD_PLAN_FORMATS_MAX], bool is_plain) {
    static const kd_plan_format plain[] = {
        {"float32", 32}, {"float16", 16}, {"int8", 8}, {"int4", 4}};
    static const kd_number_format *const blocks[] = {&kd_format_q8_0, &kd_format_q6_K,
                                                     &kd_format_q5_K, &kd_format_q4_K,
                                                     &kd_format_q3_K, &kd_format_q2_K};
    int n = 0;
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) out[n++] = plain[i];
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks && !is_plain; i++)
        out[n++] = (kd_plan_format){blocks[i]->name, 8.0 * blocks[i]->bytes / blocks[i]->block};
    qsort(out, (size_t)n, sizeof *out, more_bits_first);
    return n;
}

static int read_stage(kd_stage *out, const written_stage *from, const kd_plan_format *format,
                      int formats, const char *path) {
    if (!*from->model == !*from->parameters)
        return kd_fail(KD_ECONFIG, "%s: stage \"%s\" needs either \"model\" or \"parameters\"",
                       path, from->name);
    *out = (kd_stage){.rate = from->rate, .tokens = (double)from->tokens};
    snprintf(out->name, sizeof out->name, "%s", from->name);
    for (int i = 0; i < formats && *from->format; i++)
        if (strcmp(format[i].name, from->format) == 0) out->bits = format[i].bits;
    if (*from->format && out->bits <= 0)
        return kd_fail(KD_ECONFIG, "%s: stage \"%s\": no format is called \"%s\"", path, from->name,
                       from->format);
    return kd_plan_model(&out->model, *from->model ? from->model : from->parameters);
}

static int plan_stages(kd_text *out, const char *path, const kd_plan_format *format, int formats,
                       const kd_device *device) {
    pipeline written = {0};
    kd_stage stage[KD_STAGES_MAX];
    const kd_config_origin source = {.path = path};
    char *resolved;
    kd_hash hash;
    int status = kd_config_read(&written, &PIPELINE, &source, "docs/planner.md", &resolved, &hash);
    free(resolved);
    for (int i = 0; i < written.count && status == KD_OK; i++)
        status = read_stage(&stage[i], &written.stage[i], format, formats, path);
    if (status == KD_OK && !device)
        status = kd_fail(KD_EUSAGE, "%s: stages are planned for one device: say --device", path);
    if (status == KD_OK) kd_plan_write_stages(out, stage, written.count, format, formats, device);
    return status;
}

/* --- a model ---------------------------------------------------------------------------------- */

static int plan(kd_text *out, const char *what, const kd_devices *devices, const kd_device *device,
                double tokens) {
    kd_plan_format format[KD_PLAN_FORMATS_MAX];
    kd_workload model;
    if (kd_ends_with(what, ".json"))
        return plan_stages(out, what, format, list_formats(format, false), device);
    int status = kd_plan_model(&model, what);
    if (status < 0) return status;
    const int formats = list_formats(format, model.integers);
    if (device)
        kd_plan_write_device(out, &model, format, formats, device, tokens);
    else
        kd_plan_write_devices(out, &model, format, formats, devices, tokens);
    return KD_OK;
}

int kd_cmd_plan(int argc, char **argv) {
    kd_arguments arguments;
    int status = kd_arguments_parse(&arguments, &USAGE, argc, argv);
    if (status != KD_OK) return status;
    kd_devices *devices = calloc(1, sizeof *devices);
    const kd_device *device = NULL;
    const char *name = kd_arguments_value(&arguments, "device");
    int64_t tokens;
    kd_text text = {0};
    if (!devices) return kd_fail_memory(sizeof *devices, "the devices");
    status = kd_arguments_integer(&tokens, &arguments, "tokens", 1, BILLION, 2048);
    if (status == KD_OK)
        status = kd_devices_read(devices, kd_arguments_value(&arguments, "devices"));
    if (status == KD_OK && name) status = kd_device_find(&device, devices, name);
    if (status == KD_OK)
        status = plan(&text, arguments.positional[0], devices, device, (double)tokens);
    if (status == KD_OK) status = kd_text_finish(&text, "the plan");
    if (status == KD_OK) printf("%s", text.text);
    free(text.text);
    free(devices);
    return status;
}
