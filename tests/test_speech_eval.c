/* Models measured on the same utterances. */
#include "speech_tiny.h"

#include <math.h>
#include <unistd.h>

#include "distill/trainer.h"
#include "tasks/speech/fallback.h"
#include "tasks/speech/recordings.h"
#include "tasks/speech/speech_eval.h"
#include "tasks/speech/student.h"
#include "tasks/speech/transcribe.h"

static const kd_label_options OPTIONS = {.language = -1, .task = -1};
enum { COUNT = 8 };

/* A teacher, a student with its encoder, and a model with another encoder. */
typedef struct {
    kd_utterances utterances;
    kd_whisper_file *file[3];
    kd_speech_subject subject[3];
} fixture;

/* The tiny model with a liking for letters and spaces, so that there are words to compare. */
static kd_whisper_file *talkative(void) {
    kd_whisper_file *file = tiny_whisper_file();
    kd_tensor *table = &file->model->tokens.table->tensor;
    for (int64_t i = 0; i < table->size; i++) {
        const int64_t id = i / TINY_WIDTH;
        if (id == ' ' || (id >= 'a' && id <= 'z')) table->value[i] *= 20;
    }
    kd_params_touch(file->model->params);
    return file;
}

static void begin(fixture *f, test_folder *folder) {
    static const char *const name[3] = {"teacher", "student", "stranger"};
    f->utterances = tiny_utterances(folder, COUNT, COUNT);
    f->file[0] = talkative();
    assert_ok(kd_student_create(&f->file[1], f->file[0], 0, 1, KD_WHISPER_TRAIN_NOTHING));
    f->file[2] = talkative();
    kd_param *p = kd_params_find(f->file[2]->model->params, "encoder.ln_post.weight");
    assert_non_null(p);
    for (int64_t i = 0; i < p->tensor.size; i++) p->tensor.value[i] *= (kd_real)(4 - i % 7);
    kd_params_touch(f->file[2]->model->params);
    for (int i = 0; i < 3; i++)
        f->subject[i] =
            (kd_speech_subject){name[i], i ? "student" : "teacher", "", f->file[i], 100 + i};
}

static void end(fixture *f) {
    for (int i = 0; i < 3; i++) kd_whisper_file_free(f->file[i]);
    kd_utterances_free(&f->utterances);
}

static void assert_same(const kd_speech_result *a, const kd_speech_result *b) {
    assert_int_equal(a->count, b->count);
    for (int64_t i = 0; i < a->count; i++) assert_string_equal(a->said[i], b->said[i]);
    const size_t bytes = (size_t)a->count * sizeof(kd_wer);
    assert_memory_equal(a->against_reference, b->against_reference, bytes);
    assert_memory_equal(a->against_teacher, b->against_teacher, bytes);
}

/* Whoever shares an encoder or is measured beside others gets what it gets alone. */
static void company_changes_nothing(void **state) {
    fixture f;
    kd_speech_result together[3], alone;
    begin(&f, *state);
    assert_ok(kd_speech_evaluate(together, f.subject, 3, &f.utterances, NULL, &OPTIONS));
    for (int i = 0; i < 3; i++) {
        const kd_speech_result *teacher = i ? &together[0] : NULL;
        assert_ok(kd_speech_evaluate(&alone, &f.subject[i], 1, &f.utterances, teacher, &OPTIONS));
        assert_same(&alone, &together[i]);
        assert_string_equal(alone.name, f.subject[i].name);
        assert_int_equal(alone.bytes, 100 + i);
        assert_true(fabs(alone.audio_seconds - (8 * 2000 + 1300 * 28) / 16000.0) < 1e-9);
        assert_true(alone.seconds > 0);
        kd_speech_result_clear(&alone);
    }
    assert_true(together[1].parameters < together[0].parameters);
    assert_true(together[2].teacher.rate > 0 && together[1].teacher.rate > 0);
    assert_true(together[0].teacher.rate == 0 && together[0].teacher.high == 0);
    assert_int_equal(together[0].against_reference[3].words, 2); /* "number 3" */
    for (int i = 0; i < 3; i++) kd_speech_result_clear(&together[i]);
    end(&f);
}

/* Rates are those of the texts: nothing wrong when the list says what the teacher says, unknown
 * when it says nothing. */
