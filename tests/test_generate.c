/* What comes next, and how well it was foretold. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "asserts.h"
#include "tasks/language/generate.h"
#include "tasks/language/perplexity.h"

enum { V = 48 };

static kd_llama_file *open_model(const char *name) {
    char path[128];
    kd_llama_file *file;
    snprintf(path, sizeof path, "tests/golden/llama/%s", name);
    assert_ok(kd_llama_file_open(&file, path, KD_LLAMA_FROZEN));
    return file;
}

/* --- sampling ----------------------------------------------------------------------------------
 */

static const kd_real LOGITS[] = {KD_REAL(0.5), 2, -1, 2, 1};
enum { CHOICES = 5, DRAWS = 20000 };

static void draw(double *share, kd_sampling how) {
    kd_candidate scratch[CHOICES];
    kd_rng rng = kd_rng_init(3, 0);
    for (int i = 0; i < CHOICES; i++) share[i] = 0;
    for (int i = 0; i < DRAWS; i++)
        share[kd_sample(LOGITS, CHOICES, &how, &rng, scratch)] += 1.0 / DRAWS;
}

/* `kept` ones by e^{logit/T}, the others never. */
static void check_shares(const double *share, double temperature, const int *kept, int n) {
    double sum = 0, expected[CHOICES] = {0};
    for (int i = 0; i < n; i++) sum += exp((double)LOGITS[kept[i]] / temperature);
    for (int i = 0; i < n; i++)
        expected[kept[i]] = exp((double)LOGITS[kept[i]] / temperature) / sum;
    for (int i = 0; i < CHOICES; i++) assert_true(fabs(share[i] - expected[i]) < 0.012);
}

static void test_sampling(void **state) {
    double share[CHOICES];
    (void)state;
    draw(share, (kd_sampling){.temperature = 0, .top_p = 1});
    assert_true(fabs(share[1] - 1) < 1e-9);
    draw(share, (kd_sampling){.temperature = 2, .top_p = 1});
    check_shares(share, 2, (const int[]){0, 1, 2, 3, 4}, 5);
    draw(share, (kd_sampling){.temperature = 1, .top_k = 3, .top_p = 1});
    check_shares(share, 1, (const int[]){1, 3, 4}, 3);
    draw(share, (kd_sampling){.temperature = 1, .top_k = 1, .top_p = 1});
    assert_true(fabs(share[1] - 1) < 1e-9);
    /* the two largest have 0.757 of the probability, with the third 0.897 */
    draw(share, (kd_sampling){.temperature = 1, .top_p = 0.7});
    check_shares(share, 1, (const int[]){1, 3}, 2);
    draw(share, (kd_sampling){.temperature = 1, .top_p = 0.8});
    check_shares(share, 1, (const int[]){1, 3, 4}, 3);
}

/* --- generating --------------------------------------------------------------------------------
 */

typedef struct {
    int32_t id[32];
    int count;
} gathered;

static int gather(void *context, int32_t id) {
    gathered *g = context;
    g->id[g->count++] = id;
    return KD_OK;
}

static int32_t best(const kd_llama *model, const int32_t *id, int64_t n) {
    kd_tape *tape;
    assert_ok(kd_tape_create(&tape, 0));
    tape->recording = false;
    kd_tensor *h = kd_llama_hidden(model, tape, id, 1, n, NULL);
    const kd_real *z = kd_llama_logits(model, tape, h)->value + (n - 1) * V;
    int32_t top = 0;
    for (int32_t v = 1; v < V; v++)
        if (z[v] > z[top]) top = v;
    kd_tape_free(tape);
    return top;
}

/* Greedy tokens are those of the whole model over the whole text each time; they end with the stop.
 */
static void test_greedy(void **state) {
    kd_llama_file *file = open_model("qwen2");
    int32_t id[32] = {5, 17, 40};
    gathered all = {.count = 0}, some = {.count = 0};
    kd_generated done;
    kd_generating how = {.tokens = 12, .sampling = {.temperature = 0, .top_p = 1}};
    (void)state;
    file->ends.stop_count = 0;
    assert_ok(kd_generate(&done, file, id, 3, &how, gather, &all));
    assert_int_equal(done.tokens, 12);
    assert_int_equal(all.count, 12);
    for (int i = 0; i < 12; i++) {
        assert_int_equal(all.id[i], best(file->model, id, 3 + i));
        id[3 + i] = all.id[i];
    }
    int first = 0;
    while (all.id[first] != all.id[4]) first++;
    file->ends.stop[0] = all.id[4];
    file->ends.stop_count = 1;
    assert_ok(kd_generate(&done, file, id, 3, &how, gather, &some));
    assert_true(done.stopped);
    assert_int_equal(some.count, first);
    how.tokens = 1000; /* the context ends first */
    file->ends.stop_count = 0;
    some.count = 0;
    assert_ok(kd_generate(&done, file, id, 10, &how, gather, &some));
    assert_int_equal(done.tokens, file->model->spec.context - 10);
    assert_refused(kd_generate(&done, file, id, file->model->spec.context, &how, gather, &some),
                   KD_EUSAGE, "leaves no room");
    kd_llama_file_free(file);
}

/* --- perplexity --------------------------------------------------------------------------------
 */

/* −log p of token t behind the tokens from `first` on. */
static double nats_of(const kd_llama *model, const int32_t *id, int64_t first, int64_t t) {
    kd_tape *tape;
    assert_ok(kd_tape_create(&tape, 0));
    tape->recording = false;
    kd_tensor *h = kd_llama_hidden(model, tape, id + first, 1, t - first, NULL);
    const kd_real *z = kd_llama_logits(model, tape, h)->value + (t - first - 1) * V;
    double sum = 0;
    for (int v = 0; v < V; v++) sum += exp((double)z[v]);
    const double nats = log(sum) - (double)z[id[t]];
    kd_tape_free(tape);
    return nats;
}

/* The definition: where the context of each token that counts begins. */
static void check_perplexity(int64_t n, int64_t context, int64_t stride, const int *begins) {
    kd_llama_file *file = open_model("tied");
    int32_t id[32];
    double nats = 0;
    int64_t tokens = 0;
    kd_perplexity p;
    for (int i = 0; i < n; i++) id[i] = i * 7 % V;
    for (int t = 0; t < n; t++) {
        if (begins[t] < 0) continue;
        nats += nats_of(file->model, id, begins[t], t);
        tokens++;
    }
    assert_ok(kd_perplexity_of(&p, file->model, id, n, context, stride, NULL, NULL));
    assert_int_equal(p.tokens, tokens);
    assert_true(fabs(p.nats - nats) < 1e-4 * nats);
    kd_llama_file_free(file);
}

static void test_perplexity(void **state) {
    (void)state;
    check_perplexity(10, 4, 0, (const int[]){-1, 0, 0, 0, -1, 4, 4, 4, -1, 8});
    check_perplexity(9, 4, 0, (const int[]){-1, 0, 0, 0, -1, 4, 4, 4, -1});
    check_perplexity(10, 4, 2, (const int[]){-1, 0, 0, 0, 2, 2, 4, 4, 6, 6});
    check_perplexity(9, 4, 2, (const int[]){-1, 0, 0, 0, 2, 2, 4, 4, 6});
    check_perplexity(10, 4, 4, (const int[]){-1, 0, 0, 0, -1, 4, 4, 4, -1, 8});
    check_perplexity(3, 8, 1, (const int[]){-1, 0, 0});
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sampling),
        cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_perplexity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
