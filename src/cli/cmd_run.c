#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/device.h"
#include "data/dataset_source.h"
#include "quant/blob_sample.h"

static const kd_option OPTIONS[] = {
    {"top", "N", "how many classes to name for each file (default: 3)"},
    {"runner", NULL, "compute as a device does, by runtime/distill_run.c: the same answers"},
    {NULL, NULL, NULL}};

static const kd_usage USAGE = {
    .command = "run",
    .positional = "MODEL FILE…",
    .least = 2,
    .most = -1,
    .summary =
        "Says what an exported model sees in pictures (PNG, PGM, PPM) or hears in sounds (WAV,\n"
        "FLAC, MP3, Ogg …; - is the standard input). FILE:N is sample N of an idx file or of a\n"
        "CIFAR-10 batch. A file that cannot be read is named, and the others are answered.",
    .options = OPTIONS,
    .example = "distill run runs/fashion_mnist/student.int8.gguf boot.png\n"
               "distill run student.int8.gguf t10k-images-idx3-ubyte.gz:0"};

static const size_t FILE_LIMIT = (size_t)1 << (sizeof(size_t) > 4 ? 32 : 30);

/* What is needed to bring one file before the model. */
typedef struct {
    kd_blob *blob;
    kd_extent in;
    int64_t size; /* numbers of a sample */
    uint8_t *raw; /* (size) the bytes of a row   */
    float *x;     /* (size) */
    float *logits;
    int top;
    kd_device device; /* with --runner, else its run is NULL */
    kd_text rows;     /* of the answers */
} runner;

/* "file:12" → the file and 12; false when there is no number behind a colon. */
static bool split_index(char folder[KD_PATH_MAX], int64_t *index, const char *path) {
    const char *colon = strrchr(path, ':');
    if (!colon || !colon[1] || colon[1 + strspn(colon + 1, "0123456789")]) return false;
    if (colon - path >= KD_PATH_MAX || strlen(colon) > 15) return false;
    snprintf(folder, KD_PATH_MAX, "%.*s", (int)(colon - path), path);
    *index = atoll(colon + 1);
    return true;
}

static int check_index(const char *path, int64_t index, int64_t count) {
    if (index < count) return KD_OK;
    return kd_fail(KD_EUSAGE, "%s: sample %lld, but there are %lld, from 0", path, (long long)index,
                   (long long)count);
}

static int take_idx(runner *r, const char *path, const uint8_t *bytes, size_t length,
                    int64_t index) {
    kd_idx idx;
    int status = kd_idx_decode(&idx, 3, bytes, length, path);
    if (status < 0) return status;
    status = check_index(path, index, idx.dim[0]);
    if (status == KD_OK && (idx.dim[1] != r->in.h || idx.dim[2] != r->in.w || r->in.c != 1))
        status = kd_fail(KD_EDATA, "%s: pictures of %lldx%lldx1, the model takes %lldx%lldx%lld",
                         path, (long long)idx.dim[1], (long long)idx.dim[2], (long long)r->in.h,
                         (long long)r->in.w, (long long)r->in.c);
    if (status == KD_OK) memcpy(r->raw, idx.values + index * r->size, (size_t)r->size);
    free(idx.values);
    return status;
}

static int take_cifar(runner *r, const char *path, const uint8_t *bytes, size_t length,
                      int64_t index) {
    int64_t count;
    int32_t label;
    int status = kd_cifar_count(&count, (int64_t)length, path);
    if (status == KD_OK) status = check_index(path, index, count);
    if (status < 0) return status;
    return kd_cifar_decode(&label, r->raw, bytes + index * KD_CIFAR_RECORD, 1, path);
}

/* Sample `index` of a data set's file, in the format the model was trained on. */
static int read_row(runner *r, const char *path, int64_t index) {
    char *bytes;
    size_t length;
    int status = kd_file_read(&bytes, &length, path, FILE_LIMIT);
    if (status < 0) return status;
    switch (kd_blob_data(r->blob)->kind) {
    case KD_DATA_IDX:
        status = take_idx(r, path, (const uint8_t *)bytes, length, index);
        break;
    case KD_DATA_CIFAR10:
        status = take_cifar(r, path, (const uint8_t *)bytes, length, index);
        break;
    case KD_DATA_AUDIO: /* each sample is a file */
        status = kd_fail(KD_EINTERNAL, "%s: rows of sound", path);
        break;
    }
    free(bytes);
    return status;
}

