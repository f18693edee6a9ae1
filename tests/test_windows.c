/* From labels to windows, and what a frozen encoder makes of them. */
#include "speech_tiny.h"

#include "autograd/gemm.h"
#include "distill/trainer.h"
#include "tasks/speech/encoder_cache.h"

enum { KINDS = 9, SECOND = 16000 };

static const kd_window_options JOINED = {.join = KD_JOIN_FULL, .wer_below = 0.1, .language = -1};

typedef struct {
    kd_utterances utterances;
    kd_labels labels;
    kd_tokenizer *tokenizer;
    const kd_token_ids *ids;
} fixture;

/* Labels as if a teacher had said "a", "b" … with 2 tokens more at each; every fourth is wrong. */
static void begin(fixture *f, test_folder *folder, int count) {
    f->utterances = tiny_utterances(folder, count, KINDS);
    f->tokenizer = tiny_tokenizer(TINY_VOCABULARY);
    f->ids = kd_tokenizer_ids(f->tokenizer);
    f->labels = (kd_labels){.count = count};
    f->labels.item = calloc((size_t)count, sizeof *f->labels.item);
    assert_non_null(f->labels.item);
    for (int i = 0; i < count; i++) {
        kd_label *l = &f->labels.item[i];
        const int kind = i % KINDS;
        l->utterance = &f->utterances.item[i];
        l->sound = kd_hash_bytes(&kind, sizeof kind);
        l->seconds = (2000.0 + 1300 * (i % KINDS)) / SECOND;
        l->count = 1 + i % 3;
        l->token = malloc((size_t)l->count * sizeof *l->token);
        assert_non_null(l->token);
        for (int k = 0; k < l->count; k++) l->token[k] = 'a' + i;
        l->wer = (kd_wer){.words = 2, .substitutions = i % 4 == 3};
    }
}

static void end(fixture *f) {
    kd_labels_clear(&f->labels);
    kd_utterances_free(&f->utterances);
    kd_tokenizer_free(f->tokenizer);
}

static kd_windows *make(const fixture *f, const kd_window_options *options) {
    kd_windows *w;
    assert_ok(kd_windows_make(&w, &f->labels, f->tokenizer, &TINY_SPEC, options));
    return w;
}

static const kd_label *part(const kd_windows *w, int64_t window, int64_t i) {
    return &w->labels->item[w->part[w->item[window].first + i]];
}

/* --- joining -----------------------------------------------------------------------------------
 */

/* The tokens are the prompt, those of the parts, and the end; sound and tokens fit. */
static void assert_whole(const fixture *f, const kd_windows *w) {
    int64_t parts = 0, positions = 0;
    for (int64_t i = 0; i < w->count; i++) {
        const kd_window *x = &w->item[i];
        const int32_t *at = x->token;
        double seconds = 0;
        assert_int_equal(*at++, f->ids->start);
        assert_int_equal(*at++, f->ids->no_timestamps);
        for (int64_t p = 0; p < x->count; p++) {
            const kd_label *l = part(w, i, p);
            assert_memory_equal(at, l->token, (size_t)l->count * sizeof *at);
            assert_true(kd_label_kept(l, 0.1));
            assert_string_equal(l->utterance->speaker, part(w, i, 0)->utterance->speaker);
            at += l->count;
            seconds += l->seconds;
        }
        assert_int_equal(*at++, f->ids->end);
        assert_int_equal(at - x->token, x->length);
        assert_true(fabs(x->seconds - seconds) < 1e-9 && seconds <= 1);
        assert_true(x->length - 1 <= TINY_SPEC.text_context);
        assert_int_equal(x->first_target, 0);
        assert_int_equal(x->first, parts);
        for (int64_t k = 0; k < i; k++) assert_true(w->item[k].id != x->id);
        parts += x->count;
        positions += x->length - 1;
    }
    assert_int_equal(parts, w->parts);
    assert_int_equal(positions, w->positions);
}

static void successive_utterances_of_a_speaker_are_joined(void **state) {
    fixture f;
    begin(&f, *state, 20);
    kd_windows *w = make(&f, &JOINED);
    assert_int_equal(w->parts, 15); /* all but 3, 7, 11, 15, 19 */
    assert_whole(&f, w);
    /* ann: 0 1 2 | 6 …, since 3300 + 4600 + 9800 are more than a second; bob's come behind. */
    assert_int_equal(w->item[0].count, 3);
    assert_true(part(w, 0, 2) == &f.labels.item[2]);
    assert_true(part(w, 1, 0) == &f.labels.item[6]);
    for (int64_t i = 0; i + 1 < w->count; i++) /* nothing more would have fitted */
        if (strcmp(part(w, i, 0)->utterance->speaker, part(w, i + 1, 0)->utterance->speaker) == 0)
            assert_true(w->item[i].seconds + part(w, i + 1, 0)->seconds > 1);
    kd_windows_free(w);
    end(&f);
}

