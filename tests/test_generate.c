/* What comes next, and how well it was foretold. */
#include "language_folder.h"

#include <math.h>
#include <omp.h>

#include "change_text.h"
#include "layers/llama_session.h"
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
    double p[CHOICES];
    kd_rng rng = kd_rng_init(3, 0);
    for (int i = 0; i < CHOICES; i++) share[i] = 0;
    kd_sampling_shares(p, LOGITS, CHOICES, &how, scratch);
    for (int i = 0; i < DRAWS; i++) share[kd_sample_share(p, CHOICES, 1, &rng)] += 1.0 / DRAWS;
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
    int32_t id[1000];
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

/* --- products in whole numbers ------------------------------------------------------------------
 */

enum { WIDTH = 64, CONTEXT = 1000 };

/* A random model with opinions, of which noise moves every number; in a GGUF of matrices in this
 * format. Its first layer counts, others change little, so that models of fewer layers say much the
 * same. */
static kd_llama_file *small_model(test_folder *folder, const kd_number_format *format, int layers,
                                  double noise) {
    const kd_llama_spec spec = {.width = WIDTH,
                                .layers = layers,
                                .heads = 4,
                                .key_heads = 2,
                                .head_width = 16,
                                .hidden = 96,
                                .vocabulary = V,
                                .context = CONTEXT,
                                .tied = true,
                                .epsilon = 1e-5,
                                .rotary = {.base = 100}};
    kd_llama_file file = {.ends = {.bos = -1}};
    kd_rng rng = kd_rng_init(9, 0);
    assert_ok(kd_llama_create(&file.model, &spec, KD_LLAMA_TRAIN));
    assert_ok(kd_llama_layout(file.model, 1));
    for (int i = 0; i < file.model->params->count; i++) {
        const kd_param *p = file.model->params->list[i];
        const kd_tensor *t = &p->tensor;
        const bool little = strncmp(p->name, "layers.", 7) == 0 && p->name[7] != '0' &&
                            (strstr(p->name, "attn.out") || strstr(p->name, "mlp.down"));
        for (int64_t k = 0; k < t->size && t->rank == 2; k++)
            t->value[k] = (kd_real)(little ? 0.2 : 8) * t->value[k] +
                          (kd_real)(noise * (kd_rng_uniform(&rng) - 0.5));
    }
    const char *path = test_path(folder, "small.gguf");
    kd_llama_file *out;
    assert_ok(kd_llama_gguf_write(path, &file, format));
    assert_ok(kd_llama_file_open(&out, path, KD_LLAMA_ONLY_READ));
    assert_int_equal(unlink(path), 0); /* it stays mapped */
    kd_llama_free(file.model);
    return out;
}

static const int32_t TEXT[] = {5, 17, 40, 2, 33, 21, 8, 47, 11, 5, 17, 30};
enum { TEXT_LENGTH = 12 };

/* Logits behind every token but the first six; those are fed `at_once` at a time. */
static void logits_of(kd_real *out, const kd_llama_file *file, kd_products products, int at_once) {
    kd_llama_session *session;
    assert_ok(kd_llama_session_create(&session, file->model, TEXT_LENGTH, products));
    assert_ok(kd_llama_session_feed(session, TEXT, 6));
    for (int t = 6; t < TEXT_LENGTH; t += at_once) {
        assert_ok(kd_llama_session_feed(session, TEXT + t, at_once));
        assert_ok(kd_llama_session_logits(session, at_once, out + (t - 6) * V));
    }
    kd_llama_session_free(session);
}

/* Tokens together give the bits of one behind the other; rounded activations move logits by less
 * than 2 % of their spread. */
static void test_products(void **state) {
    static const kd_number_format *const formats[] = {&kd_format_q8_0, &kd_format_q5_0,
                                                      &kd_format_q4_1, &kd_format_f16};
    for (int i = 0; i < 4; i++) {
        kd_llama_file *file = small_model(*state, formats[i], 2, 0);
        kd_real exact[6 * V], steps[6 * V], together[6 * V];
        double spread = 0, worst = 0;
        logits_of(exact, file, KD_PRODUCTS_EXACT, 1);
        logits_of(together, file, KD_PRODUCTS_EXACT, 6);
        assert_memory_equal(together, exact, sizeof exact);
        logits_of(steps, file, KD_PRODUCTS_STEPS, 1);
        for (int at_once = 2; at_once <= 6; at_once += at_once == 3 ? 3 : 1) {
            logits_of(together, file, KD_PRODUCTS_STEPS, at_once);
            assert_memory_equal(together, steps, sizeof steps);
        }
        for (int k = 0; k < 6 * V; k++) {
            spread = fmax(spread, fabs((double)exact[k]));
            worst = fmax(worst, fabs((double)(steps[k] - exact[k])));
        }
        if (!(worst < 0.02 * spread)) fail_msg("%s: %g of %g", formats[i]->name, worst, spread);
        /* f16, and in double precision everything, is multiplied exactly */
        assert_int_equal(worst > 0, sizeof(kd_real) == sizeof(float) && formats[i]->steps);
        kd_llama_file_free(file);
    }
}

/* --- drafts ------------------------------------------------------------------------------------
 */

