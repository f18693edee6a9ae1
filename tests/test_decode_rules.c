/* The rules of decoding against the same rules written a second time, token by token, from OpenAI's
 * description: after any beginning, every token of the vocabulary is allowed or not as they say. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/rng.h"
#include "tasks/speech/decode.h"
#include "whisper_tiny.h"

enum { V = TINY_VOCABULARY, BEGINNINGS = 3000, LONGEST = 9 };

/* Of single bytes: what OpenAI's list calls no speech. A space stands before the notes' names, and
 * 0xE2 and 0xE3 are how notes and corner brackets begin. */
static bool is_no_speech(int32_t token) {
    return token < 128 ? token != 0 && strchr("\"#()*+/:;<=>@[\\]^_`{|}~ ", token) != NULL
                       : token == 0xE2;
}

/* One question after the other; the last, which token masses are compared, is asked by `says`. */
static bool allowed(const kd_token_ids *ids, bool timestamps, const int32_t *said, int count,
                    int32_t token) {
    const int32_t time = ids->timestamp;
    const bool is_time = token >= time;
    if (token < ids->end && is_no_speech(token)) return false;
    if (token > ids->end && !is_time) return false; /* special */
    if (count == 0 && (token == ids->end || token == ' ')) return false;
    if (!timestamps) return !is_time;
    if (count == 0) return is_time && token <= time + 50; /* one second */
    const bool after_time = said[count - 1] >= time;
    const bool opens = count == 1 || said[count - 2] >= time; /* the first of a segment */
    if (after_time && opens && is_time) return false;
    if (after_time && !opens && token < ids->end) return false;
    if (!is_time) return true;
    int32_t newest = -1;
    for (int i = 0; i < count; i++)
        if (said[i] >= time) newest = said[i];
    /* A segment may begin where the last one ended, but not end where it began. */
    return after_time ? token >= newest : newest < 0 || token > newest;
}

/* Text, or times that do not fall, as they can follow each other. */
static int draw_beginning(kd_rng *rng, const kd_token_ids *ids, int32_t *said) {
    const int count = (int)kd_rng_below(rng, LONGEST + 1);
    int32_t time = ids->timestamp;
    for (int i = 0; i < count; i++)
        if (kd_rng_below(rng, 2)) {
            said[i] = 'a' + (int32_t)kd_rng_below(rng, 26);
        } else {
            time += (int32_t)kd_rng_below(rng, 3) * 40;
            said[i] = time;
        }
    return count;
}

static void compare(const kd_decode_rules *rules, const kd_token_ids *ids, const int32_t *said,
                    int count, const kd_real *before) {
    static kd_real z[V];
    memcpy(z, before, sizeof z);
    kd_decode_rules_apply(rules, z, said, count);
    double text = -INFINITY, times = 0, top = -INFINITY;
    for (int32_t i = 0; i < V; i++) {
        if (!allowed(ids, rules->timestamps, said, count, i)) continue;
        double *most = i < ids->timestamp ? &text : &top;
        if ((double)before[i] > *most) *most = (double)before[i];
    }
    for (int32_t i = ids->timestamp; i < V; i++)
        if (allowed(ids, rules->timestamps, said, count, i)) times += exp((double)before[i] - top);
    times = top + log(times);
    if (rules->timestamps && fabs(times - text) < 1e-4) return; /* too close to tell */
    const bool only_times = rules->timestamps && top > -INFINITY && times > text;
    for (int32_t i = 0; i < V; i++) {
        const bool right =
            allowed(ids, rules->timestamps, said, count, i) && (!only_times || i >= ids->timestamp);
        if (right ? z[i] != before[i] : z[i] != -(kd_real)INFINITY)
            fail_msg("token %d behind %d tokens (%d, %d) is %s", i, count,
                     count > 1 ? said[count - 2] : -1, count ? said[count - 1] : -1,
                     right ? "forbidden" : "allowed");
    }
}

