/* Sound as Whisper hears it: streams of any file, windows of 30 s. */
#include "test_data.h"

#include <math.h>
#include <omp.h>
#include <sndfile.h>

#include "asserts.h"
#include "data/audio.h"
#include "data/sound.h"
#include "data/whisper_mel.h"

enum { MELS = 80, VALUES = KD_WHISPER_FRAMES * MELS };

static int floor_divide(int a, int b) {
    return a >= 0 ? a / b : -((b - 1 - a) / b);
}

/* The signals of tests/golden/make_whisper_mel.py. */
static void make_signal(float *out, int kind, int count) {
    int phase = 0;
    uint32_t noise = 12345;
    for (int i = 0; i < count; i++) {
        phase = (phase + 200 + (i >> 5) % 9000) % 65536;
        noise = noise * 1664525u + 1013904223u;
        int sweep = abs(phase - 32768) - 16384, hiss = (int)(noise >> 18) - 8192, sum = 0;
        if (kind == 0) sum = floor_divide(sweep * ((i >> 13) & 7), 8);
        if (kind == 1) sum = floor_divide(sweep, 2) + floor_divide(hiss, 4);
        if (kind == 2) sum = floor_divide(hiss, 1 + ((i >> 14) & 63));
        if (kind == 3) sum = floor_divide(sweep, 4096) + (i % 50000 < 100 ? hiss : 0);
        out[i] = (float)sum / 32768.0f;
    }
}

typedef struct {
    int32_t signal, mels, count, stride, n;
} golden_head;

/* The largest and the mean distance of the golden values of a record. */
static void compare(double *largest, double *mean, const golden_head *head, const char *golden,
                    const float *samples, int64_t count) {
    kd_logmel *mel;
    float *out = test_malloc((size_t)(KD_WHISPER_FRAMES * head->mels) * sizeof *out);
    assert_ok(kd_whisper_mel_create(&mel, head->mels));
    assert_ok(kd_whisper_mel_window(mel, out, samples, count));
    *largest = *mean = 0;
    for (int i = 0; i < head->n; i++) {
        float right;
        memcpy(&right, golden + i * (int)sizeof right, sizeof right);
        double distance = fabs((double)out[i * head->stride] - (double)right);
        *largest = fmax(*largest, distance);
        *mean += distance / head->n;
    }
    kd_logmel_free(mel);
    test_free(out);
}

static void test_goldens(void **state) {
    (void)state;
    char *bytes, path[KD_PATH_MAX];
    size_t length, at = 0;
    int records = 0;
    assert_ok(kd_file_read(&bytes, &length, "tests/golden/whisper_mel.bin", 1 << 20));
    for (; at < length; records++) {
        golden_head head;
        memcpy(&head, bytes + at, sizeof head);
        at += sizeof head;
        int64_t count = head.count;
        double largest, mean;
        float *samples = test_malloc((size_t)count * sizeof *samples);
        if (head.signal >= 0) {
            make_signal(samples, head.signal, head.count);
            compare(&largest, &mean, &head, bytes + at, samples, count);
            if (!(largest < 1e-4)) fail_msg("record %d: %g off", records, largest);
        }
        test_free(samples);
        at += 4 * (size_t)head.n;
    }
    assert_int_equal(records, 7);
    /* The last is a recording that another program resampled: what lies between the two filters. */
    golden_head head;
    memcpy(&head, bytes + length - 4 * 726 - sizeof head, sizeof head);
    assert_int_equal(head.signal, -1);
    test_need(path, "speech/jfk.flac");
    float *samples;
    int64_t count;
    double largest, mean;
    assert_ok(kd_audio_read(&samples, &count, path, KD_WHISPER_RATE, 0));
    assert_int_equal(count, head.count);
    compare(&largest, &mean, &head, bytes + length - 4 * 726, samples, count);
    if (!(largest < 0.05 && mean < 1e-3)) fail_msg("jfk: %g, mean %g off", largest, mean);
    free(samples);
    free(bytes);
}

static void write_sound(const char *path, int format, int rate, int channels, const float *samples,
                        int64_t frames) {
    SF_INFO info = {.samplerate = rate, .channels = channels, .format = format};
    SNDFILE *file = sf_open(path, SFM_WRITE, &info);
    assert_non_null(file);
    assert_int_equal(sf_writef_float(file, samples, frames), frames);
    assert_int_equal(sf_close(file), 0);
}