static void apart_unless_one_speaker_is_known(void **state) {
    fixture f;
    kd_window_options apart = JOINED;
    begin(&f, *state, 9);
    apart.join = KD_JOIN_NONE;
    kd_windows *w = make(&f, &apart);
    assert_int_equal(w->count, 7);
    assert_whole(&f, w);
    kd_windows_free(w);
    for (int i = 0; i < 9; i++) f.utterances.item[i].speaker[0] = '\0';
    w = make(&f, &JOINED);
    assert_int_equal(w->count, 7);
    kd_windows_free(w);
    end(&f);
}

/* Short windows and long ones, the same for the same seed. */
static void lengths_vary(void **state) {
    fixture f;
    kd_window_options varied = JOINED;
    begin(&f, *state, 9);
    varied.join = KD_JOIN_VARIED;
    kd_hash first = {""};
    int different = 0;
    for (int i = 0; i < 10; i++) {
        varied.seed = i < 2 ? 0 : (uint64_t)i;
        kd_windows *w = make(&f, &varied);
        assert_whole(&f, w);
        if (i == 0) first = w->hash;
        if (i == 1) assert_string_equal(w->hash.hex, first.hex);
        different += strcmp(w->hash.hex, first.hex) != 0;
        kd_windows_free(w);
    }
    assert_true(different > 0);
    end(&f);
}

/* So many tokens that the text context is full before the second is. */
static void text_must_fit_too(void **state) {
    fixture f;
    begin(&f, *state, 3);
    for (int i = 0; i < 3; i++) {
        kd_label *l = &f.labels.item[i];
        l->count = 15;
        l->token = realloc(l->token, 15 * sizeof *l->token);
        for (int k = 0; k < 15; k++) l->token[k] = 'x';
    }
    kd_windows *w = make(&f, &JOINED);
    assert_whole(&f, w);
    assert_int_equal(w->count, 2);
    assert_int_equal(w->item[0].length, TINY_SPEC.text_context + 1);
    assert_int_equal(w->longest, TINY_SPEC.text_context + 1);
    kd_windows_free(w);
    end(&f);
}

static void hash_of_all_that_matters(void **state) {
    fixture f;
    begin(&f, *state, 12);
    kd_window_options other = JOINED;
    kd_windows *w = make(&f, &JOINED), *again = make(&f, &JOINED);
    assert_string_equal(w->hash.hex, again->hash.hex);
    kd_windows_free(again);
    other.wer_below = 2;
    again = make(&f, &other);
    assert_int_equal(again->parts, 12);
    assert_string_not_equal(w->hash.hex, again->hash.hex);
    kd_windows_free(again);
    f.labels.item[0].token[0]++;
    again = make(&f, &JOINED);
    assert_true(w->item[0].id != again->item[0].id && w->item[1].id == again->item[1].id);
    assert_string_not_equal(w->hash.hex, again->hash.hex);
    kd_windows_free(again);
    other.wer_below = 0;
    assert_refused(kd_windows_make(&again, &f.labels, f.tokenizer, &TINY_SPEC, &other), KD_EDATA,
                   "a word error rate below teacher.wer = 0: of the 12 with words in the list the "
                   "best has 0, the middle one 0");
    for (int i = 0; i < 12; i++) f.labels.item[i].wer = (kd_wer){0};
    assert_refused(kd_windows_make(&again, &f.labels, f.tokenizer, &TINY_SPEC, &JOINED), KD_EDATA,
                   "none of 12 recordings can be learnt from");
    kd_windows_free(w);
    end(&f);
}

