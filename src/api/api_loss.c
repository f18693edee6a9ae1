/* The losses of distill.h: plain arrays through the ops of distill/loss.h. */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/error.h"
#include "base/size.h"
#include "distill.h"
#include "distill/loss.h"

enum { CLASSES_MOST = 1 << 24 };

/* One call's arrays. */
typedef struct {
    const distill_loss_spec *spec;
    int64_t rows, classes;
    const float *student, *teacher;
    const int32_t *label;
    const uint8_t *valid;
    int64_t k; /* 0: dense */
    const int32_t *index;
    const float *kept, *tail;
} loss_call;

static bool is_weight(double x) {
    return isfinite(x) && x >= 0;
}

static int check_spec(const loss_call *c) {
    const distill_loss_spec *s = c->spec;
    if (c->rows < 1 || c->classes < 1 || c->classes > CLASSES_MOST)
        return kd_fail(KD_EUSAGE, "a loss of %lld rows and %lld classes; 1 to %d classes can be",
                       (long long)c->rows, (long long)c->classes, CLASSES_MOST);
    if (!is_weight(s->hard_weight) || !is_weight(s->kl_weight))
        return kd_fail(KD_EUSAGE, "hard_weight %g, kl_weight %g: weights are 0 or more",
                       s->hard_weight, s->kl_weight);
    if (!(s->temperature > 0 && isfinite((float)s->temperature)))
        return kd_fail(KD_EUSAGE, "temperature %g: more than 0 is right", s->temperature);
    if (!(s->label_smoothing >= 0 && s->label_smoothing <= 1))
        return kd_fail(KD_EUSAGE, "label_smoothing %g: 0 to 1 is right", s->label_smoothing);
    if (s->hard_weight > 0 && !c->label)
        return kd_fail(KD_EUSAGE, "hard_weight %g, but no labels", s->hard_weight);
    if (s->kl_weight > 0 && !c->teacher && c->k == 0)
        return kd_fail(KD_EUSAGE, "kl_weight %g, but no teacher", s->kl_weight);
    return KD_OK;
}

static int check_finite(const float *values, int64_t n, int64_t row, const char *whose) {
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(values[i]))
            return kd_fail(KD_EDATA, "row %lld: the %s's number %lld is %g", (long long)row, whose,
                           (long long)i, (double)values[i]);
    return KD_OK;
}

/* Kept classes are of the vocabulary, each once. */
static int check_kept(const loss_call *c, int64_t row) {
    const int32_t *index = c->index + row * c->k;
    for (int64_t i = 0; i < c->k; i++) {
        if (index[i] < 0 || index[i] >= c->classes)
            return kd_fail(KD_EUSAGE, "row %lld: class %d of %lld", (long long)row, (int)index[i],
                           (long long)c->classes);
        for (int64_t j = 0; j < i; j++)
            if (index[j] == index[i])
                return kd_fail(KD_EUSAGE, "row %lld: class %d is kept twice", (long long)row,
                               (int)index[i]);
    }
    int status = check_finite(c->kept + row * c->k, c->k, row, "teacher");
    return status < 0 ? status : check_finite(c->tail + row, 1, row, "tail");
}

static int check_row(const loss_call *c, int64_t row) {
    int status = check_finite(c->student + row * c->classes, c->classes, row, "student");
    if (status == KD_OK && c->spec->kl_weight > 0)
        status = c->k > 0 ? check_kept(c, row)
                          : check_finite(c->teacher + row * c->classes, c->classes, row, "teacher");
    if (status == KD_OK && c->label && (c->label[row] < 0 || c->label[row] >= c->classes))
        status = kd_fail(KD_EUSAGE, "row %lld: label %d; 0 to %lld are right", (long long)row,
                         (int)c->label[row], (long long)c->classes - 1);
    return status;
}

