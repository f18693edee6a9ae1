/* What the temperature and a top-k store do to the gradient, measured on two trained networks.
 *
 *   measure STUDENT-RUN TEACHER-RUN FOLDER
 *
 * Logits z of the student and v of the teacher on the validation split. Prints two tables and
 * writes FOLDER/limit.svg and FOLDER/topk.svg:
 *
 *   the gap ‖g_τ − (z − v)/V‖ / ‖(z − v)/V‖ between the distillation gradient g_τ = τ(q_τ − p_τ)
 *   and that of matching logits, against τ: in double precision by the formula, and as the engine
 *   computes it in its own;
 *
 *   the error of the gradient when only the k largest logits of the teacher are known, with the
 *   mass of the rest stored beside them and without, against k. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "data/store_format.h"
#include "distill/loss.h"
#include "report/plot.h"
#include "tasks/classify/evaluate.h"

enum { V = 10, SAMPLES = 2000, SIZE = SAMPLES * V, TAUS = 13, BATCH = 100 };

static float z[SIZE], v[SIZE];

/* --- logits of a trained run ---------------------------------------------------------------- */

static int run_logits(const kd_config *config, const char *folder, float *logits) {
    kd_dataset *data = NULL;
    kd_learner *learner = NULL;
    kd_tape *tape = NULL;
    float *x = NULL;
    char weights[KD_PATH_MAX];
    int status = kd_dataset_open(&data, &config->data, KD_SPLIT_VALIDATION);
    if (status == KD_OK && (data->count < SAMPLES || data->classes != V))
        status =
            kd_fail(KD_EDATA, "%s: needs %d validation samples of %d classes", folder, SAMPLES, V);
    if (status < 0) goto done;
    const int64_t size = data->h * data->w * data->c;
    kd_learner_spec spec = {.model = &config->model,
                            .input = {data->h, data->w, data->c},
                            .classes = V,
                            .seed = config->seed};
    x = malloc((size_t)(BATCH * size) * sizeof *x);
    if (!x) status = kd_fail_memory((unsigned long long)(BATCH * size) * sizeof *x, "a batch");
    if (status == KD_OK) status = kd_tape_create(&tape, 1);
    if (status == KD_OK) status = kd_learner_create(&learner, &spec);
    if (status == KD_OK) status = kd_path_join(weights, folder, "train.best.h5");
    if (status == KD_OK) status = kd_learner_load(learner, weights, data);
    for (int64_t first = 0; first < SAMPLES && status == KD_OK; first += BATCH) {
        for (int64_t i = 0; i < BATCH; i++) kd_dataset_sample(data, first + i, x + i * size);
        status = kd_learner_logits(learner, KD_RUN_FLOAT, tape, BATCH, x, logits + first * V);
    }
done:
    kd_learner_free(learner);
    kd_tape_free(tape);
    kd_dataset_free(data);
    free(x);
    return status;
}

/* Logits of the run in `folder`, with the mean of each row taken away, which changes no softmax. */
static int load_logits(const char *folder, float *logits) {
    char path[KD_PATH_MAX];
    kd_config *config = NULL;
    int status = kd_path_join(path, folder, "config.json");
    if (status == KD_OK) status = kd_config_load(&config, path, 0, NULL);
    if (status == KD_OK) status = run_logits(config, folder, logits);
    kd_config_free(config);
    for (int i = 0; i < SAMPLES && status == KD_OK; i++) {
        double mean = 0;
        for (int c = 0; c < V; c++) mean += (double)logits[i * V + c] / V;
        for (int c = 0; c < V; c++) logits[i * V + c] -= (float)mean;
    }
    return status;
}

/* --- gradients ------------------------------------------------------------------------------ */

/* softmax(x/τ) in double */
static void softmax(const float *x, double tau, double *out) {
    double max = -INFINITY, sum = 0;
    for (int c = 0; c < V; c++) max = fmax(max, (double)x[c]);
    for (int c = 0; c < V; c++) sum += out[c] = exp(((double)x[c] - max) / tau);
    for (int c = 0; c < V; c++) out[c] /= sum;
}

/* τ(q − p) of every row, by the formula. */
static void formula_gradient(double tau, double *out) {
    double p[V], q[V];
    for (int i = 0; i < SAMPLES; i++) {
        softmax(z + i * V, tau, q);
        softmax(v + i * V, tau, p);
        for (int c = 0; c < V; c++) out[i * V + c] = tau * (q[c] - p[c]);
    }
}

