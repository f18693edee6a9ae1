/* Sampling against the same written plainly: five texts grow one token at a time, each decoded from
 * its beginning again, and the likeliest one per token is taken. And when a text is sampled again.
 */
#include "test_data.h"

#include <math.h>

#include "tasks/speech/fallback.h"
#include "whisper_tiny.h"

enum { V = TINY_VOCABULARY, ROWS = 5, FRAMES = 100, TEXT = 40 };

typedef struct {
    kd_whisper *model;
    kd_tokenizer *tokenizer;
    kd_decoder decoder;
} fixture;

/* The larger `peaked`, the likelier the likeliest. */
static void begin(fixture *f, int peaked) {
    const kd_decode_options options = {.language = -1, .beam = 1};
    static kd_real mel[FRAMES * 80];
    f->model = tiny_whisper(KD_WHISPER_TRAIN_NOTHING);
    f->tokenizer = tiny_tokenizer(V);
    for (int i = 0; i < TINY_WIDTH; i++)
        f->model->text_norm.gamma->tensor.value[i] *= (kd_real)peaked;
    kd_params_touch(f->model->params);
    tiny_mel(mel, FRAMES * 80);
    assert_ok(kd_decoder_init(&f->decoder, f->model, f->tokenizer, &options));
    assert_ok(kd_decoder_listen(&f->decoder, mel, FRAMES));
}

static void end(fixture *f) {
    kd_decoder_clear(&f->decoder);
    kd_tokenizer_free(f->tokenizer);
    kd_whisper_free(f->model);
}

typedef struct {
    int32_t token[TEXT];
    int count;
    double sum;
    bool ended;
} text;

/* Log-probabilities of what may follow, −∞ for what must not. */
static void continuations(fixture *f, const text *t, double *p) {
    static kd_real z[V];
    const kd_token_ids *ids = kd_tokenizer_ids(f->tokenizer);
    const int32_t prompt[2] = {ids->start, ids->no_timestamps};
    double sum = 0;
    kd_whisper_session_restart(f->decoder.session);
    for (int i = 0; i < 2 + t->count; i++)
        assert_ok(
            kd_whisper_session_step(f->decoder.session, i < 2 ? &prompt[i] : &t->token[i - 2], 1));
    kd_whisper_session_logits(f->decoder.session, z, 0);
    kd_decode_rules_apply(&f->decoder.rules, z, t->token, t->count);
    for (int v = 0; v < V; v++) sum += exp((double)z[v]);
    for (int v = 0; v < V; v++) p[v] = (double)z[v] - log(sum);
}

/* One of V, with probability ∝ e^{p/temperature}. */
static int draw(const double *p, double temperature, kd_rng *rng) {
    double all = 0, largest = -INFINITY;
    for (int v = 0; v < V; v++)
        if (p[v] > largest) largest = p[v];
    for (int v = 0; v < V; v++) all += exp((p[v] - largest) / temperature);
    double left = kd_rng_uniform(rng) * all;
    int v = 0;
    while ((left -= exp((p[v] - largest) / temperature)) >= 0) v++;
    return v;
}

static double mean(const text *t) {
    return t->sum / (t->count > 0 ? t->count : 1);
}

/* *place: which of the five it is. */
static text sample(fixture *f, double temperature, kd_rng rng, int *place) {
    static double p[V];
    const int32_t end_id = kd_tokenizer_ids(f->tokenizer)->end;
    text row[ROWS] = {{.count = 0}};
    for (int step = 0; step < TINY_SPEC.text_context / 2; step++)
        for (int i = 0; i < ROWS; i++) {
            if (row[i].ended) continue;
            continuations(f, &row[i], p);
            const int v = draw(p, temperature, &rng);
            row[i].sum += p[v];
            row[i].ended = v == end_id;
            if (!row[i].ended) row[i].token[row[i].count++] = v;
        }
    *place = 0;
    for (int i = 1; i < ROWS; i++)
        if (mean(&row[i]) > mean(&row[*place])) *place = i;
    return row[*place];
}

static void the_best_of_five_is_taken(void **state) {
    (void)state;
    int others = 0;
    for (int peaked = 4; peaked <= 32; peaked *= 8) {
        fixture f;
        begin(&f, peaked);
        for (int i = 1; i <= 5; i += 4) {
            kd_decoded found;
            int place;
            const kd_rng rng = f.decoder.rng;
            const text right = sample(&f, 0.2 * i, rng, &place);
            assert_ok(kd_decoder_run(&f.decoder, &found, NULL, 0, 0.2 * i));
            assert_true(found.temperature == 0.2 * i);
            assert_int_equal(found.count, right.count);
            assert_memory_equal(found.token, right.token, (size_t)right.count * sizeof(int32_t));
            assert_true(fabs(found.average - right.sum / (right.count + 1)) < 1e-4);
            others += place > 0;
        }
        end(&f);
    }
    assert_true(others > 0); /* not always the first */
}

/* The thresholds themselves are on the good side. */
static void thresholds_are_those_of_openai(void **state) {
    (void)state;
    assert_false(kd_text_loops(2.4));
    assert_true(kd_text_loops(2.4001));
    assert_false(kd_text_is_bad(-1, 2.4));
    assert_true(kd_text_is_bad(-1.0001, 1));
    assert_true(kd_text_is_bad(0, 2.4001));
    assert_false(kd_decoded_is_silence(&(kd_decoded){.no_speech = 0.6, .average = -2}));
    assert_true(kd_decoded_is_silence(&(kd_decoded){.no_speech = 0.6001, .average = -1}));
    assert_false(kd_decoded_is_silence(&(kd_decoded){.no_speech = 0.9, .average = -0.9999}));
}

/* Of n equal letters and of n different ones; white space at the ends does not count. */
static void compression_is_that_of_zlib(void **state) {
    (void)state;
    kd_tokenizer *t = tiny_tokenizer(V);
    int32_t token[200];
    double plain, spaced, ratio;
    for (int i = 0; i < 200; i++) token[i] = 'a';
    assert_ok(kd_text_compression(&plain, t, token, 200));
    assert_true(plain > 10 && plain < 20); /* 200 bytes in 12 */
    for (int i = 0; i < 20; i++) token[i] = token[199 - i] = " \t\r\n"[i % 4];
    assert_ok(kd_text_compression(&spaced, t, token, 200));
    assert_ok(kd_text_compression(&ratio, t, token + 20, 160));
    assert_true(spaced == ratio && spaced < plain);
    for (int i = 0; i < 80; i++) token[i] = '0' + i;
    assert_ok(kd_text_compression(&ratio, t, token, 80));
    assert_true(ratio > 0.8 && ratio < 1); /* 8 bytes of zlib's are added */
    assert_ok(kd_text_compression(&ratio, t, token, 0));
    assert_true(ratio == 0);
    kd_tokenizer_free(t);
}

/* A text that does not loop and is likely stays the first; else five more are tried. */
static void bad_texts_are_sampled_again(void **state) {
    (void)state;
    for (int good = 0; good < 2; good++) {
        fixture f;
        kd_decoded out;
        double compression;
        begin(&f, good ? 1 << 10 : 1);
        assert_ok(kd_decode_with_fallback(&f.decoder, &out, &compression, NULL, 0));
        assert_true(out.temperature == (good ? 0 : 0.2 * 5));
        assert_true((out.average < -1) == !good);
        end(&f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_best_of_five_is_taken),
                                       cmocka_unit_test(thresholds_are_those_of_openai),
                                       cmocka_unit_test(compression_is_that_of_zlib),
                                       cmocka_unit_test(bad_texts_are_sampled_again)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
