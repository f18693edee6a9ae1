/* Decoding with Whisper: the rules, the searches, long recordings. */
#include "test_data.h"

#include <sndfile.h>

#include "tasks/speech/transcribe.h"
#include "whisper_tiny.h"

enum { V = TINY_VOCABULARY };

typedef struct {
    kd_whisper *model;
    kd_tokenizer *tokenizer;
    const kd_token_ids *ids;
    kd_decoder decoder;
} fixture;

static void begin_with(fixture *f, const kd_whisper_spec *spec, int beam, bool timestamps) {
    const kd_decode_options options = {.language = -1, .beam = beam, .timestamps = timestamps};
    f->model = tiny_whisper_of(spec, KD_WHISPER_TRAIN_NOTHING);
    f->tokenizer = tiny_tokenizer(V);
    f->ids = kd_tokenizer_ids(f->tokenizer);
    assert_ok(kd_decoder_init(&f->decoder, f->model, f->tokenizer, &options));
}

static void begin(fixture *f, int beam, bool timestamps) {
    begin_with(f, &TINY_SPEC, beam, timestamps);
}

static void end(fixture *f) {
    kd_decoder_clear(&f->decoder);
    kd_tokenizer_free(f->tokenizer);
    kd_whisper_free(f->model);
}

static void listen(fixture *f) {
    enum { FRAMES = 100 };
    kd_real mel[FRAMES * 80];
    tiny_mel(mel, FRAMES * 80);
    assert_ok(kd_decoder_listen(&f->decoder, mel, FRAMES));
}

/* --- rules -------------------------------------------------------------------------------------
 */

/* Logits that prefer text and the end, after the rules for what may follow `sampled`. */
static const kd_real *after(const fixture *f, const int32_t *sampled, int count) {
    static kd_real z[V];
    for (int i = 0; i < V; i++) z[i] = i <= f->ids->end ? 9 : 0;
    kd_decode_rules_apply(&f->decoder.rules, z, sampled, count);
    return z;
}

#define assert_allowed(z, id)   assert_true((z)[id] > -(kd_real)INFINITY)
#define assert_forbidden(z, id) assert_true((z)[id] == -(kd_real)INFINITY)

static void no_speech_and_special_tokens_are_suppressed(void **state) {
    (void)state;
    fixture f;
    begin(&f, 1, false);
    const int32_t text[] = {'h'};
    const kd_real *z = after(&f, text, 1);
    assert_forbidden(z, '[');
    assert_forbidden(z, '(');
    assert_allowed(z, 'a');
    assert_allowed(z, f.ids->end);
    assert_forbidden(z, f.ids->start);
    assert_forbidden(z, f.ids->no_speech);
    assert_forbidden(z, f.ids->timestamp);
    z = after(&f, NULL, 0);
    assert_forbidden(z, ' ');
    assert_forbidden(z, f.ids->end);
    assert_allowed(z, 'a');
    end(&f);
}

static void timestamps_come_in_pairs_and_never_fall(void **state) {
    (void)state;
    fixture f;
    begin(&f, 1, true);
    const int32_t t = f.ids->timestamp;
    const kd_real *z = after(&f, NULL, 0); /* one first, of 1 s or less */
    assert_forbidden(z, 'a');
    assert_allowed(z, t + 50);
    assert_forbidden(z, t + 51);
    const int32_t first[] = {t + 10};
    z = after(&f, first, 1); /* text, or the end */
    assert_allowed(z, 'a');
    assert_allowed(z, f.ids->end);
    assert_forbidden(z, t + 20);
    const int32_t text[] = {t + 10, 'a'};
    z = after(&f, text, 2); /* more text, or a later time */
    assert_allowed(z, 'b');
    assert_forbidden(z, t + 10);
    assert_allowed(z, t + 11);
    const int32_t closed[] = {t + 10, 'a', t + 30};
    z = after(&f, closed, 3); /* the same or a later time, or the end, but no text */
    assert_forbidden(z, 'a');
    assert_forbidden(z, t + 29);
    assert_allowed(z, t + 30);
    assert_allowed(z, f.ids->end);
    const int32_t pair[] = {t + 10, 'a', t + 30, t + 30};
    z = after(&f, pair, 4); /* text again */
    assert_allowed(z, 'a');
    assert_forbidden(z, t + 31);
    end(&f);
}