/* Windows are named by what is heard in them, not by where the list has it. */
static void rows_do_not_matter(void **state) {
    fixture f;
    begin(&f, *state, 9);
    kd_window_options apart = JOINED;
    apart.join = KD_JOIN_NONE;
    kd_windows *w = make(&f, &apart);
    const uint64_t second = w->item[1].id, last = w->item[w->count - 1].id;
    kd_windows_free(w);
    f.labels.item[0].wer.words = 0; /* the first is not kept any more */
    w = make(&f, &apart);
    assert_true(w->item[0].id == second && w->item[w->count - 1].id == last);
    kd_windows_free(w);
    f.labels.item[0].wer.words = 2;
    f.labels.item[1].sound = f.labels.item[0].sound; /* twice the same is two windows */
    f.labels.item[1].count = f.labels.item[0].count = 1;
    f.labels.item[1].token[0] = f.labels.item[0].token[0];
    w = make(&f, &apart);
    assert_true(w->item[0].id != w->item[1].id);
    kd_windows_free(w);
    end(&f);
}

/* --- sound -------------------------------------------------------------------------------------
 */

/* The features of a window are those of its sounds one behind the other. */
static void sounds_are_joined(void **state) {
    fixture f;
    begin(&f, *state, 3);
    kd_windows *w = make(&f, &JOINED);
    const kd_features *h = &w->features;
    float *samples = calloc((size_t)h->samples, sizeof *samples);
    kd_real *mel = malloc((size_t)h->values * sizeof *mel);
    kd_real *expected = malloc((size_t)h->values * sizeof *mel);
    int64_t at = 0, count;
    for (int i = 0; i < 3; i++) {
        assert_ok(
            kd_features_read(samples + at, h->samples - at, &count, f.utterances.item[i].audio));
        assert_int_equal(count, 2000 + 1300 * i);
        at += count;
    }
    assert_ok(kd_features_mel(h, expected, samples, at));
    assert_ok(kd_windows_mel(w, 0, mel));
    assert_memory_equal(mel, expected, (size_t)h->values * sizeof *mel);
    tiny_sound(f.utterances.item[1].audio, 3301, 1);
    assert_refused(kd_windows_mel(w, 0, mel), KD_EDATA, "k1.wav: not 0.21 s long");
    tiny_sound(f.utterances.item[1].audio, 30000, 1);
    assert_refused(kd_windows_mel(w, 0, mel), KD_EDATA, "k1.wav: not 0.21 s long");
    assert_int_equal(remove(f.utterances.item[1].audio), 0);
    assert_refused(kd_windows_mel(w, 0, mel), KD_ENOINPUT, "k1.wav");
    free(samples);
    free(mel);
    free(expected);
    kd_windows_free(w);
    end(&f);
}

/* --- the encoder's outputs ---------------------------------------------------------------------
 */

enum { VALUES = 50 * TINY_WIDTH, COUNT = KD_ENCODER_CACHE_IN_SHARD + 5 };

typedef struct {
    fixture f;
    kd_windows *windows;
    kd_whisper *encoder;
    kd_hash key;
    char folder[KD_PATH_MAX];
} cached;

static void begin_cached(cached *c, test_folder *folder) {
    const kd_window_options apart = {.join = KD_JOIN_NONE, .wer_below = 2, .language = -1};
    begin(&c->f, folder, COUNT);
    c->windows = make(&c->f, &apart);
    c->encoder = tiny_whisper(KD_WHISPER_TRAIN_DECODER);
    c->key = kd_hash_bytes("encoder", 7);
    test_copy(c->folder, sizeof c->folder, test_path(folder, "cache"));
}

static void end_cached(cached *c) {
    kd_windows_free(c->windows);
    kd_whisper_free(c->encoder);
    end(&c->f);
}

static int open_cache(kd_encoder_cache **out, const cached *c, bool on_disk) {
    return kd_encoder_cache_open(out, on_disk ? c->folder : NULL, c->windows, c->encoder,
                                 KD_PRECISION_FLOAT32, c->key);
}

/* All outputs, (COUNT, VALUES). */
static kd_real *read_all(kd_encoder_cache *e) {
    kd_real *out = malloc(COUNT * VALUES * sizeof *out);
    assert_non_null(out);
    for (int i = COUNT - 1; i >= 0; i--) {
        kd_encoder_cache_expect(e, i);
        assert_ok(kd_encoder_cache_read(e, i, out + i * VALUES));
    }
    return out;
}