/* Windows of a file of 75 s, in and out of order, are parts of the features of the whole. */
static void test_windows_of_a_long_file(void **state) {
    enum { COUNT = 75 * KD_WHISPER_RATE + 77, ALL = COUNT + KD_WHISPER_SAMPLES };
    const char *path = test_path(*state, "long.wav");
    float *samples = test_malloc(ALL * sizeof *samples), *out = test_malloc(VALUES * sizeof *out);
    float *whole = test_malloc((size_t)(ALL / KD_WHISPER_HOP) * MELS * sizeof *whole);
    make_signal(samples, 0, COUNT);
    memset(samples + COUNT, 0, KD_WHISPER_SAMPLES * sizeof *samples);
    write_sound(path, SF_FORMAT_WAV | SF_FORMAT_FLOAT, KD_WHISPER_RATE, 1, samples, COUNT);
    kd_logmel *mel;
    kd_whisper_sound *sound;
    assert_ok(kd_whisper_mel_create(&mel, MELS));
    assert_ok(kd_logmel_compute(mel, whole, samples, ALL));
    assert_ok(kd_whisper_sound_open(&sound, path, mel));
    assert_int_equal(kd_whisper_sound_samples(sound), COUNT);
    const int frame[] = {0, 2874, 2875, 5874, 7400, 1, 7500, 3};
    for (size_t i = 0; i < sizeof frame / sizeof *frame; i++) {
        assert_ok(kd_whisper_sound_window(sound, out, frame[i]));
        for (int j = 0; j < VALUES; j++)
            if (!(fabsf(out[j] - whole[frame[i] * MELS + j]) < 1e-6f))
                fail_msg("window at %d, value %d: %g, should be %g", frame[i], j, (double)out[j],
                         (double)whole[frame[i] * MELS + j]);
    }
    assert_ok(kd_whisper_sound_window(sound, out, 1000000)); /* far behind the end */
    for (int j = 1; j < VALUES; j++) assert_true(out[j] == out[0]);
    kd_whisper_sound_close(sound);
    kd_logmel_free(mel);
    test_free(whole);
    test_free(out);
    test_free(samples);
}

/* A clip of at most 30 s is one window, the same from a file and from memory. */
static void test_window_of_a_clip(void **state) {
    enum { COUNT = 100001 };
    const char *path = test_path(*state, "clip.flac");
    float *samples = test_malloc(COUNT * sizeof *samples);
    float *a = test_malloc(VALUES * sizeof *a), *b = test_malloc(VALUES * sizeof *b);
    make_signal(samples, 1, COUNT);
    write_sound(path, SF_FORMAT_FLAC | SF_FORMAT_PCM_16, KD_WHISPER_RATE, 1, samples, COUNT);
    kd_logmel *mel;
    kd_whisper_sound *sound;
    assert_ok(kd_whisper_mel_create(&mel, MELS));
    assert_ok(kd_whisper_mel_window(mel, a, samples, COUNT));
    assert_ok(kd_whisper_sound_open(&sound, path, mel));
    assert_ok(kd_whisper_sound_window(sound, b, 0));
    assert_memory_equal(a, b, VALUES * sizeof *a);
    kd_whisper_sound_close(sound);
    omp_set_num_threads(3);
    assert_ok(kd_whisper_mel_window(mel, b, samples, COUNT));
    assert_memory_equal(a, b, VALUES * sizeof *a);
    kd_logmel_free(mel);
    test_free(b);
    test_free(a);
    test_free(samples);
}

/* A tone of 440 Hz in any wrapping is the same tone of 16000 samples a second. */
static void check_tone(const char *path, int format, int rate, int channels, double tolerance) {
    int frames = rate / 2;
    float *samples = test_malloc((size_t)(frames * channels) * sizeof *samples), *out;
    for (int i = 0; i < frames; i++)
        for (int c = 0; c < channels; c++) /* the odd channels are silent */
            samples[i * channels + c] =
                c % 2 ? 0 : (float)(0.5 * sin(2 * 3.14159265358979 * 440 * i / rate));
    write_sound(path, format, rate, channels, samples, frames);
    test_free(samples);
    int64_t count;
    assert_ok(kd_audio_read(&out, &count, path, KD_WHISPER_RATE, 0));
    assert_int_equal(count, KD_WHISPER_RATE / 2);
    double loud = 0.5 * ((channels + 1) / 2) / channels;
    for (int64_t i = 500; i < count - 500; i++) {
        double right = loud * sin(2 * 3.14159265358979 * 440 * (double)i / KD_WHISPER_RATE);
        if (!(fabs((double)out[i] - right) < tolerance))
            fail_msg("%s, %d Hz: sample %lld: %g, should be %g", path, rate, (long long)i,
                     (double)out[i], right);
    }
    free(out);
}