static void likely_timestamps_win_together(void **state) {
    (void)state;
    fixture f;
    begin(&f, 1, true);
    kd_real z[V];
    const int32_t text[] = {f.ids->timestamp, 'a'};
    for (int i = 0; i < V; i++) z[i] = 0; /* 1501 times as likely as any other token */
    z['b'] = 2;
    kd_decode_rules_apply(&f.decoder.rules, z, text, 2);
    assert_forbidden(z, 'b');
    assert_allowed(z, f.ids->timestamp + 1);
    for (int i = 0; i < V; i++) z[i] = 0;
    z['b'] = 8; /* e^8 > 1501 */
    kd_decode_rules_apply(&f.decoder.rules, z, text, 2);
    assert_allowed(z, 'b');
    end(&f);
}

/* A model that states what is suppressed: that list stands in place of OpenAI's, and languages and
 * what is no text stay forbidden. */
static void stated_lists_are_followed(void **state) {
    (void)state;
    fixture f;
    const int32_t list[] = {'a', 'b'};
    begin(&f, 1, false);
    kd_whisper_generation *g = &f.model->generation;
    assert_ok(kd_token_list_set(&g->suppress, list, 1));
    assert_ok(kd_token_list_set(&g->begin_suppress, list + 1, 1));
    kd_decode_rules_clear(&f.decoder.rules);
    assert_ok(kd_decode_rules_init(&f.decoder.rules, f.tokenizer, g, false));
    const int32_t text[] = {'h'};
    const kd_real *z = after(&f, text, 1);
    assert_forbidden(z, 'a');
    assert_allowed(z, 'b');
    assert_allowed(z, '[');
    assert_allowed(z, f.ids->no_speech);
    assert_forbidden(z, f.ids->language);
    assert_forbidden(z, f.ids->no_timestamps);
    assert_forbidden(z, f.ids->timestamp);
    z = after(&f, NULL, 0);
    assert_forbidden(z, 'a');
    assert_forbidden(z, 'b');
    assert_allowed(z, ' ');
    assert_allowed(z, f.ids->end);
    assert_ok(kd_token_list_set(&g->suppress, NULL, 0));
    assert_ok(kd_token_list_set(&g->begin_suppress, NULL, 0));
    g->max_initial_timestamp = 5;
    kd_decode_rules_clear(&f.decoder.rules);
    assert_ok(kd_decode_rules_init(&f.decoder.rules, f.tokenizer, g, true));
    z = after(&f, NULL, 0);
    assert_allowed(z, f.ids->timestamp + 5);
    assert_forbidden(z, f.ids->timestamp + 6);
    end(&f);
}

/* Lists that leave nothing end the text, and no number becomes NaN. */
static void nothing_left_is_the_end(void **state) {
    (void)state;
    fixture f;
    int32_t all[V];
    kd_decoded d;
    for (int i = 0; i < V; i++) all[i] = i;
    for (int beam = 1; beam < 3; beam++) {
        begin(&f, beam, beam == 2);
        assert_ok(kd_token_list_set(&f.model->generation.suppress, all, V));
        kd_decode_rules_clear(&f.decoder.rules);
        assert_ok(
            kd_decode_rules_init(&f.decoder.rules, f.tokenizer, &f.model->generation, beam == 2));
        listen(&f);
        for (int i = 0; i < 2; i++) {
            assert_ok(kd_decoder_run(&f.decoder, &d, NULL, 0, i));
            assert_int_equal(d.count, 0);
            assert_true(d.average == 0);
        }
        end(&f);
    }
}

/* No more tokens than the model states, the end among them; more than half the context are none. */
static void stated_lengths_are_followed(void **state) {
    (void)state;
    fixture f;
    kd_decoded d;
    for (int beam = 1; beam <= 3; beam += 2)
        for (int most = 0; most <= 100; most += most < 10 ? 5 : 90) {
            begin(&f, beam, false);
            listen(&f);
            f.model->generation.max_length = most;
            assert_ok(kd_decoder_run(&f.decoder, &d, NULL, 0, 0));
            assert_true(d.count > 0 && d.count <= (most > 0 && most < 16 ? most : 16));
            end(&f);
        }
    assert_int_equal(kd_decode_length_most(&(kd_whisper_generation){.max_length = 5}, 32), 5);
    assert_int_equal(kd_decode_length_most(&(kd_whisper_generation){.max_length = 17}, 32), 16);
}

