/* From log-mel frames to a network's window: ends cut, placing, loudness and microphone taken out.
 */
#include "test_data.h"

#include <math.h>
#include <sndfile.h>

#include "data/clip.h"
#include "data/dataset.h"
#include "data/dataset_source.h"

enum { MELS = 4, FRAMES = 12, WANTED = 8 };

static const kd_audio_spec SPEC = {
    .mels = MELS, .trim = 30, .range = 40, .normalise = KD_CLIP_RANGE};

/* Frames at `level` decibels under the loudest, which is that of log-mel 1.0; mel m is m decibels
 * quieter than mel 0. */
static void make_frames(float *in, const double *level, int64_t frames) {
    for (int64_t i = 0; i < frames * MELS; i++)
        in[i] = (float)(1.0 - (level[i / MELS] + (double)(i % MELS)) / 40);
}

static void test_range(void **state) {
    (void)state;
    const double level[FRAMES] = {60, 60, 29, 5, 0, 60, 10, 20, 29, 60, 60, 31};
    float in[FRAMES * MELS], out[WANTED * MELS];
    make_frames(in, level, FRAMES);
    kd_clip_window(out, WANTED, in, FRAMES, &SPEC);
    /* Frames 2 … 8 are within 30 dB; of the 8 places the first is theirs. */
    for (int t = 0; t < WANTED; t++)
        for (int m = 0; m < MELS; m++) {
            double right = t < 7 ? fmax(0, 1 - (level[t + 2] + m) / 40) : 0;
            if (!(fabs((double)out[t * MELS + m] - right) < 1e-6))
                fail_msg("frame %d, mel %d: %g, should be %g", t, m, (double)out[t * MELS + m],
                         right);
        }
}

/* Short words stand in the middle, of long recordings the stretch with the most power is kept. */
static void test_placing(void **state) {
    (void)state;
    const double two[5] = {60, 3, 0, 60, 60};
    double many[100];
    float in[100 * MELS], out[WANTED * MELS];
    make_frames(in, two, 5);
    kd_clip_window(out, WANTED, in, 5, &SPEC);
    for (int t = 0; t < WANTED; t++) assert_true((out[t * MELS] > 0) == (t == 3 || t == 4));
    for (int t = 0; t < 100; t++) many[t] = t >= 60 && t < 68 ? t - 60 : 15 + t % 3;
    make_frames(in, many, 100);
    kd_clip_window(out, WANTED, in, 100, &SPEC);
    for (int t = 0; t < WANTED; t++)
        assert_true(fabs((double)out[t * MELS] - (1 - t / 40.0)) < 1e-6);
}

/* Without trimming: from the front, and with KD_CLIP_PLAIN the features as they are. */
static void test_untrimmed(void **state) {
    (void)state;
    const double level[FRAMES] = {60, 20, 29, 5, 0, 60, 10, 20, 29, 60, 60, 31};
    float in[FRAMES * MELS], same[FRAMES * MELS], out[FRAMES * MELS];
    const kd_audio_spec plain = {.mels = MELS, .range = 80};
    make_frames(in, level, FRAMES);
    memcpy(same, in, sizeof in);
    kd_clip_window(out, WANTED, in, FRAMES, &plain);
    assert_memory_equal(out, same, WANTED * MELS * sizeof *out);
    kd_clip_window(out, FRAMES, in, WANTED, &plain);
    assert_memory_equal(out, same, WANTED * MELS * sizeof *out);
    for (int i = WANTED * MELS; i < FRAMES * MELS; i++) assert_true(out[i] == same[3]);
    kd_clip_normalise(out, FRAMES, &plain);
    assert_memory_equal(out, same, WANTED * MELS * sizeof *out);
}

static void test_extent(void **state) {
    (void)state;
    float x[FRAMES * MELS] = {0};
    int64_t first, count;
    kd_clip_extent(&first, &count, x, FRAMES, MELS);
    assert_int_equal(count, 0);
    x[3 * MELS + 3] = x[7 * MELS] = 1;
    kd_clip_extent(&first, &count, x, FRAMES, MELS);
    assert_true(first == 3 && count == 5);
    x[0] = x[FRAMES * MELS - 1] = -1;
    kd_clip_extent(&first, &count, x, FRAMES, MELS);
    assert_true(first == 0 && count == FRAMES);
}