static void every_token_is_judged_rightly(void **state) {
    (void)state;
    kd_tokenizer *tokenizer = tiny_tokenizer(V);
    const kd_token_ids *ids = kd_tokenizer_ids(tokenizer);
    kd_rng rng = kd_rng_init(11, 3);
    static kd_real z[V];
    int32_t said[LONGEST];
    for (int timestamps = 0; timestamps < 2; timestamps++) {
        kd_decode_rules rules;
        const kd_whisper_generation own = kd_whisper_generation_own();
        assert_ok(kd_decode_rules_init(&rules, tokenizer, &own, timestamps));
        for (int n = 0; n < BEGINNINGS; n++) {
            /* Sometimes text is far above the times, sometimes close, sometimes below. */
            const double lift = (double)kd_rng_below(&rng, 4) * 3;
            for (int i = 0; i < V; i++)
                z[i] = (kd_real)(kd_rng_uniform(&rng) + (i < ids->timestamp ? lift : 0));
            const int count = draw_beginning(&rng, ids, said);
            compare(&rules, ids, said, count, z);
        }
        kd_decode_rules_clear(&rules);
    }
    kd_tokenizer_free(tokenizer);
}

/* Times win only when together they are likelier than the likeliest single word. */
static void times_are_weighed_against_the_best_word(void **state) {
    (void)state;
    kd_tokenizer *tokenizer = tiny_tokenizer(V);
    const kd_token_ids *ids = kd_tokenizer_ids(tokenizer);
    kd_decode_rules rules;
    const kd_whisper_generation own = kd_whisper_generation_own();
    static kd_real z[V];
    const int32_t said[] = {ids->timestamp + 1490, 'a'}; /* 10 times may still come */
    assert_ok(kd_decode_rules_init(&rules, tokenizer, &own, true));
    for (int above = 0; above < 2; above++) {
        for (int i = 0; i < V; i++) z[i] = i < ids->end ? -1 : 0;
        z['b'] = (kd_real)(log(10) + (above ? 0.01 : -0.01));
        kd_decode_rules_apply(&rules, z, said, 2);
        assert_true((z['b'] > -1) == (above != 0));
        assert_true((z['c'] == -1) == (above != 0));
        assert_true(z[ids->timestamp + 1490] < -1 && z[ids->timestamp + 1491] == 0);
        assert_true(z[V - 1] == 0);
    }
    kd_decode_rules_clear(&rules);
    kd_tokenizer_free(tokenizer);
}

static void log_sum_exp_is_that(void **state) {
    (void)state;
    enum { N = 2 * 512 + 3 };
    static kd_real z[N];
    const double tolerance = sizeof(kd_real) == 4 ? 2e-5 : 1e-9;
    for (int n = 1; n <= N; n = n < 4 ? n + 1 : n + 73) {
        double sum = 0;
        for (int i = 0; i < n; i++) {
            z[i] = (kd_real)(i * 37 % 101) / 20 - 40;
            if (i % 7 == 3) z[i] = -(kd_real)INFINITY;
            sum += exp((double)z[i] + 40);
        }
        assert_true(fabs(kd_log_sum_exp(z, n) - (log(sum) - 40)) < tolerance);
    }
    z[0] = z[1] = -(kd_real)INFINITY;
    assert_true(kd_log_sum_exp(z, 2) == -INFINITY);
    z[1] = 80; /* e^80 and more do not overflow */
    z[2] = 1000;
    assert_true(kd_log_sum_exp(z, 2) == 80);
    assert_true(kd_log_sum_exp(z, 3) == 1000);
}

/* As large as Whisper's: the bytes, and a number for each other token. */
static kd_tokenizer *large_tokenizer(void) {
    enum { ORDINARY = KD_MULTILINGUAL_VOCABULARY - 1608 };
    static char text[ORDINARY][8];
    static kd_token_bytes token[ORDINARY];
    kd_tokenizer *out;
    for (int i = 0; i < ORDINARY; i++) {
        int length = 1;
        text[i][0] = (char)i;
        if (i > 255) length = snprintf(text[i], sizeof text[i], "%d", i);
        token[i] = (kd_token_bytes){text[i], (size_t)length};
    }
    assert_ok(kd_tokenizer_create(&out, token, ORDINARY, KD_MULTILINGUAL_VOCABULARY, "large"));
    return out;
}