/* Added tokens stand behind the timestamps and are none: text, under the rules of text. */
static void added_tokens_are_text(void **state) {
    (void)state;
    enum { ADDED = V };
    static kd_real z[V + 1];
    const kd_token_bytes token = {"added", 5};
    kd_tokenizer *t, *tiny = tiny_tokenizer(V);
    kd_token_bytes own[256];
    kd_decode_rules rules;
    const kd_whisper_generation g = kd_whisper_generation_own();
    for (int i = 0; i < 256; i++) own[i] = kd_tokenizer_token(tiny, i);
    assert_ok(kd_tokenizer_create_added(&t, own, 256, V + 1,
                                        &(kd_added_tokens){.token = &token, .count = 1}, "added"));
    assert_ok(kd_decode_rules_init(&rules, t, &g, true));
    const int32_t first = kd_tokenizer_ids(t)->timestamp;
    const int32_t said[] = {first, ADDED, first + 5};
    for (int count = 0; count <= 3; count++) {
        for (int i = 0; i <= V; i++) z[i] = i == ADDED ? 20 : 0;
        kd_decode_rules_apply(&rules, z, said, count);
        if (count == 0 || count == 3)
            assert_forbidden(z, ADDED); /* a timestamp comes first, and after one that closes */
        else
            assert_allowed(z, ADDED);
    }
    for (int i = 0; i <= V; i++) z[i] = i == ADDED ? 2 : 0; /* less likely than all timestamps */
    kd_decode_rules_apply(&rules, z, said, 2);
    assert_forbidden(z, ADDED);
    kd_decode_rules_clear(&rules);
    kd_tokenizer_free(t);
    kd_tokenizer_free(tiny);
}

/* Languages are looked for among those the model states. */
static void stated_languages_are_looked_for(void **state) {
    (void)state;
    fixture f;
    int32_t found, only;
    begin(&f, 1, false);
    listen(&f);
    assert_ok(kd_decoder_language(&f.decoder, &found));
    assert_true(found >= f.ids->language && found < f.ids->translate);
    only = found == f.ids->language ? found + 1 : f.ids->language;
    assert_ok(kd_token_list_set(&f.model->generation.languages, &only, 1));
    assert_ok(kd_decoder_language(&f.decoder, &found));
    assert_int_equal(found, only);
    end(&f);
}

/* --- searches ----------------------------------------------------------------------------------
 */

/* The sum of log-probabilities of `token` and the end behind the prompt, step by step. */
static double score(fixture *f, const int32_t *token, int count, bool ended) {
    static kd_real z[V];
    int32_t prompt[2] = {f->ids->start, f->ids->no_timestamps};
    double sum = 0;
    kd_whisper_session *s = f->decoder.session;
    kd_whisper_session_restart(s);
    assert_ok(kd_whisper_session_step(s, prompt, 2));
    for (int i = 0; i < count + ended; i++) {
        const int32_t next = i < count ? token[i] : f->ids->end;
        kd_whisper_session_logits(s, z, i ? 0 : 1);
        kd_decode_rules_apply(&f->decoder.rules, z, token, i);
        sum += (double)z[next] - kd_log_sum_exp(z, V);
        assert_ok(kd_whisper_session_step(s, &next, 1));
    }
    return sum;
}

/* Greedy takes the likeliest token each time, and says how likely its text was. */
static void greedy_is_greedy(void **state) {
    (void)state;
    fixture f;
    kd_decoded d;
    int32_t token[64];
    begin(&f, 1, false);
    listen(&f);
    assert_ok(kd_decoder_run(&f.decoder, &d, NULL, 0, 0));
    assert_true(d.count > 0 && d.count <= 16); /* half the context */
    assert_true(d.no_speech > 0 && d.no_speech < 1);
    memcpy(token, d.token, (size_t)d.count * sizeof *token);
    const double average = d.average;
    const int count = d.count;
    static kd_real z[V];
    int32_t prompt[2] = {f.ids->start, f.ids->no_timestamps};
    kd_whisper_session_restart(f.decoder.session);
    assert_ok(kd_whisper_session_step(f.decoder.session, prompt, 2));
    for (int i = 0; i < count; i++) {
        kd_whisper_session_logits(f.decoder.session, z, i ? 0 : 1);
        kd_decode_rules_apply(&f.decoder.rules, z, token, i);
        for (int v = 0; v < V; v++) assert_true(z[v] <= z[token[i]]);
        assert_ok(kd_whisper_session_step(f.decoder.session, &token[i], 1));
    }
    assert_float_equal((float)average, (float)(score(&f, token, count, count < 16) / (count + 1)),
                       1e-4f);
    end(&f);
}