/* Bands have mean 0 and together deviation 1; a microphone's factor for each band and the loudness
 * drop out; silence stays 0. */
static void test_bands(void **state) {
    (void)state;
    kd_audio_spec spec = SPEC;
    spec.normalise = KD_CLIP_BANDS;
    float x[FRAMES * MELS] = {0}, y[FRAMES * MELS] = {0};
    double squares = 0;
    for (int i = 2 * MELS; i < 9 * MELS; i++) {
        x[i] = (float)(0.5 + 0.3 * sin(3.7 * i));
        y[i] = x[i] + 0.1f * (float)(i % MELS) + 0.05f;
    }
    kd_clip_normalise(x, FRAMES, &spec);
    kd_clip_normalise(y, FRAMES, &spec);
    for (int m = 0; m < MELS; m++) {
        double sum = 0;
        for (int t = 0; t < FRAMES; t++) {
            double v = (double)x[t * MELS + m];
            sum += v;
            squares += v * v;
            assert_true(fabs(v - (double)y[t * MELS + m]) < 1e-5);
            if (t < 2 || t > 8) assert_true(v == 0);
        }
        assert_true(fabs(sum) < 1e-5);
    }
    assert_true(fabs(squares / (7 * MELS) - 1) < 1e-5);
    /* One unchanging sound, and silence: 0, not 0/0. */
    for (int i = 0; i < FRAMES * MELS; i++) x[i] = 0.7f, y[i] = 0;
    kd_clip_normalise(x, FRAMES, &spec);
    kd_clip_normalise(y, FRAMES, &spec);
    for (int i = 0; i < FRAMES * MELS; i++) assert_true(fabsf(x[i]) < 1e-3f && y[i] == 0);
}

/* --- recordings ---------------------------------------------------------------------------- */

static const kd_audio_spec SOUND = {.sample_rate = 8000,
                                    .window = 256,
                                    .hop = 128,
                                    .mels = 32,
                                    .seconds = 0.64,
                                    .trim = 35,
                                    .range = 50,
                                    .normalise = KD_CLIP_BANDS};
enum { SAMPLE = 40 * 32 };

/* A chirp of 0.4 s between stretches of near silence. */
static void write_chirp(const char *path, int rate, int channels, double before, double after,
                        double loudness) {
    SF_INFO info = {
        .samplerate = rate, .channels = channels, .format = SF_FORMAT_WAV | SF_FORMAT_FLOAT};
    SNDFILE *file = sf_open(path, SFM_WRITE, &info);
    assert_non_null(file);
    int frames = (int)((before + 0.4 + after) * rate);
    for (int i = 0; i < frames; i++) {
        double t = (double)i / rate - before, v = 0;
        if (t > 0 && t < 0.4) v = sin(2 * 3.14159265358979 * (300 + 2000 * t) * t) * sin(7.85 * t);
        float frame[2] = {(float)(v * loudness), (float)(v * loudness)};
        assert_int_equal(sf_writef_float(file, frame, 1), 1);
    }
    assert_int_equal(sf_close(file), 0);
}

static void read_sample(float *out, test_folder *folder, const char *name) {
    char path[KD_PATH_MAX], *paths[1] = {path};
    const int64_t row = 0;
    test_copy(path, sizeof path, test_path(folder, name));
    kd_source source = {.count = 1, .h = 40, .w = 32, .c = 1, .path = paths};
    if (kd_source_audio_features(out, &source, &SOUND, &row, 1) < 0) fail_msg("%s", kd_error());
    kd_clip_normalise(out, 40, &SOUND);
}

/* The same word, louder, at another rate, in stereo, later in a longer recording, gives nearly the
 * same input. */