static int read_file(runner *r, const char *path) {
    char file[KD_PATH_MAX];
    int64_t index;
    const bool sound = kd_blob_data(r->blob)->kind == KD_DATA_AUDIO; /* each sample is a file */
    if (sound || kd_file_exists(path) || !split_index(file, &index, path))
        return kd_blob_read_file(r->blob, path, r->x);
    int status = read_row(r, file, index);
    if (status == KD_OK)
        kd_normalise_bytes(r->x, r->raw, r->in.h * r->in.w, r->in.c, kd_blob_normaliser(r->blob));
    return status;
}

/* Appends "path  class 97.1 %  class 2.0 % …", the most probable first. */
static void add_answer(const runner *r, kd_text *rows, const char *path) {
    int classes = kd_blob_classes(r->blob);
    double sum = 0, largest = -INFINITY;
    for (int i = 0; i < classes; i++)
        largest = (double)r->logits[i] > largest ? (double)r->logits[i] : largest;
    for (int i = 0; i < classes; i++) sum += exp((double)r->logits[i] - largest);
    kd_text_add_plain(rows, path, strlen(path));
    for (int rank = 0; rank < r->top && rank < classes; rank++) {
        int best = 0;
        for (int i = 1; i < classes; i++)
            if (r->logits[i] > r->logits[best]) best = i;
        const char *name = kd_blob_class_name(r->blob, best);
        double probability = exp((double)r->logits[best] - largest) / sum;
        kd_text_add(rows, "\t");
        kd_text_add_plain(rows, name, strlen(name));
        kd_text_add(rows, " %.1f %%", 100 * probability);
        r->logits[best] = -INFINITY;
    }
    kd_text_add(rows, "\n");
}

static int answer(void *context, char *path) {
    runner *r = context;
    int status = read_file(r, path);
    if (status == KD_OK && r->device.run)
        kd_device_run(&r->device, r->x, r->logits);
    else if (status == KD_OK)
        status = kd_blob_run(r->blob, 1, r->x, r->logits);
    if (status == KD_OK) add_answer(r, &r->rows, path);
    return status;
}

/* One table of the files that could be read, whatever the others were. */
static int answer_all(runner *r, const kd_arguments *arguments) {
    kd_text out = {0};
    const int bad = kd_arguments_each(arguments, 1, answer, r);
    if (bad == KD_EINTERNAL) return bad;
    int status = kd_text_finish(&r->rows, "the answers");
    if (status == KD_OK) kd_text_add_table(&out, "llllllllll", r->rows.text);
    if (status == KD_OK) status = kd_text_finish(&out, "the answers");
    if (status == KD_OK) fputs(out.text, stdout);
    free(out.text);
    return status < 0 ? status : bad;
}

static int make_room(runner *r, const char *path) {
    r->in = kd_blob_input(r->blob);
    if (r->in.c != 1 && r->in.c != 3)
        return kd_fail(KD_EDATA, "%s: takes %lld channels, which no picture and no sound has", path,
                       (long long)r->in.c);
    r->size = r->in.h * r->in.w * r->in.c;
    size_t n = (size_t)r->size;
    r->raw = malloc(n);
    r->x = malloc(n * sizeof *r->x);
    r->logits = malloc((size_t)kd_blob_classes(r->blob) * sizeof *r->logits);
    return r->raw && r->x && r->logits ? KD_OK : kd_fail_memory(n * 5, "a sample");
}

int kd_cmd_run(int argc, char **argv) {
    kd_arguments arguments;
    int64_t top;
    runner r = {0};
    int status = kd_arguments_parse(&arguments, &USAGE, argc, argv);
    if (status == KD_OK) status = kd_arguments_integer(&top, &arguments, "top", 1, 9, 3);
    if (status != KD_OK) return status;
    r.top = (int)top;
    status = kd_blob_open(&r.blob, arguments.positional[0]);
    if (status == KD_OK) status = make_room(&r, arguments.positional[0]);
    if (status == KD_OK && kd_arguments_has(&arguments, "runner"))
        status = kd_device_open(&r.device, arguments.positional[0]);
    if (status == KD_OK) status = answer_all(&r, &arguments);
    kd_device_close(&r.device);
    free(r.rows.text);
    free(r.raw);
    free(r.x);
    free(r.logits);
    kd_blob_free(r.blob);
    return status;
}