static void test_wrappings(void **state) {
    test_folder *folder = *state;
    check_tone(test_path(folder, "a.wav"), SF_FORMAT_WAV | SF_FORMAT_PCM_24, 192000, 8, 1e-6);
    check_tone(test_path(folder, "b.wav"), SF_FORMAT_WAV | SF_FORMAT_FLOAT, 44100, 2, 1e-6);
    check_tone(test_path(folder, "c.aiff"), SF_FORMAT_AIFF | SF_FORMAT_PCM_16, 8000, 1, 1e-4);
    check_tone(test_path(folder, "d.flac"), SF_FORMAT_FLAC | SF_FORMAT_PCM_24, 22050, 3, 1e-6);
    check_tone(test_path(folder, "e.caf"), SF_FORMAT_CAF | SF_FORMAT_PCM_16, 96000, 1, 1e-4);
    check_tone(test_path(folder, "f.opus"), SF_FORMAT_OGG | SF_FORMAT_OPUS, 48000, 2, 0.05);
}

/* The pieces in which a stream is read do not change it. */
static void test_pieces(void **state) {
    enum { COUNT = 30000 };
    const char *path = test_path(*state, "pieces.wav");
    float *samples = test_malloc(COUNT * sizeof *samples), *all, out[777];
    make_signal(samples, 1, COUNT);
    for (int rate = 16000; rate <= 44100; rate += 28100) {
        int64_t count, got, at = 0;
        kd_sound *sound;
        write_sound(path, SF_FORMAT_WAV | SF_FORMAT_FLOAT, rate, 1, samples, COUNT);
        assert_ok(kd_audio_read(&all, &count, path, KD_WHISPER_RATE, 0));
        assert_int_equal(count, (COUNT * KD_WHISPER_RATE + rate - 1) / rate);
        assert_ok(kd_sound_open(&sound, path, KD_WHISPER_RATE, 0));
        do {
            assert_ok(kd_sound_read(sound, out, 777, &got));
            assert_true(at + got <= count);
            assert_memory_equal(out, all + at, (size_t)got * sizeof *out);
            at += got;
        } while (got > 0);
        assert_int_equal(at, count);
        kd_sound_close(sound);
        free(all);
    }
    test_free(samples);
}

static void test_odd_files(void **state) {
    test_folder *folder = *state;
    const char *path = test_path(folder, "odd.wav");
    float silent[1000] = {0}, *out = test_malloc(VALUES * sizeof *out);
    kd_logmel *mel;
    kd_whisper_sound *sound;
    assert_ok(kd_whisper_mel_create(&mel, MELS));
    assert_refused(kd_whisper_sound_open(&sound, path, mel), KD_ENOINPUT, "odd.wav: cannot open");
    assert_refused(kd_whisper_sound_open(&sound, folder->path, mel), KD_ENOINPUT,
                   "not a regular file");
    test_write(path, "", 0);
    assert_refused(kd_whisper_sound_open(&sound, path, mel), KD_EDATA, "odd.wav: is empty");
    test_write(path, "RIFF and so on", 14);
    assert_refused(kd_whisper_sound_open(&sound, path, mel), KD_EDATA, "odd.wav: no sound");
    write_sound(path, SF_FORMAT_WAV | SF_FORMAT_PCM_16, 16000, 1, silent, 0);
    assert_refused(kd_whisper_sound_open(&sound, path, mel), KD_EDATA, "odd.wav: holds no samples");
    write_sound(path, SF_FORMAT_WAV | SF_FORMAT_PCM_16, 16000, 1, silent, 1000);
    assert_int_equal(truncate(path, 1000), 0);
    assert_refused(kd_whisper_sound_open(&sound, path, mel), KD_EDATA, "odd.wav: cut short");
    silent[900] = INFINITY;
    write_sound(path, SF_FORMAT_WAV | SF_FORMAT_FLOAT, 16000, 1, silent, 1000);
    assert_refused(kd_whisper_sound_open(&sound, path, mel), KD_EDATA, "sample 900 is inf");
    assert_null(sound);
    write_sound(path, SF_FORMAT_WAV | SF_FORMAT_PCM_16, 16000, 1, silent, 900);
    assert_ok(kd_whisper_sound_open(&sound, path, mel));
    assert_ok(kd_whisper_sound_window(sound, out, 0));
    for (int i = 0; i < VALUES; i++) assert_true(out[i] == -1.5f); /* log10(1e-10): the floor */
    kd_whisper_sound_close(sound);
    kd_logmel_free(mel);
    test_free(out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goldens),
        cmocka_unit_test_setup_teardown(test_windows_of_a_long_file, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_window_of_a_clip, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_wrappings, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_pieces, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_odd_files, test_setup, test_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