static void test_recordings(void **state) {
    test_folder *folder = *state;
    float x[SAMPLE], y[SAMPLE];
    write_chirp(test_path(folder, "a.wav"), 8000, 1, 0.064, 0.1, 0.5);
    read_sample(x, folder, "a.wav");
    const struct {
        int rate, channels;
        double before, after, loudness;
    } other[] = {{8000, 1, 0.064, 0.1, 0.01}, {8000, 1, 0, 0, 0.5},     {44100, 2, 0.064, 0.3, 0.3},
                 {8000, 2, 1.28, 3.0, 0.5},   {16000, 1, 0.64, 0, 0.9}, {48000, 2, 5.12, 40, 0.2}};
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        double error = 0;
        write_chirp(test_path(folder, "b.wav"), other[i].rate, other[i].channels, other[i].before,
                    other[i].after, other[i].loudness);
        read_sample(y, folder, "b.wav");
        for (int k = 0; k < SAMPLE; k++) error += pow((double)x[k] - (double)y[k], 2);
        if (!(error / SAMPLE < 0.02)) fail_msg("recording %zu: error %g", i, error / SAMPLE);
    }
}

/* A model's file whose sound does not fit its graph. */
static void test_shape_is_checked(void **state) {
    test_folder *folder = *state;
    char path[KD_PATH_MAX], *paths[1] = {path};
    const int64_t row = 0;
    float x[SAMPLE];
    test_copy(path, sizeof path, test_path(folder, "a.wav"));
    const int64_t shape[][3] = {{39, 32, 1}, {40, 31, 1}, {40, 32, 2}, {1, 1, 1}};
    for (int i = 0; i < 4; i++) {
        kd_source source = {
            .count = 1, .h = shape[i][0], .w = shape[i][1], .c = shape[i][2], .path = paths};
        assert_int_equal(kd_source_audio_features(x, &source, &SOUND, &row, 1), KD_EDATA);
    }
    assert_non_null(strstr(kd_error(), "1x1x1"));
}

/* What kd_dataset_open stores and kd_dataset_sample gives is what `distill run` computes. */
static void test_dataset_agrees(void **state) {
    test_folder *folder = *state;
    kd_data_spec spec = {.kind = KD_DATA_AUDIO, .audio = SOUND};
    const char *list = "a.wav\tx\nb.wav\ty\n";
    write_chirp(test_path(folder, "a.wav"), 8000, 1, 0.1, 0.1, 0.5);
    write_chirp(test_path(folder, "b.wav"), 16000, 2, 0.3, 0.1, 0.1);
    test_write(test_path(folder, "list.tsv"), list, strlen(list));
    test_copy(spec.train_manifest, sizeof spec.train_manifest, test_path(folder, "list.tsv"));
    kd_dataset *d;
    if (kd_dataset_open(&d, &spec, KD_SPLIT_TRAIN) < 0) fail_msg("%s", kd_error());
    assert_true(d->h == 40 && d->w == 32 && d->audio.sample_rate == 8000);
    for (int i = 0; i < 2; i++) {
        float x[SAMPLE], y[SAMPLE];
        kd_dataset_sample(d, i, x);
        read_sample(y, folder, i ? "b.wav" : "a.wav");
        assert_memory_equal(x, y, sizeof x);
    }
    const kd_hash hash = d->hash;
    kd_dataset_free(d);
    /* Its hash is of all that is heard: another last sound is another data set. */
    for (int changed = 0; changed < 2; changed++) {
        write_chirp(test_path(folder, "b.wav"), changed ? 11025 : 16000, 2, 0.3, 0.1, 0.1);
        if (kd_dataset_open(&d, &spec, KD_SPLIT_TRAIN) < 0) fail_msg("%s", kd_error());
        assert_int_equal(memcmp(&d->hash, &hash, sizeof hash) != 0, changed);
        kd_dataset_free(d);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_range),
        cmocka_unit_test(test_placing),
        cmocka_unit_test(test_untrimmed),
        cmocka_unit_test(test_extent),
        cmocka_unit_test(test_bands),
        cmocka_unit_test_setup_teardown(test_recordings, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_shape_is_checked, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_dataset_agrees, test_setup, test_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
