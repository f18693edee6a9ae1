#include "cli/device.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "quant/grid.h"

static const size_t FILE_MAX = (size_t)1 << 31;

int kd_device_open(kd_device *device, const char *path) {
    *device = (kd_device){0};
    int status = kd_file_read(&device->bytes, &device->length, path, FILE_MAX);
    if (status < 0) return status;
    int found = distill_run_verify(device->bytes, device->length);
    if (found == DISTILL_RUN_OK)
        found = distill_run_arena(&device->arena_bytes, device->bytes, device->length);
    if (found != DISTILL_RUN_OK) return kd_fail(KD_EDATA, "%s: %s", path, distill_run_error(found));
    device->arena = malloc(device->arena_bytes);
    if (!device->arena) return kd_fail_memory(device->arena_bytes, path);
    found = distill_run_open(&device->run, device->bytes, device->length, device->arena,
                             device->arena_bytes);
    if (found != DISTILL_RUN_OK) return kd_fail(KD_EDATA, "%s: %s", path, distill_run_error(found));
    return KD_OK;
}

void kd_device_close(kd_device *device) {
    free(device->arena);
    free(device->bytes);
    *device = (kd_device){0};
}

void kd_device_run(kd_device *device, const float *x, float *logits) {
    distill_run_grid g;
    uint32_t size[3];
    distill_run_input_grid(&g, device->run);
    distill_run_extent(device->run, size);
    const kd_grid grid = {g.scale, g.zero, 0, g.high - g.low};
    uint8_t *to = distill_run_input(device->run);
    for (uint32_t i = 0; i < size[0] * size[1] * size[2]; i++)
        to[i] = (uint8_t)(kd_grid_steps(&grid, x[i]) + g.zero);
    distill_run_invoke(device->run);
    distill_run_logits(device->run, logits);
}

/* --- as C ---------------------------------------------------------------------------------------
 */

/* "build/my-model.h" → "my_model". */
static int name_of(char *name, size_t capacity, const char *path) {
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    const size_t length = strcspn(base, ".");
    if (length == 0 || length >= capacity || isdigit((unsigned char)*base))
        return kd_fail(KD_EUSAGE, "--c-array %s: its name, which the array gets, is no name in C",
                       path);
    for (size_t i = 0; i < length; i++)
        name[i] = (char)(isalnum((unsigned char)base[i]) ? base[i] : '_');
    name[length] = 0;
    return KD_OK;
}

static void add_facts(kd_text *out, const kd_device *d, const char *name) {
    uint32_t size[3];
    char upper[64];
    distill_run_extent(d->run, size);
    for (size_t i = 0; i <= strlen(name); i++) upper[i] = (char)toupper((unsigned char)name[i]);
    kd_text_add(
        out,
        "/* Made by `distill export --c-array`: %zu bytes of flash, %zu bytes of RAM, %llu\n"
        " * multiply-adds a sample of %ux%ux%u. Classes:\n *\n",
        d->length, d->arena_bytes, (unsigned long long)distill_run_macs(d->run), size[0], size[1],
        size[2]);
    for (int i = 0; i < distill_run_classes(d->run); i++) {
        size_t length = 0;
        const char *class = distill_run_class_name(&length, d->run, i);
        kd_text_add(out, " *     %d ", i);
        for (size_t k = 0; k < length; k++) /* no end of the comment */
            kd_text_add(out, "%c",
                        class[k] == '/' && k > 0 && class[k - 1] == '*' ? ' '
                        : (unsigned char)class[k] < 32                  ? ' '
                                                                        : class[k]);
        kd_text_add(out, "\n");
    }
    kd_text_add(out,
                " */\n#ifndef %s_H\n#define %s_H\n\n#include <stdint.h>\n\n"
                "enum { %s_ARENA = %zu };\n\nstatic const uint8_t %s[%zu] = {",
                upper, upper, upper, d->arena_bytes, name, d->length);
}

int kd_device_write_array(const char *out, const char *model) {
    kd_text text = {0};
    kd_device device;
    char name[48] = "";
    int status = name_of(name, sizeof name, out);
    if (status < 0) return status;
    status = kd_device_open(&device, model);
    if (status == KD_OK) {
        add_facts(&text, &device, name);
        for (size_t i = 0; i < device.length; i++)
            kd_text_add(&text, "%s%u,", i % 20 ? "" : "\n    ", (unsigned char)device.bytes[i]);
        kd_text_add(&text, "\n};\n\n#endif\n");
        status = kd_text_finish(&text, out);
    }
    if (status == KD_OK) status = kd_file_replace(out, text.text, strlen(text.text));
    free(text.text);
    kd_device_close(&device);
    return status;
}