/* The same by the engine, in its precision, for dense or top-k targets. */
static int engine_gradient(const kd_soft_targets *soft, double tau, double *out, double *loss) {
    kd_tape *tape;
    int status = kd_tape_create(&tape, 1);
    if (status < 0) return status;
    if (kd_tape_guard(tape)) {
        kd_tape_free(tape);
        return KD_EINTERNAL;
    }
    kd_tensor *logits = kd_tape_input(tape, 2, (int64_t[]){SAMPLES, V});
    for (int i = 0; i < SIZE; i++) logits->value[i] = (kd_real)z[i];
    logits->needs_grad = true;
    kd_loss_spec spec = {.kl_weight = 1, .temperature = (kd_real)tau, .normalizer = 1};
    kd_loss_parts parts = {0};
    kd_tape_backward(tape, kd_distill_loss(tape, logits, NULL, NULL, soft, spec, &parts));
    for (int i = 0; i < SIZE; i++) out[i] = (double)logits->grad[i];
    *loss = parts.kl / SAMPLES;
    kd_tape_free(tape);
    return KD_OK;
}

/* ‖a − b‖ / ‖b‖ over all rows */
static double relative(const double *a, const double *b) {
    double off = 0, size = 0;
    for (int i = 0; i < SIZE; i++) {
        off += (a[i] - b[i]) * (a[i] - b[i]);
        size += b[i] * b[i];
    }
    return sqrt(off / size);
}

static int write_plot(const char *folder, const char *name, const kd_plot *plot) {
    char path[KD_PATH_MAX];
    kd_text text = {0};
    kd_plot_add_lines(&text, plot, KD_PLOT_AS_FILE);
    int status = kd_text_finish(&text, name);
    if (status == KD_OK) status = kd_path_join(path, folder, name);
    if (status == KD_OK) status = kd_file_replace(path, text.text, text.length);
    free(text.text);
    return status;
}

/* --- the high-temperature limit ------------------------------------------------------------- */

/* The factor C of gap ≈ C/τ: the second-order term of the softmax, for rows of mean 0,
 * τ(q − p) = (z − v)/V + [z² − v² − mean(z² − v²)]/(2Vτ) + O(1/τ²). */
static double predicted_factor(double *match) {
    static double second[SIZE];
    double off = 0, size = 0;
    for (int i = 0; i < SAMPLES; i++) {
        double mean = 0;
        for (int c = 0; c < V; c++) {
            double a = (double)z[i * V + c], b = (double)v[i * V + c];
            match[i * V + c] = (a - b) / V;
            second[i * V + c] = (a * a - b * b) / (2 * V);
            mean += second[i * V + c] / V;
        }
        for (int c = 0; c < V; c++) {
            off += (second[i * V + c] - mean) * (second[i * V + c] - mean);
            size += match[i * V + c] * match[i * V + c];
        }
    }
    return sqrt(off / size);
}

static int measure_limit(const char *folder, const kd_real *teacher) {
    static double match[SIZE], gradient[SIZE];
    double tau[TAUS], formula[TAUS], engine[TAUS], predicted[TAUS],
        factor = predicted_factor(match);
    kd_soft_targets soft = {.logits = teacher};
    printf("gap to matching logits, %d samples; predicted: %.3g / temperature\n", SAMPLES, factor);
    printf("%12s %12s %12s %16s\n", "temperature", "formula", "x temp.", "engine");
    for (int i = 0; i < TAUS; i++) {
        double loss;
        tau[i] = pow(4, i - 1);
        formula_gradient(tau[i], gradient);
        formula[i] = relative(gradient, match);
        int status = engine_gradient(&soft, tau[i], gradient, &loss);
        if (status < 0) return status;
        engine[i] = relative(gradient, match);
        predicted[i] = factor / tau[i];
        printf("%12g %12.3g %12.4g %16.3g\n", tau[i], formula[i], formula[i] * tau[i], engine[i]);
    }
    kd_plot plot = {.title = "The distillation gradient nears logit matching as 1/τ",
                    .x_name = "temperature τ",
                    .y_name = "relative gap to (z − v)/V",
                    .log_x = true,
                    .log_y = true,
                    .y_format = "%.3g",
                    .line_count = 3,
                    .line = {{.name = "formula (double)", .n = TAUS, .x = tau, .y = formula},
                             {.name = "engine (float32)", .n = TAUS, .x = tau, .y = engine},
                             {.name = "predicted, C/τ",
                              .n = TAUS,
                              .x = tau,
                              .y = predicted,
                              .dashed = true,
                              .no_marks = true}}};
    return write_plot(folder, "limit.svg", &plot);
}

/* --- top-k targets -------------------------------------------------------------------------- */

typedef struct {
    int32_t index[SIZE];
    kd_real kept[SIZE], tail[SAMPLES];
    double renormalised[SIZE]; /* the gradient when the k are taken for everything */
    double mass;               /* that is kept, mean                               */
} topk;