static void rates_follow_the_texts(void **state) {
    test_folder *folder = *state;
    fixture f;
    kd_speech_result r, student;
    begin(&f, folder);
    for (int i = 0; i < COUNT; i++) f.utterances.item[i].text[0] = '\0';
    assert_ok(kd_speech_evaluate(&r, f.subject, 1, &f.utterances, NULL, &OPTIONS));
    assert_true(isnan(r.reference.rate) && isnan(r.reference.low));
    char **text = calloc(COUNT, sizeof *text);
    for (int i = 0; i < COUNT; i++) {
        text[i] = f.utterances.item[i].text;
        f.utterances.item[i].text = i == 5 ? "twelve words" : "some words";
        free(r.said[i]);
        r.said[i] = strdup("some words");
    }
    assert_ok(kd_speech_evaluate(&student, &f.subject[1], 1, &f.utterances, &r, &OPTIONS));
    assert_true(student.reference.rate > 0.5 && student.reference.low <= student.reference.rate &&
                student.reference.rate <= student.reference.high);
    assert_int_equal(student.against_teacher[5].words, 2);
    assert_true(kd_wer_rate(student.against_teacher, COUNT) == student.teacher.rate);
    for (int i = 0; i < COUNT; i++) f.utterances.item[i].text = text[i];
    free(text);
    kd_speech_result_clear(&r);
    kd_speech_result_clear(&student);
    end(&f);
}

/* What loops is counted and decoded again; only that, each by itself; but not of a student that has
 * not learnt. */
static void bad_texts_are_decoded_again(void **state) {
    fixture f;
    kd_speech_result r[3], alone;
    kd_whisper_spec spec = TINY_SPEC;
    begin(&f, *state); /* the second model is sure of what it says, the others babble at length */
    spec.text_context = 200;
    for (int m = 0; m < 3; m += 2) {
        kd_whisper_file_free(f.file[m]);
        f.subject[m].file = f.file[m] = tiny_whisper_file_of(&spec);
    }
    f.subject[2].kind = "initial";
    f.utterances.count = 4;
    assert_ok(kd_speech_evaluate(r, f.subject, 3, &f.utterances, NULL, &OPTIONS));
    int64_t bad[3] = {0};
    int changed = 0;
    for (int m = 0; m < 3; m++) {
        for (int64_t i = 0; i < 4; i++) {
            bad[m] += r[m].bad[i];
            assert_true((r[m].said_again[i] != NULL) == (m != 2 && r[m].bad[i]));
            if (r[m].said_again[i]) changed += strcmp(r[m].said_again[i], r[m].said[i]) != 0;
            if (!r[m].said_again[i])
                assert_memory_equal(&r[m].with_fallback[i], &r[m].against_reference[i],
                                    sizeof(kd_wer));
        }
        assert_true(r[m].loops <= bad[m]);
        assert_int_equal(r[m].again, m == 2 ? -1 : bad[m]);
        assert_true(isnan(r[m].fallback.rate) == (m == 2));
    }
    assert_true(bad[0] == 4 && bad[1] == 0 && bad[2] == 4);
    assert_true(r[0].loops == 4 && r[1].loops == 0 && r[2].loops == 4 && changed > 0);
    assert_true(r[1].fallback.rate == r[1].reference.rate);
    /* The text of a recording does not depend on those before it. */
    kd_utterances last = f.utterances;
    last.item += 2;
    last.count -= 2;
    assert_ok(kd_speech_evaluate(&alone, f.subject, 1, &last, NULL, &OPTIONS));
    for (int i = 0; i < 2; i++) assert_string_equal(alone.said_again[i], r[0].said_again[2 + i]);
    kd_speech_result_clear(&alone);
    for (int m = 0; m < 3; m++) kd_speech_result_clear(&r[m]);
    f.utterances.count = COUNT;
    end(&f);
}

/* The same texts through kd_text_compression: 2.4 is the border. */
static void what_loops(void **state) {
    (void)state;
    kd_tokenizer *t = tiny_tokenizer(TINY_VOCABULARY);
    int32_t token[200];
    double compression;
    for (int i = 0; i < 200; i++) token[i] = "ha "[i % 3];
    assert_ok(kd_text_compression(&compression, t, token, 200));
    assert_true(compression > 10 && kd_text_loops(compression));
    assert_ok(kd_text_compression(&compression, t, token, 6));
    assert_true(compression < 1 && !kd_text_loops(compression));
    assert_ok(kd_text_compression(&compression, t, token, 0));
    assert_true(compression == 0);
    assert_true(!kd_text_loops(2.4) && kd_text_loops(2.41));
    assert_true(kd_text_is_bad(-1.01, 1) && !kd_text_is_bad(-1, 1) && kd_text_is_bad(0, 3));
    assert_true(kd_decoded_is_silence(&(kd_decoded){.no_speech = 0.7, .average = -1.1}));
    assert_false(kd_decoded_is_silence(&(kd_decoded){.no_speech = 0.7, .average = -0.9}));
    assert_false(kd_decoded_is_silence(&(kd_decoded){.no_speech = 0.6, .average = -1.1}));
    kd_tokenizer_free(t);
}