static int64_t accepted_of(kd_llama_file *file, kd_llama_file *draft, int64_t *drafted) {
    gathered alone = {.count = 0}, together = {.count = 0};
    kd_generated done;
    kd_generating how = {.tokens = 28, .sampling = {.top_p = 1}};
    assert_ok(kd_generate(&done, file, TEXT, 4, &how, gather, &alone));
    assert_int_equal(done.drafted, 0);
    how.draft = draft;
    assert_ok(kd_generate(&done, file, TEXT, 4, &how, gather, &together));
    assert_int_equal(together.count, 28);
    assert_memory_equal(together.id, alone.id, 28 * sizeof *alone.id);
    assert_true(done.accepted <= done.drafted);
    *drafted = done.drafted;
    return done.accepted;
}

/* Greedily the text is the model's own, whoever drafts: itself, one like it, one that knows
 * nothing. A stop ends it, and the tokens of the draft behind it do not come. */
static void test_draft_greedy(void **state) {
    kd_llama_file *file = small_model(*state, &kd_format_q8_0, 6, 0);
    kd_llama_file *like = small_model(*state, &kd_format_q5_1, 1, 0);
    kd_llama_file *other = small_model(*state, &kd_format_q8_0, 1, 5);
    int64_t drafted;
    const int64_t lucky = accepted_of(file, other, &drafted);
    assert_true(lucky < drafted / 4);
    const int64_t accepted = accepted_of(file, like, &drafted);
    assert_true(accepted > drafted / 2);
    kd_generating how = {.tokens = 28, .sampling = {.top_p = 1}};
    kd_generated done;
    gathered all = {.count = 0}, some = {.count = 0};
    assert_ok(kd_generate(&done, file, TEXT, 4, &how, gather, &all));
    file->ends.stop[0] = all.id[9];
    file->ends.stop_count = 1;
    how.draft = like;
    assert_ok(kd_generate(&done, file, TEXT, 4, &how, gather, &some));
    int first = 0;
    while (all.id[first] != all.id[9]) first++;
    assert_true(done.stopped);
    assert_int_equal(some.count, first);
    kd_llama_file_free(file);
    kd_llama_file_free(like);
    kd_llama_file_free(other);
}

/* Over a long text, tokens come as often as the model's own p, behind what stood there, says: the
 * sums of both differ by what chance explains, Σ p·(1 − p) being its variance. */
static void test_draft_distribution(void **state) {
    kd_llama_file *file = small_model(*state, &kd_format_q8_0, 3, 0);
    kd_llama_file *draft = small_model(*state, &kd_format_q8_0, 1, 0.3);
    kd_generating how = {.tokens = CONTEXT - 4,
                         .sampling = {.temperature = 1.5, .top_k = 12, .top_p = 0.9},
                         .seed = 5,
                         .draft = draft};
    static gathered g;
    static double p[V], expected[V], variance[V], found[V];
    kd_candidate scratch[V];
    kd_llama_session *session;
    kd_real logits[V];
    kd_generated done;
    g.count = 0;
    assert_ok(kd_generate(&done, file, TEXT, 4, &how, gather, &g));
    if (!(done.accepted > done.drafted / 10 && done.accepted < done.drafted * 9 / 10))
        fail_msg("%lld of %lld accepted", (long long)done.accepted, (long long)done.drafted);
    assert_ok(kd_llama_session_create(&session, file->model, CONTEXT, KD_PRODUCTS_STEPS));
    assert_ok(kd_llama_session_feed(session, TEXT, 4));
    for (int t = 0; t < g.count; t++) {
        assert_ok(kd_llama_session_logits(session, 1, logits));
        kd_sampling_shares(p, logits, V, &how.sampling, scratch);
        assert_true(p[g.id[t]] > 0);
        found[g.id[t]] += 1;
        for (int i = 0; i < V; i++) {
            expected[i] += p[i];
            variance[i] += p[i] * (1 - p[i]);
        }
        assert_ok(kd_llama_session_feed(session, &g.id[t], 1));
    }
    for (int i = 0; i < V; i++)
        assert_true(fabs(found[i] - expected[i]) <= 4 * sqrt(variance[i]) + 0.5);
    kd_llama_session_free(session);
    kd_llama_file_free(file);
    kd_llama_file_free(draft);
}

/* Another tokenizer, or one of another size. */
static void test_draft_refused(void **state) {
    kd_llama_file *file, *draft;
    char path[KD_PATH_MAX];
    snprintf(path, sizeof path, "%s", test_path(*state, "teacher"));
    write_tokenizer(*state, "teacher");
    write_teacher(*state, 3);
    assert_ok(kd_llama_file_open(&file, path, KD_LLAMA_ONLY_READ));
    assert_ok(kd_generate_check_draft(file, "model", file, "draft"));
    const char *letters = test_path(*state, "teacher/tokenizer.json");
    change_text(letters, "\"A\": 65, \"B\": 66", "\"B\": 65, \"A\": 66");
    assert_ok(kd_llama_file_open(&draft, path, KD_LLAMA_ONLY_READ));
    assert_refused(kd_generate_check_draft(file, "model", draft, "draft"), KD_EDATA,
                   "draft: token 65 is \"B\", in model \"A\"");
    kd_llama_file_free(draft);
    draft = small_model(*state, &kd_format_q8_0, 2, 0);
    assert_refused(kd_generate_check_draft(file, "model", draft, "draft"), KD_EDATA,
                   "draft has 48 tokens, and model has 257");
    kd_llama_file_free(draft);
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
    omp_set_num_threads(1); /* a busy machine makes thousands of short regions long */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sampling),           cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_products),           cmocka_unit_test(test_draft_greedy),
        cmocka_unit_test(test_draft_distribution), cmocka_unit_test(test_draft_refused),
        cmocka_unit_test(test_perplexity),
    };
    return cmocka_run_group_tests(tests, test_setup, test_teardown);
}