/* What a beam of four says of its text is true. */
static void beams_score_what_they_say(void **state) {
    (void)state;
    fixture f;
    kd_decoded d;
    int32_t token[64];
    begin(&f, 4, false);
    listen(&f);
    assert_ok(kd_decoder_run(&f.decoder, &d, NULL, 0, 0));
    const int count = d.count;
    const double average = d.average;
    memcpy(token, d.token, (size_t)count * sizeof *token);
    assert_float_equal((float)average, (float)(score(&f, token, count, count < 16) / (count + 1)),
                       1e-4f);
    end(&f);
}

static void sampling_is_reproducible(void **state) {
    (void)state;
    int32_t token[2][64];
    int count[2];
    for (int i = 0; i < 2; i++) {
        fixture f;
        kd_decoded d;
        begin(&f, 1, false);
        listen(&f);
        assert_ok(kd_decoder_run(&f.decoder, &d, NULL, 0, 1));
        count[i] = d.count;
        memcpy(token[i], d.token, (size_t)d.count * sizeof **token);
        end(&f);
    }
    assert_int_equal(count[0], count[1]);
    assert_memory_equal(token[0], token[1], (size_t)count[0] * sizeof **token);
}

/* A prompt longer than half the context is cut at its front and changes what follows. */
static void prompts_are_cut(void **state) {
    (void)state;
    fixture f;
    kd_decoded d;
    int32_t prompt[40];
    begin(&f, 1, false);
    listen(&f);
    for (int i = 0; i < 40; i++) prompt[i] = 'a' + i % 20;
    assert_ok(kd_decoder_run(&f.decoder, &d, prompt, 40, 0));
    const double whole = d.average, silence = d.no_speech;
    assert_ok(kd_decoder_run(&f.decoder, &d, prompt + 25, 15, 0));
    assert_true(d.average == whole && d.no_speech == silence);
    assert_ok(kd_decoder_run(&f.decoder, &d, NULL, 0, 0));
    assert_true(d.average != whole);
    end(&f);
}

static void tokenizers_of_other_models_are_refused(void **state) {
    (void)state;
    kd_decoder decoder;
    const kd_decode_options options = {.language = -1, .beam = 1};
    kd_whisper *model = tiny_whisper(KD_WHISPER_TRAIN_NOTHING);
    kd_tokenizer *tokenizer = tiny_tokenizer(V - 1);
    assert_refused(kd_decoder_init(&decoder, model, tokenizer, &options), KD_EDATA, "1863");
    kd_decoder_clear(&decoder);
    kd_tokenizer_free(tokenizer);
    kd_whisper_free(model);
}

/* --- recordings --------------------------------------------------------------------------------
 */

static int count_windows(void *context, const kd_segment *segment, int64_t done, int64_t frames) {
    int64_t *last = context;
    assert_true(done <= frames);
    if (!segment) assert_true(done > *last);
    if (!segment) *last = done;
    return KD_OK;
}

enum { SECONDS = 63 };

static void write_samples(const char *path, int count) {
    SF_INFO info = {.samplerate = 16000, .channels = 1, .format = SF_FORMAT_WAV | SF_FORMAT_PCM_16};
    SNDFILE *file = sf_open(path, SFM_WRITE, &info);
    assert_non_null(file);
    for (int i = 0; i < count; i++) {
        const short x = (short)(i % 16000 * 7919 % 20011 - 10000);
        assert_int_equal(sf_writef_short(file, &x, 1), 1);
    }
    sf_close(file);
}

static void write_noise(const char *path, int seconds) {
    write_samples(path, seconds * 16000);
}

