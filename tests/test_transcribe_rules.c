/* How a transcript is cut out of what windows say, on a model that says what it is told: its
 * decoder passes the positions through, and position t asks for the tokens written there. */
#include <math.h>

#include "tasks/speech/transcribe.h"
#include "speech_tiny.h"

enum { V = TINY_VOCABULARY, WIDTH = TINY_WIDTH, SAMPLES = 3 * 16000, FRAMES = 300 };

typedef struct {
    kd_whisper *model;
    kd_tokenizer *tokenizer;
    const kd_token_ids *ids;
    kd_decoder decoder;
    kd_logmel *logmel;
    kd_whisper_sound *sound;
    int known; /* tokens that have a direction of their own */
    int32_t token[WIDTH];
} stage;

static void set(kd_param *p, kd_real value) {
    for (int64_t i = 0; i < p->tensor.size; i++) p->tensor.value[i] = value;
}

/* Blocks that add nothing, and a plain norm in front of the logits. */
static void set_stage(stage *s, test_folder *folder) {
    kd_whisper_spec spec = TINY_SPEC;
    const char *path = test_path(folder, "sound.wav");
    spec.audio_context = KD_WHISPER_FRAMES / 2;
    *s = (stage){.model = tiny_whisper_of(&spec, KD_WHISPER_TRAIN_NOTHING)};
    for (int i = 0; i < s->model->params->count; i++)
        if (strstr(s->model->params->list[i]->name, "blocks")) set(s->model->params->list[i], 0);
    set(s->model->text_norm.gamma, 1);
    set(s->model->text_norm.beta, 0);
    set(s->model->text_positions, 0);
    set(s->model->tokens.table, 0);
    s->tokenizer = tiny_tokenizer(V);
    s->ids = kd_tokenizer_ids(s->tokenizer);
    tiny_sound(path, SAMPLES, 1);
    assert_ok(kd_whisper_mel_create(&s->logmel, spec.mels));
    assert_ok(kd_whisper_sound_open(&s->sound, path, s->logmel));
}

static void clear_stage(stage *s) {
    kd_whisper_sound_close(s->sound);
    kd_logmel_free(s->logmel);
    kd_tokenizer_free(s->tokenizer);
    kd_whisper_free(s->model);
}

/* Position `at` asks for `token` with this strength (1: certain, when alone). */
static void ask(stage *s, int at, int32_t token, double strength) {
    int d = 0;
    while (d < s->known && s->token[d] != token) d++;
    assert_true(d < WIDTH);
    if (d == s->known) {
        s->token[s->known++] = token;
        s->model->tokens.table->tensor.value[(int64_t)token * WIDTH + d] = 16;
    }
    s->model->text_positions->tensor.value[at * WIDTH + d] = (kd_real)(4000 * strength);
}

/* Tokens for the positions from `at` on; −1 is the end and ends the list, t ≥ 1000 a timestamp. */
static void say(stage *s, int at, const int *list) {
    for (;; list++, at++) {
        const int32_t token = *list < 0      ? s->ids->end
                              : *list < 1000 ? *list
                                             : s->ids->timestamp + *list - 1000;
        ask(s, at, token, 1);
        if (*list < 0) break;
    }
}
#define SAY(s, at, ...) say(s, at, (const int[]){__VA_ARGS__, -1})

static int count_ends(void *context, const kd_segment *segment, int64_t done, int64_t frames) {
    int64_t *calls = context;
    assert_int_equal(frames, FRAMES);
    if (segment)
        calls[0]++;
    else
        calls[2 + calls[1]++] = done;
    return KD_OK;
}

/* windows[n]: where each window ended. */
static kd_transcript transcribe(stage *s, bool timestamps, int segments, int windows,
                                const int64_t *ends) {
    const kd_decode_options options = {.language = 5, .beam = 1, .timestamps = timestamps};
    kd_transcript t;
    int64_t calls[8] = {0};
    kd_params_touch(s->model->params);
    assert_ok(kd_decoder_init(&s->decoder, s->model, s->tokenizer, &options));
    assert_ok(kd_transcribe(&t, &s->decoder, s->sound, count_ends, calls));
    assert_int_equal(t.language, -1); /* the model knows English alone */
    assert_int_equal(s->decoder.options.language, 5);  /* as it was told */
    assert_int_equal(t.count, segments);
    assert_int_equal(calls[0], segments);
    assert_int_equal(calls[1], windows);
    for (int i = 0; i < windows; i++) assert_int_equal(calls[2 + i], ends[i]);
    kd_decoder_clear(&s->decoder);
    return t;
}

static void assert_segment(const kd_transcript *t, int i, const char *text, double start,
                           double end) {
    assert_string_equal(t->segment[i].text, text);
    if (fabs(t->segment[i].start - start) > 1e-9 || fabs(t->segment[i].end - end) > 1e-9)
        fail_msg("%s from %g to %g", text, t->segment[i].start, t->segment[i].end);
}

