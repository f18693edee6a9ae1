#include "quant/whisper_qat.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/error.h"
#include "files/whisper_file.h"

/* Rows are shared among so many lanes, each with its own scratch; a row's bits depend on the row
 * alone. */
enum { LANES = 32, BOUNDARY = 64 };

/* A parameter that is not stored as it is. */
typedef struct {
    kd_param *param;
    const kd_number_format *format;
    kd_real *own, *rounded;
} entry;

struct kd_whisper_qat {
    kd_params *params;
    entry *entry;
    int count;
    kd_real *slab;        /* of the rounded values                       */
    int64_t longest;      /* row                                         */
    float *values;        /* (LANES,longest)                             */
    unsigned char *bytes; /* (LANES,longest values of at most 4 bytes + 4) */
};

static int64_t row_of(const kd_tensor *t) {
    return t->size / t->shape[0];
}

static size_t lane_bytes(const kd_whisper_qat *qat) {
    return (size_t)(qat->longest + 1) * sizeof(float);
}

static int64_t aligned(int64_t n) {
    const int64_t numbers = BOUNDARY / (int64_t)sizeof(kd_real);
    return (n + numbers - 1) / numbers * numbers;
}

/* Lists what is rounded; → numbers in the slab. */
static int64_t list_entries(kd_whisper_qat *qat, const kd_number_format *format) {
    int64_t size = 0;
    for (int i = 0; i < qat->params->count; i++) {
        kd_param *p = qat->params->list[i];
        const kd_number_format *mine = kd_whisper_format_of(p, format);
        if (mine == &kd_format_f32) continue;
        qat->entry[qat->count++] = (entry){.param = p, .format = mine, .own = p->tensor.value};
        qat->longest = row_of(&p->tensor) > qat->longest ? row_of(&p->tensor) : qat->longest;
        size += aligned(p->tensor.size);
    }
    return size;
}

static int take_memory(kd_whisper_qat *qat, int64_t size) {
    const size_t bytes = (size_t)(size + 1) * sizeof *qat->slab; /* never none */
    qat->slab = kd_large_alloc(bytes);
    qat->values = malloc((size_t)(LANES * (qat->longest + 1)) * sizeof *qat->values);
    qat->bytes = malloc(LANES * lane_bytes(qat));
    if (!qat->slab || !qat->values || !qat->bytes) return kd_fail_memory(bytes, "rounded weights");
    kd_real *at = qat->slab;
    for (int i = 0; i < qat->count; i++) {
        qat->entry[i].rounded = at;
        at += aligned(qat->entry[i].param->tensor.size);
    }
    return KD_OK;
}

int kd_whisper_qat_create(kd_whisper_qat **out, kd_whisper *model, const kd_number_format *format,
                          const char *name) {
    *out = NULL;
    KD_CONTRACT(format->encode && model->params->laid_out, "%s: %s", name, format->name);
    int status = kd_whisper_format_check(&model->spec, format, name);
    if (status < 0) return status;
    const size_t count = (size_t)model->params->count;
    kd_whisper_qat *qat = calloc(1, sizeof *qat);
    entry *list = calloc(count, sizeof *list);
    if (!qat || !list) {
        free(qat);
        free(list);
        return kd_fail_memory(count * sizeof *list, "rounded weights");
    }
    *qat = (kd_whisper_qat){.params = model->params, .entry = list};
    status = take_memory(qat, list_entries(qat, format));
    if (status < 0) {
        kd_whisper_qat_free(qat);
        return status;
    }
    *out = qat;
    return KD_OK;
}

void kd_whisper_qat_free(kd_whisper_qat *qat) {
    if (!qat) return;
    kd_whisper_qat_leave(qat);
    free(qat->entry);
    free(qat->slab);
    free(qat->values);
    free(qat->bytes);
    free(qat);
}

/* Rows lane, lane + LANES, … of one parameter. */
static void round_rows(const kd_whisper_qat *qat, const entry *e, int lane) {
    const int64_t n = row_of(&e->param->tensor);
    float *values = qat->values + lane * qat->longest;
    unsigned char *bytes = qat->bytes + (size_t)lane * lane_bytes(qat);
    for (int64_t row = lane; row < e->param->tensor.shape[0]; row += LANES) {
        for (int64_t i = 0; i < n; i++) values[i] = (float)e->own[row * n + i];
        e->format->encode(bytes, values, n);
        e->format->decode(values, bytes, n);
        for (int64_t i = 0; i < n; i++) e->rounded[row * n + i] = (kd_real)values[i];
    }
}

void kd_whisper_qat_round(kd_whisper_qat *qat) {
    for (int i = 0; i < qat->count; i++) {
#pragma omp parallel for schedule(static)
        for (int lane = 0; lane < LANES; lane++) round_rows(qat, &qat->entry[i], lane);
        qat->entry[i].param->tensor.value = qat->entry[i].rounded;
    }
    kd_params_touch(qat->params);
}

void kd_whisper_qat_leave(kd_whisper_qat *qat) {
    for (int i = 0; i < qat->count; i++) qat->entry[i].param->tensor.value = qat->entry[i].own;
    kd_params_touch(qat->params);
}