static void keep_largest(topk *t, int k, double tau) {
    double p[V], q[V];
    t->mass = 0;
    for (int i = 0; i < SAMPLES; i++) {
        const float *row = v + i * V;
        bool kept[V] = {false};
        double mass = 0, tail = 0;
        softmax(row, tau, p);
        softmax(z + i * V, tau, q);
        for (int j = 0; j < k; j++) {
            int best = -1;
            for (int c = 0; c < V; c++)
                if (!kept[c] && (best < 0 || row[c] > row[best])) best = c;
            kept[best] = true;
            t->index[i * k + j] = best;
            t->kept[i * k + j] = (kd_real)row[best];
            mass += p[best];
        }
        for (int c = 0; c < V; c++) {
            if (!kept[c]) tail += exp((double)row[c] / tau);
            t->renormalised[i * V + c] = tau * (q[c] - (kept[c] ? p[c] / mass : 0));
        }
        t->tail[i] = (kd_real)log(tail);
        t->mass += mass / SAMPLES;
    }
}

static size_t row_bytes(kd_store_kind kind, int classes, int k) {
    kd_store_header header = {.kind = kind,
                              .dtype = KD_STORE_F16,
                              .classes = classes,
                              .k = k,
                              .temperature_count = kind == KD_STORE_TOPK,
                              .views = 1};
    return kd_store_row_bytes(&header);
}

static int measure_topk(const char *folder, const kd_real *teacher) {
    static const double at[] = {1, 4};
    static double dense[SIZE], gradient[SIZE];
    double count[V - 1], tail[2][V - 1], renormalised[2][V - 1], loss, dense_loss;
    topk *t = malloc(sizeof *t);
    if (!t) return kd_fail_memory(sizeof *t, "top-k targets");
    int status = KD_OK;
    printf("\ntop-k targets, %d classes: error of the gradient; bytes a sample, dense %zu\n", V,
           row_bytes(KD_STORE_DENSE, V, 0));
    printf("%12s %4s %12s %12s %15s %12s %8s\n", "temperature", "k", "kept mass", "rest kept",
           "rest forgotten", "KL / dense", "bytes");
    for (int a = 0; a < 2 && status == KD_OK; a++) {
        kd_soft_targets all = {.logits = teacher};
        status = engine_gradient(&all, at[a], dense, &dense_loss);
        for (int k = 1; k < V && status == KD_OK; k++) {
            keep_largest(t, k, at[a]);
            kd_soft_targets soft = {.k = k, .index = t->index, .kept = t->kept, .tail = t->tail};
            status = engine_gradient(&soft, at[a], gradient, &loss);
            count[k - 1] = k;
            tail[a][k - 1] = relative(gradient, dense);
            renormalised[a][k - 1] = relative(t->renormalised, dense);
            printf("%12g %4d %12.4f %12.4f %15.4f %12.4f %8zu\n", at[a], k, t->mass, tail[a][k - 1],
                   renormalised[a][k - 1], loss / dense_loss, row_bytes(KD_STORE_TOPK, V, k));
        }
    }
    free(t);
    kd_plot plot = {.title = "Error of the gradient from top-k targets",
                    .x_name = "k of 10 classes",
                    .tick_count = V - 2,
                    .tick = count,
                    .tick_name = (const char *const[]){"1", "2", "3", "4", "5", "6", "7", "8"},
                    .y_name = "relative to the dense gradient",
                    .log_y = true,
                    .y_format = "%.3g",
                    .line_count = 4,
                    .line = {{.name = "rest kept, τ = 1", .n = V - 2, .x = count, .y = tail[0]},
                             {.name = "rest kept, τ = 4", .n = V - 2, .x = count, .y = tail[1]},
                             {.name = "forgotten, τ = 1",
                              .n = V - 2,
                              .x = count,
                              .y = renormalised[0],
                              .dashed = true},
                             {.name = "forgotten, τ = 4",
                              .n = V - 2,
                              .x = count,
                              .y = renormalised[1],
                              .dashed = true}}};
    return status < 0 ? status : write_plot(folder, "topk.svg", &plot);
}

int main(int argc, char **argv) {
    static kd_real teacher[SIZE];
    if (argc != 4) {
        fprintf(stderr, "usage: measure STUDENT-RUN TEACHER-RUN FOLDER\n");
        return -KD_EUSAGE;
    }
    int status = load_logits(argv[1], z);
    if (status == KD_OK) status = load_logits(argv[2], v);
    for (int i = 0; i < SIZE; i++) teacher[i] = (kd_real)v[i];
    if (status == KD_OK) status = measure_limit(argv[3], teacher);
    if (status == KD_OK) status = measure_topk(argv[3], teacher);
    if (status < 0) fprintf(stderr, "measure: %s\n", kd_error());
    return -status;
}