/* Where two timestamps meet at the end, the next window begins; it is told what was said. */
static void windows_go_on_at_the_last_pair(void **state) {
    stage s;
    set_stage(&s, *state);
    SAY(&s, 0, 1000, 'a', 1050, 1050, 'b', 1100, 1100);
    /* The second prompt: previous, six tokens, start. At its first place the end is forbidden. */
    ask(&s, 7, s.ids->timestamp, 0.9);
    SAY(&s, 8, 'c');
    kd_transcript t = transcribe(&s, true, 3, 2, (const int64_t[]){200, 300});
    assert_segment(&t, 0, "a", 0, 1);
    assert_segment(&t, 1, "b", 1, 2);
    assert_segment(&t, 2, "c", 2, 3);
    assert_int_equal(t.segment[1].count, 3);
    assert_true(t.segment[1].token[0] == s.ids->timestamp + 50);
    assert_true(t.segment[1].window == 0 && t.segment[2].window == 2);
    assert_true(t.segment[0].temperature == 0 && t.segment[0].average > -0.1);
    kd_transcript_clear(&t);
    clear_stage(&s);
}

/* One closing timestamp: nothing follows in this window. */
static void a_single_timestamp_ends_the_window(void **state) {
    stage s;
    set_stage(&s, *state);
    SAY(&s, 0, 1010, 'a', 1040);
    kd_transcript t = transcribe(&s, true, 1, 1, (const int64_t[]){300});
    assert_segment(&t, 0, "a", 0, 0.8); /* as OpenAI's: from the window's beginning */
    kd_transcript_clear(&t);
    clear_stage(&s);
    set_stage(&s, *state);
    SAY(&s, 0, 1005, 'a', 1020, 1025, 'b', 1060);
    t = transcribe(&s, true, 2, 1, (const int64_t[]){300});
    assert_segment(&t, 0, "a", 0.1, 0.4);
    assert_segment(&t, 1, "b", 0.5, 1.2);
    kd_transcript_clear(&t);
    clear_stage(&s);
}

static void without_timestamps_a_window_is_a_segment(void **state) {
    stage s;
    set_stage(&s, *state);
    SAY(&s, 1, 'a', 'b', 'c'); /* behind start and no_timestamps */
    kd_transcript t = transcribe(&s, false, 1, 1, (const int64_t[]){300});
    assert_segment(&t, 0, "abc", 0, 3);
    kd_transcript_clear(&t);
    clear_stage(&s);
}

/* Where the model hears no speech, what it says counts only when it is likely. */
static void silence_is_passed_over(void **state) {
    for (int likely = 0; likely < 2; likely++)
        for (int silent = 0; silent < 2; silent++) {
            stage s;
            set_stage(&s, *state);
            SAY(&s, 0, 1000, 'a', 'a', 1040);
            ask(&s, 0, s.ids->no_speech, silent ? 1.1 : 0.9);
            for (int i = 0; i < 20 && !likely; i++) /* two tokens of probability 1/21 */
                for (int at = 1; at < 3; at++) ask(&s, at, 'b' + i, 1);
            const bool heard = likely || !silent;
            kd_transcript t = transcribe(&s, true, heard, 1, (const int64_t[]){300});
            if (heard) {
                /* Unlikely text is tried again, ever more freely. */
                assert_true(t.segment[0].temperature == (likely ? 0 : 1));
                assert_true((t.segment[0].no_speech > 0.6) == (silent != 0));
                assert_true((t.segment[0].average < -1) == !likely);
            }
            kd_transcript_clear(&t);
            clear_stage(&s);
        }
}

/* What was said at a temperature above 0.5 prompts nothing: each window begins as the first one. */
static void guesses_are_no_prompt(void **state) {
    stage s;
    set_stage(&s, *state);
    SAY(&s, 0, 1000, 'a', 'a', 'a', 1050, 1050);
    for (int i = 0; i < 20; i++)
        for (int at = 1; at < 4; at++) ask(&s, at, 'b' + i, 1);
    kd_transcript t = transcribe(&s, true, 3, 3, (const int64_t[]){100, 200, 300});
    for (int i = 0; i < 3; i++) {
        assert_int_equal(strlen(t.segment[i].text), 3);
        assert_true(t.segment[i].start == i && fabs(t.segment[i].end - (i + 1)) < 1e-9);
        assert_true(t.segment[i].temperature == 1);
    }
    kd_transcript_clear(&t);
    clear_stage(&s);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)
    const struct CMUnitTest tests[] = {TEST(windows_go_on_at_the_last_pair),
                                       TEST(a_single_timestamp_ends_the_window),
                                       TEST(without_timestamps_a_window_is_a_segment),
                                       TEST(silence_is_passed_over), TEST(guesses_are_no_prompt)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