/* They are the encoder's, rounded; a cache that is empty, partly filled or full changes no bit. */
static void a_cache_changes_nothing(void **state) {
    cached c;
    kd_encoder_cache *e;
    kd_tape *tape;
    static kd_real mel[100 * 80], exact[VALUES];
    begin_cached(&c, *state);
    assert_ok(open_cache(&e, &c, false));
    kd_real *plain = read_all(e), *other;
    kd_encoder_cache_close(e);
    assert_ok(kd_tape_create(&tape, 0));
    assert_ok(kd_windows_mel(c.windows, 7, mel));
    assert_ok(kd_whisper_encode(c.encoder, tape, exact, mel, 1, 100));
    for (int i = 0; i < VALUES; i++)
        assert_true(plain[7 * VALUES + i] == (kd_real)kd_round_bfloat16((float)exact[i]));
    kd_tape_free(tape);
    assert_ok(open_cache(&e, &c, true));
    kd_train_request_stop();
    assert_refused(kd_encoder_cache_fill(e), KD_EAGAIN, "stopped after 0 of 21 windows");
    assert_ok(kd_encoder_cache_fill(e));
    kd_encoder_cache_close(e);
    for (int missing = 1; missing >= -1; missing--) { /* the second shard, the first, none */
        char name[64];
        snprintf(name, sizeof name, "cache/encoded-%05d.bin", missing);
        if (missing >= 0) assert_int_equal(remove(test_path(*state, name)), 0);
        assert_ok(open_cache(&e, &c, true));
        other = read_all(e);
        assert_memory_equal(other, plain, COUNT * VALUES * sizeof *plain);
        free(other);
        if (missing >= 0) assert_ok(kd_encoder_cache_fill(e));
        kd_encoder_cache_close(e);
    }
    free(plain);
    end_cached(&c);
}

static int64_t size_of(const char *path) {
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    return info.st_size;
}

static void flip(const char *path, long at) {
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    fseek(file, at, SEEK_SET);
    const int byte = fgetc(file);
    fseek(file, at, SEEK_SET);
    fputc(byte ^ 1, file);
    fclose(file);
}

static void a_cache_of_something_else_is_refused(void **state) {
    cached c;
    kd_encoder_cache *e;
    kd_real out[VALUES], again[VALUES];
    begin_cached(&c, *state);
    assert_ok(open_cache(&e, &c, true));
    assert_ok(kd_encoder_cache_fill(e));
    kd_encoder_cache_close(e);
    test_write(test_path(*state, "cache/encoded-00002.bin"), "no shard of 21 windows", 22);
    const char *shard = test_path(*state, "cache/encoded-00000.bin");
    const int64_t size = size_of(shard);
    flip(shard, size - 3);
    assert_ok(open_cache(&e, &c, true));
    assert_ok(kd_encoder_cache_read(e, 0, out));
    assert_refused(kd_encoder_cache_read(e, 15, out), KD_EDATA,
                   "encoded-00000.bin: the record at byte");
    kd_encoder_cache_close(e);
    /* What is no shard of a cache is made again. */
    for (int fault = 0; fault < 3; fault++) {
        if (fault == 0)
            flip(shard, 0);
        else
            assert_int_equal(truncate(shard, fault == 1 ? size - 1 : 20), 0);
        assert_ok(open_cache(&e, &c, true));
        assert_ok(kd_encoder_cache_read(e, 15, out));
        assert_ok(kd_encoder_cache_fill(e));
        kd_encoder_cache_close(e);
        assert_int_equal(size_of(shard), size);
        assert_ok(open_cache(&e, &c, true));
        assert_ok(kd_encoder_cache_read(e, 15, again));
        assert_memory_equal(again, out, sizeof out);
        kd_encoder_cache_close(e);
    }
    assert_ok(open_cache(&e, &c, true));
    assert_ok(kd_encoder_cache_read(e, 0, out));
    assert_int_equal(truncate(shard, 900), 0);
    assert_refused(kd_encoder_cache_read(e, 15, out), KD_EIO, "became shorter while it was read");
    kd_encoder_cache_close(e);
    assert_int_equal(remove(shard), 0);
    const int64_t rest = size_of(test_path(*state, "cache/encoded-00001.bin"));
    assert_int_equal(kd_encoder_cache_bytes(c.windows, &TINY_SPEC), size + rest);
    c.key = kd_hash_bytes("other", 5);
    assert_refused(open_cache(&e, &c, true), KD_EDATA, "made from other windows or by another");
    end_cached(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(successive_utterances_of_a_speaker_are_joined, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(apart_unless_one_speaker_is_known, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(lengths_vary, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(text_must_fit_too, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(hash_of_all_that_matters, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(rows_do_not_matter, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(sounds_are_joined, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(a_cache_changes_nothing, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(a_cache_of_something_else_is_refused, test_setup,
                                        test_teardown),
    };
    return cmocka_run_group_tests_name("windows", tests, NULL, NULL);
}