static void prompts_are_start_language_task_and_no_timestamps(void **state) {
    (void)state;
    int32_t out[4];
    kd_tokenizer *english = tiny_tokenizer(V), *multilingual = large_tokenizer();
    const kd_token_ids *e = kd_tokenizer_ids(english), *m = kd_tokenizer_ids(multilingual);
    assert_false(e->multilingual);
    assert_true(m->multilingual);
    assert_int_equal(kd_decode_prompt(out, english, 7, 8, true), 1);
    assert_int_equal(out[0], e->start);
    assert_int_equal(kd_decode_prompt(out, english, 7, 8, false), 2);
    assert_int_equal(out[1], e->no_timestamps);
    assert_int_equal(kd_decode_prompt(out, multilingual, 7, 8, true), 3);
    assert_true(out[0] == m->start && out[1] == 7 && out[2] == 8);
    assert_int_equal(kd_decode_prompt(out, multilingual, 7, 8, false), 4);
    assert_true(out[2] == 8 && out[3] == m->no_timestamps);
    kd_tokenizer_free(english);
    kd_tokenizer_free(multilingual);
}

/* The likeliest of the languages, whatever else is likelier. */
static void the_likeliest_language_is_found(void **state) {
    (void)state;
    enum { FRAMES = 100 };
    const kd_decode_options options = {.language = -1, .beam = 1};
    kd_whisper_spec spec = TINY_SPEC;
    spec.vocabulary = KD_MULTILINGUAL_VOCABULARY;
    kd_whisper *model = tiny_whisper_of(&spec, KD_WHISPER_TRAIN_NOTHING);
    kd_tokenizer *tokenizer = large_tokenizer();
    const kd_token_ids *ids = kd_tokenizer_ids(tokenizer);
    kd_decoder decoder;
    kd_real mel[FRAMES * 80], *table = model->tokens.table->tensor.value;
    static kd_real z[KD_MULTILINGUAL_VOCABULARY];
    assert_ok(kd_decoder_init(&decoder, model, tokenizer, &options));
    tiny_mel(mel, FRAMES * 80);
    assert_ok(kd_decoder_listen(&decoder, mel, FRAMES));
    assert_ok(kd_whisper_session_step(decoder.session, &ids->start, 1));
    kd_whisper_session_logits(decoder.session, z, 0);
    /* Their rows in an order in which each is the likeliest once: the first, one between, the last.
     */
    const int32_t last = ids->language + ids->languages - 1,
                  wanted[] = {ids->language, last - 9, last};
    for (int i = 0; i < 3; i++) {
        int32_t found;
        int32_t best = ids->language;
        for (int32_t l = ids->language; l <= last; l++)
            if (z[l] > z[best]) best = l;
        for (int c = 0; c < TINY_WIDTH; c++) { /* the best one's row goes to the wanted one */
            const kd_real moved = table[(int64_t)best * TINY_WIDTH + c];
            table[(int64_t)best * TINY_WIDTH + c] = table[(int64_t)wanted[i] * TINY_WIDTH + c];
            table[(int64_t)wanted[i] * TINY_WIDTH + c] = moved;
        }
        kd_params_touch(model->params);
        assert_ok(kd_decoder_language(&decoder, &found));
        assert_int_equal(found, wanted[i]);
        kd_whisper_session_restart(decoder.session);
        assert_ok(kd_whisper_session_step(decoder.session, &ids->start, 1));
        kd_whisper_session_logits(decoder.session, z, 0);
    }
    kd_decoder_clear(&decoder);
    kd_tokenizer_free(tokenizer);
    kd_whisper_free(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_token_is_judged_rightly),
        cmocka_unit_test(times_are_weighed_against_the_best_word),
        cmocka_unit_test(log_sum_exp_is_that),
        cmocka_unit_test(the_likeliest_language_is_found),
        cmocka_unit_test(prompts_are_start_language_task_and_no_timestamps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