/* *valid: how many rows count. */
static int check_rows(const loss_call *c, int64_t *valid) {
    *valid = 0;
    for (int64_t row = 0; row < c->rows; row++) {
        if (c->valid && !c->valid[row]) continue;
        int status = check_row(c, row);
        if (status < 0) return status;
        ++*valid;
    }
    return *valid > 0 ? KD_OK
                      : kd_fail(KD_EUSAGE, "none of the %lld rows is valid", (long long)c->rows);
}

static const kd_real *to_real(kd_tape *tape, const float *values, int64_t n) {
    kd_real *copy = kd_tape_alloc(tape, kd_array_bytes(n, sizeof *copy));
    for (int64_t i = 0; i < n; i++) copy[i] = (kd_real)values[i];
    return copy;
}

/* Forward and backward; memory that is missing escapes to the guard. */
static int run(kd_tape *tape, const loss_call *c, int64_t valid, double *loss, float *gradient) {
    const int64_t numbers = c->rows * c->classes;
    const kd_loss_spec spec = {.hard_weight = (kd_real)c->spec->hard_weight,
                               .kl_weight = (kd_real)c->spec->kl_weight,
                               .temperature = (kd_real)c->spec->temperature,
                               .label_smoothing = (kd_real)c->spec->label_smoothing,
                               .normalizer = (double)valid};
    if (kd_tape_guard(tape)) return KD_EINTERNAL;
    kd_tensor *z = kd_tape_input(tape, 2, (int64_t[]){c->rows, c->classes});
    for (int64_t i = 0; i < numbers; i++) z->value[i] = (kd_real)c->student[i];
    z->needs_grad = gradient != NULL;
    kd_soft_targets soft = {.k = (int)c->k, .index = c->index};
    const bool taught = c->spec->kl_weight > 0;
    if (taught && c->k > 0) {
        soft.kept = to_real(tape, c->kept, c->rows * c->k);
        soft.tail = to_real(tape, c->tail, c->rows);
    } else if (taught) {
        soft.logits = to_real(tape, c->teacher, numbers);
    }
    kd_tensor *total =
        kd_distill_loss(tape, z, c->label, c->valid, taught ? &soft : NULL, spec, NULL);
    *loss = (double)total->value[0];
    if (!gradient) return KD_OK;
    kd_tape_backward(tape, total);
    for (int64_t i = 0; i < numbers; i++) gradient[i] = z->grad ? (float)z->grad[i] : 0;
    return KD_OK;
}

static int loss_of(const loss_call *c, double *loss, float *gradient) {
    int64_t valid;
    kd_tape *tape = NULL;
    int status = check_spec(c);
    if (status == KD_OK) status = check_rows(c, &valid);
    if (status == KD_OK) status = kd_tape_create(&tape, 0);
    if (status == KD_OK) status = run(tape, c, valid, loss, gradient);
    kd_tape_free(tape);
    return status;
}

int distill_loss(const distill_loss_spec *spec, int64_t rows, int64_t classes, const float *student,
                 const float *teacher, const int32_t *label, const uint8_t *valid, double *loss,
                 float *gradient) {
    const loss_call call = {.spec = spec,
                            .rows = rows,
                            .classes = classes,
                            .student = student,
                            .teacher = teacher,
                            .label = label,
                            .valid = valid};
    return loss_of(&call, loss, gradient);
}

int distill_loss_topk(const distill_loss_spec *spec, int64_t rows, int64_t classes,
                      const float *student, int64_t k, const int32_t *index, const float *kept,
                      const float *tail, const int32_t *label, const uint8_t *valid, double *loss,
                      float *gradient) {
    if (k < 1 || k >= classes)
        return kd_fail(KD_EUSAGE, "%lld kept logits of %lld classes", (long long)k,
                       (long long)classes);
    const loss_call call = {.spec = spec,
                            .rows = rows,
                            .classes = classes,
                            .student = student,
                            .label = label,
                            .valid = valid,
                            .k = k,
                            .index = index,
                            .kept = kept,
                            .tail = tail};
    return loss_of(&call, loss, gradient);
}