/* Longer than a window: as kd_transcribe hears it. */
static void long_recordings(void **state) {
    test_folder *folder = *state;
    fixture f;
    kd_speech_result r;
    kd_whisper_spec spec = TINY_SPEC;
    begin(&f, folder);
    tiny_sound(f.utterances.item[1].audio, 31 * 16000, 1);
    assert_refused(kd_speech_evaluate(&r, f.subject, 1, &f.utterances, NULL, &OPTIONS), KD_EDATA,
                   "hears 100 frames");
    kd_speech_result_clear(&r);
    spec.audio_context = 1500;
    kd_whisper_free(f.file[0]->model);
    f.file[0]->model = tiny_whisper_of(&spec, KD_WHISPER_TRAIN_NOTHING);
    f.utterances.count -= 5;
    assert_ok(kd_speech_evaluate(&r, f.subject, 1, &f.utterances, NULL, &OPTIONS));
    assert_true(fabs(r.audio_seconds - (2000 + 31 * 16000 + 4600) / 16000.0) < 1e-9);
    assert_true(r.said[0] && r.said[1] && r.said[2]);
    kd_speech_result_clear(&r);
    f.utterances.count += 5;
    end(&f);
}

static void stopped_or_without_sound(void **state) {
    fixture f;
    kd_speech_result r;
    begin(&f, *state);
    kd_train_request_stop();
    assert_refused(kd_speech_evaluate(&r, f.subject, 1, &f.utterances, NULL, &OPTIONS), KD_EAGAIN,
                   "stopped after 6 of 8");
    kd_speech_result_clear(&r);
    assert_int_equal(remove(f.utterances.item[7].audio), 0);
    assert_refused(kd_speech_evaluate(&r, f.subject, 1, &f.utterances, NULL, &OPTIONS), KD_EDATA,
                   "k7.wav");
    kd_speech_result_clear(&r);
    end(&f);
}

/* All that is missing or no sound is named at once; copies are known under any name. */
static void recordings_are_looked_at(void **state) {
    test_folder *folder = *state;
    kd_utterances u = tiny_utterances(folder, 6, 6), other = {0};
    kd_recordings r;
    int64_t place[6];
    char list[KD_PATH_MAX];
    static const char names[] = "copy.wav\t\nk5.wav\t\nnone.wav\t\nalike.wav\t\n";
    test_copy(list, sizeof list, test_path(folder, "other.tsv"));
    test_write(list, names, strlen(names));
    tiny_sound(test_path(folder, "copy.wav"), 2000 + 1300 * 2, 2);
    tiny_sound(test_path(folder, "alike.wav"), 2000 + 1300 * 3, 2); /* as large as k3 */
    assert_ok(kd_utterances_read(&other, list));
    assert_ok(kd_recordings_look(&r, &u));
    assert_ok(kd_recordings_decode(&r));
    assert_true(kd_recordings_faults(&r) == 0);
    assert_ok(kd_recordings_find(place, &r, &other));
    for (int i = 0; i < 6; i++) assert_int_equal(place[i], i == 2 ? 0 : i == 5 ? 1 : -1);
    kd_recordings_clear(&r);
    assert_int_equal(remove(u.item[4].audio), 0);
    assert_ok(kd_recordings_look(&r, &u));
    assert_refused(kd_recordings_refuse(&r, "data.test", "mend it"), KD_ENOINPUT,
                   "data.test: 1 of 6 recordings cannot be read; mend it");
    kd_recordings_clear(&r);
    assert_int_equal(truncate(u.item[0].audio, 2000), 0); /* a beginning of a sound */
    test_make_folder(folder, "folder");
    free(u.item[1].audio);
    u.item[1].audio = strdup(folder->path);
    assert_ok(kd_recordings_look(&r, &u));
    assert_true(kd_recordings_faults(&r) == 2 && r.item[4].missing);
    assert_string_equal(r.item[1].fault, "not a file");
    assert_ok(kd_recordings_decode(&r));
    assert_non_null(r.item[0].fault);
    assert_refused(kd_recordings_refuse(&r, "data.test", "mend it"), KD_EDATA, "3 of 6 recordings");
    kd_recordings_clear(&r);
    kd_utterances_free(&u);
    kd_utterances_free(&other);
}

static void gap_that_is_closed(void **state) {
    (void)state;
    const kd_speech_result before = {.reference = {.rate = 0.9}},
                           after = {.reference = {.rate = 0.3}},
                           teacher = {.reference = {.rate = 0.1}};
    assert_float_equal(kd_speech_gap_closed(&before, &after, &teacher), 0.75, 1e-12);
    assert_true(isnan(kd_speech_gap_closed(&before, &after, &before)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(company_changes_nothing, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(rates_follow_the_texts, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(bad_texts_are_decoded_again, test_setup, test_teardown),
        cmocka_unit_test(what_loops),
        cmocka_unit_test_setup_teardown(long_recordings, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(stopped_or_without_sound, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(recordings_are_looked_at, test_setup, test_teardown),
        cmocka_unit_test(gap_that_is_closed),
    };
    return cmocka_run_group_tests_name("speech_eval", tests, NULL, NULL);
}