/* Random weights say nothing sensible, but every window comes to its end. */
static void long_recordings_come_to_an_end(void **state) {
    kd_logmel *logmel;
    kd_whisper_sound *sound;
    kd_whisper_spec spec = TINY_SPEC;
    spec.audio_context = 1500;
    const char *path = test_path(*state, "noise.wav");
    write_noise(path, SECONDS);
    assert_ok(kd_whisper_mel_create(&logmel, spec.mels));
    assert_ok(kd_whisper_sound_open(&sound, path, logmel));
    for (int timestamps = 0; timestamps < 2; timestamps++) {
        fixture f;
        kd_transcript t;
        int64_t last = 0;
        begin_with(&f, &spec, 2, timestamps);
        assert_ok(kd_transcribe(&t, &f.decoder, sound, count_windows, &last));
        assert_int_equal(last, SECONDS * 100);
        for (int i = 0; i < t.count; i++) assert_true(t.segment[i].end > t.segment[i].start);
        kd_transcript_clear(&t);
        end(&f);
    }
    fixture f;
    kd_transcript t;
    begin(&f, 1, true);
    assert_refused(kd_transcribe(&t, &f.decoder, sound, NULL, NULL), KD_EDATA, "100 frames");
    end(&f);
    kd_whisper_sound_close(sound);
    kd_logmel_free(logmel);
}

/* The tokens and temperature of all segments. */
static int said_by(kd_decoder *decoder, const char *path, const kd_logmel *logmel, int32_t *token,
                   double *hottest) {
    kd_whisper_sound *sound;
    kd_transcript t;
    int count = 0;
    *hottest = 0;
    assert_ok(kd_whisper_sound_open(&sound, path, logmel));
    assert_ok(kd_transcribe(&t, decoder, sound, NULL, NULL));
    for (int i = 0; i < t.count; i++) {
        if (t.segment[i].temperature > *hottest) *hottest = t.segment[i].temperature;
        for (int k = 0; k < t.segment[i].count && count < 1000; k++)
            token[count++] = t.segment[i].token[k];
    }
    kd_transcript_clear(&t);
    kd_whisper_sound_close(sound);
    return count;
}

/* What is said in a recording does not depend on what was heard before it, though random weights
 * need samples. */
static void recordings_do_not_depend_on_each_other(void **state) {
    kd_logmel *logmel;
    kd_whisper_spec spec = TINY_SPEC;
    spec.audio_context = 1500;
    char path[2][KD_PATH_MAX];
    int32_t alone[1000], behind[1000];
    double hottest;
    for (int i = 0; i < 2; i++) {
        test_copy(path[i], sizeof path[i], test_path(*state, i ? "b.wav" : "a.wav"));
        write_noise(path[i], 5 + i);
    }
    assert_ok(kd_whisper_mel_create(&logmel, spec.mels));
    fixture f;
    begin_with(&f, &spec, 1, false);
    const int count = said_by(&f.decoder, path[1], logmel, alone, &hottest);
    assert_true(count > 0 && hottest > 0); /* it was sampled */
    said_by(&f.decoder, path[0], logmel, behind, &hottest);
    assert_int_equal(said_by(&f.decoder, path[1], logmel, behind, &hottest), count);
    assert_memory_equal(alone, behind, (size_t)count * sizeof *alone);
    end(&f);
    kd_logmel_free(logmel);
}

static int64_t windows_of(const char *path, const kd_logmel *logmel, fixture *f) {
    kd_whisper_sound *sound;
    kd_transcript t;
    int64_t last = 0;
    assert_ok(kd_whisper_sound_open(&sound, path, logmel));
    assert_ok(kd_transcribe(&t, &f->decoder, sound, count_windows, &last));
    kd_transcript_clear(&t);
    kd_whisper_sound_close(sound);
    return last;
}

/* ⌊samples/160⌋ frames, as OpenAI counts: no window for less than one. */
static void parts_of_frames_are_no_window(void **state) {
    kd_logmel *logmel;
    kd_whisper_spec spec = TINY_SPEC;
    spec.audio_context = 1500;
    fixture f;
    begin_with(&f, &spec, 1, false);
    assert_ok(kd_whisper_mel_create(&logmel, spec.mels));
    const int samples[] = {159, 160, 480000 + 159, 480000 + 160};
    const int64_t frames[] = {0, 1, 3000, 3001};
    for (int i = 0; i < 4; i++) {
        const char *path = test_path(*state, "part.wav");
        write_samples(path, samples[i]);
        assert_int_equal(windows_of(path, logmel, &f), frames[i]);
    }
    end(&f);
    kd_logmel_free(logmel);
}

/* A letter whose bytes two segments share is broken in each of them and whole in all the words. */
static void split_letters_are_put_together(void **state) {
    (void)state;
    char *words;
    kd_tokenizer *tokenizer = tiny_tokenizer(V);
    const int32_t stamp = kd_tokenizer_ids(tokenizer)->timestamp;
    int32_t token[2][3] = {{stamp, 'x', 0xC3}, {0xA9, 'y', stamp + 9}};
    kd_segment segment[2] = {{.token = token[0], .count = 3}, {.token = token[1], .count = 3}};
    const kd_transcript t = {.segment = segment, .count = 2};
    assert_ok(kd_transcript_words(&words, &t, tokenizer));
    assert_string_equal(words, "xéy");
    free(words);
    const kd_transcript none = {0};
    assert_ok(kd_transcript_words(&words, &none, tokenizer));
    assert_string_equal(words, "");
    free(words);
    kd_tokenizer_free(tokenizer);
}

/* The genuine base.en and 11 s of speech, greedy and with a beam. */
static void base_en_understands(void **state) {
    (void)state;
#if defined KD_DOUBLE || defined __SANITIZE_ADDRESS__
    printf("SKIP base.en is heard in the release build alone: here it takes minutes\n");
    skip();
#endif
    static const char expected[] =
        " And so my fellow Americans, ask not what your country can do for "
        "you, ask what you can do for your country.";
    char model[KD_PATH_MAX], speech[KD_PATH_MAX];
    test_need(model, "whisper/ggml-base.en.bin");
    test_need(speech, "speech/jfk.flac");
    kd_whisper_file *file;
    kd_logmel *logmel;
    kd_whisper_sound *sound;
    assert_ok(kd_whisper_file_open(&file, model, KD_WHISPER_TRAIN_NOTHING));
    assert_ok(kd_whisper_mel_create(&logmel, file->model->spec.mels));
    assert_ok(kd_whisper_sound_open(&sound, speech, logmel));
    for (int beam = 1; beam <= 5; beam += 4) {
        const kd_decode_options options = {.language = -1, .beam = beam, .timestamps = true};
        kd_decoder decoder;
        kd_transcript t;
        assert_ok(kd_decoder_init(&decoder, file->model, file->tokenizer, &options));
        assert_ok(kd_transcribe(&t, &decoder, sound, NULL, NULL));
        assert_int_equal(t.count, 1);
        assert_string_equal(t.segment[0].text, expected);
        assert_true(t.segment[0].start == 0 && fabs(t.segment[0].end - 11) < 0.5);
        kd_transcript_clear(&t);
        kd_decoder_clear(&decoder);
    }
    kd_whisper_sound_close(sound);
    kd_logmel_free(logmel);
    kd_whisper_file_free(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_speech_and_special_tokens_are_suppressed),
        cmocka_unit_test(timestamps_come_in_pairs_and_never_fall),
        cmocka_unit_test(likely_timestamps_win_together),
        cmocka_unit_test(stated_lists_are_followed),
        cmocka_unit_test(added_tokens_are_text),
        cmocka_unit_test(nothing_left_is_the_end),
        cmocka_unit_test(stated_lengths_are_followed),
        cmocka_unit_test(stated_languages_are_looked_for),
        cmocka_unit_test(split_letters_are_put_together),
        cmocka_unit_test_setup_teardown(recordings_do_not_depend_on_each_other, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(parts_of_frames_are_no_window, test_setup, test_teardown),
        cmocka_unit_test(greedy_is_greedy),
        cmocka_unit_test(beams_score_what_they_say),
        cmocka_unit_test(sampling_is_reproducible),
        cmocka_unit_test(prompts_are_cut),
        cmocka_unit_test(tokenizers_of_other_models_are_refused),
        cmocka_unit_test(base_en_understands),
        cmocka_unit_test_setup_teardown(long_recordings_come_to_an_end, test_setup, test_teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
