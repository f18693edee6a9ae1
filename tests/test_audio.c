/* Decoding, resampling, Fourier transform, log-mel features, manifests, sound data sets. */
#include "test_data.h"

#include <math.h>
#include <sndfile.h>

#include "data/audio.h"
#include "data/dataset.h"
#include "data/fft.h"
#include "data/logmel.h"
#include "data/manifest.h"

static const double PI = 3.14159265358979323846;

/* Writes `frames` of a tone of `hz`, the same on all channels. */
static void write_tone(const char *path, int format, int rate, int channels, int frames,
                       double hz) {
    SF_INFO info = {.samplerate = rate, .channels = channels, .format = format};
    SNDFILE *file = sf_open(path, SFM_WRITE, &info);
    assert_non_null(file);
    for (int i = 0; i < frames; i++) {
        float frame[8];
        for (int c = 0; c < channels; c++) frame[c] = (float)(0.5 * sin(2 * PI * hz * i / rate));
        assert_int_equal(sf_writef_float(file, frame, 1), 1);
    }
    assert_int_equal(sf_close(file), 0);
}

static void test_fft(void **state) {
    (void)state;
    const int length[] = {1, 2, 3, 4, 5, 7, 12, 30, 49, 101, 128, 400};
    for (size_t i = 0; i < sizeof length / sizeof *length; i++) {
        int n = length[i];
        kd_fft *fft;
        kd_complex in[400], out[400], scratch[400];
        assert_int_equal(kd_fft_create(&fft, n), KD_OK);
        for (int j = 0; j < n; j++)
            for (int l = 0; l < KD_FFT_LANES; l++) {
                in[j].re[l] = sin(3.0 * j + 1.0 + l);
                in[j].im[l] = cos(1.7 * j * j - l);
            }
        kd_fft_run(fft, out, in, scratch);
        for (int k = 0; k < n * KD_FFT_LANES; k++) {
            double re = 0, im = 0;
            int l = k / n;
            for (int j = 0; j < n; j++) {
                double a = -2.0 * PI * (double)(j * (k % n) % n) / n;
                re += in[j].re[l] * cos(a) - in[j].im[l] * sin(a);
                im += in[j].re[l] * sin(a) + in[j].im[l] * cos(a);
            }
            kd_complex found = out[k % n];
            assert_true(fabs(found.re[l] - re) < 1e-11 && fabs(found.im[l] - im) < 1e-11);
        }
        kd_fft_free(fft);
    }
}

static int32_t next_i32(const char *bytes, size_t *at) {
    int32_t value;
    memcpy(&value, bytes + *at, sizeof value);
    *at += sizeof value;
    return value;
}

static void test_logmel_golden(void **state) {
    (void)state;
    char *bytes;
    size_t length, at = 0;
    int cases = 0;
    assert_int_equal(kd_file_read(&bytes, &length, "tests/golden/logmel.bin", 1 << 20), KD_OK);
    for (; at < length; cases++) {
        int rate = next_i32(bytes, &at), window = next_i32(bytes, &at);
        int hop = next_i32(bytes, &at), mels = next_i32(bytes, &at), count = next_i32(bytes, &at);
        float *samples = test_malloc((size_t)count * sizeof *samples);
        for (int i = 0; i < count; i++, at += 2) {
            int16_t s;
            memcpy(&s, bytes + at, sizeof s);
            samples[i] = (float)s / 32768.0f;
        }
        kd_logmel *logmel;
        assert_int_equal(kd_logmel_create(&logmel, rate, window, hop, mels), KD_OK);
        int64_t values = kd_logmel_frames(logmel, count) * mels;
        float *out = test_malloc((size_t)values * sizeof *out);
        assert_int_equal(kd_logmel_compute(logmel, out, samples, count), KD_OK);
        for (int64_t i = 0; i < values; i++, at += 4) {
            float golden;
            memcpy(&golden, bytes + at, sizeof golden);
            if (!(fabsf(out[i] - golden) < 1e-5f))
                fail_msg("case %d, value %lld: %g, should be %g", cases, (long long)i,
                         (double)out[i], (double)golden);
        }
        kd_logmel_free(logmel);
        test_free(out);
        test_free(samples);
    }
    assert_int_equal(cases, 5);
    free(bytes);
}

/* The filters that travel inside the genuine whisper.cpp file. */
static void test_filters_of_whisper(void **state) {
    (void)state;
    char path[KD_PATH_MAX];
    test_need(path, "whisper/ggml-base.en.bin");
    enum { MELS = 80, BINS = 201 };
    int32_t head[14];
    float *theirs = test_malloc(sizeof *theirs * MELS * BINS);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fread(head, sizeof head, 1, file), 1);
    assert_int_equal(fread(theirs, sizeof *theirs * MELS * BINS, 1, file), 1);
    fclose(file);
    assert_int_equal(head[12], MELS);
    assert_int_equal(head[13], BINS);
    kd_logmel *logmel;
    assert_int_equal(kd_logmel_create(&logmel, 16000, 400, 160, MELS), KD_OK);
    for (int i = 0; i < MELS * BINS; i++)
        assert_true(fabsf(kd_logmel_filters(logmel)[i] - theirs[i]) < 1e-7f);
    kd_logmel_free(logmel);
    test_free(theirs);
}

static void test_logmel_refusals(void **state) {
    (void)state;
    kd_logmel *logmel;
    assert_int_equal(kd_logmel_create(&logmel, 16000, 400, 160, 400), KD_ECONFIG);
    assert_non_null(strstr(kd_error(), "covers no bin"));
    assert_int_equal(kd_logmel_create(&logmel, 16000, 400, 0, 80), KD_ECONFIG);
    assert_int_equal(kd_logmel_create(&logmel, 16000, 1 << 20, 160, 80), KD_ECONFIG);
    assert_null(logmel);
}

/* Silence must give the floor, not −inf or NaN. */
static void test_logmel_silence(void **state) {
    (void)state;
    kd_logmel *logmel;
    float samples[1000] = {0}, out[6 * 80];
    assert_int_equal(kd_logmel_create(&logmel, 16000, 400, 160, 80), KD_OK);
    assert_int_equal(kd_logmel_frames(logmel, 1000), 6);
    assert_int_equal(kd_logmel_compute(logmel, out, samples, 1000), KD_OK);
    for (int i = 0; i < 6 * 80; i++) assert_float_equal(out[i], -1.5f, 0);
    kd_logmel_free(logmel);
}

static void check_tone(const char *path, int rate, int frames, double hz, double tolerance) {
    float *samples;
    int64_t count;
    int status = kd_audio_read(&samples, &count, path, rate, 0);
    if (status < 0) fail_msg("%s", kd_error());
    assert_int_equal(count, frames);
    for (int64_t i = count / 8; i < count * 7 / 8; i++) {
        double right = 0.5 * sin(2 * PI * hz * (double)i / rate);
        if (!(fabs(samples[i] - right) < tolerance))
            fail_msg("%s: sample %lld: %g, should be %g", path, (long long)i, (double)samples[i],
                     right);
    }
    free(samples);
}

static void test_formats_and_rates(void **state) {
    test_folder *folder = *state;
    const char *path = test_path(folder, "tone");
    write_tone(path, SF_FORMAT_WAV | SF_FORMAT_PCM_16, 16000, 1, 4000, 440);
    check_tone(path, 16000, 4000, 440, 1e-4);
    write_tone(path, SF_FORMAT_WAV | SF_FORMAT_FLOAT, 44100, 2, 8820, 440);
    check_tone(path, 16000, 3200, 440, 1e-3);
    write_tone(path, SF_FORMAT_FLAC | SF_FORMAT_PCM_16, 8000, 1, 1601, 300);
    check_tone(path, 16000, 3202, 300, 1e-3);
    write_tone(path, SF_FORMAT_OGG | SF_FORMAT_VORBIS, 16000, 1, 8000, 440);
    check_tone(path, 16000, 8000, 440, 0.02);
}

static void test_cut_after_seconds(void **state) {
    test_folder *folder = *state;
    const char *path = test_path(folder, "long.wav");
    float *samples;
    int64_t count;
    write_tone(path, SF_FORMAT_WAV | SF_FORMAT_PCM_16, 8000, 1, 16000, 440);
    assert_int_equal(kd_audio_read(&samples, &count, path, 8000, 0.5), KD_OK);
    assert_int_equal(count, 4000);
    free(samples);
}

/* The bytes in a block of exactly their size, so that the sanitizer sees a step beyond. */
static int decode_exact(const char *bytes, size_t length) {
    float *samples;
    int64_t count;
    char *copy = malloc(length ? length : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, length);
    int status = kd_audio_decode(&samples, &count, copy, length, "cut", 8000, 0);
    free(samples);
    free(copy);
    return status;
}

static void check_truncations(const char *path, size_t step) {
    char *bytes;
    size_t length;
    assert_int_equal(kd_file_read(&bytes, &length, path, 1 << 20), KD_OK);
    assert_int_equal(decode_exact(bytes, length), KD_OK);
    for (size_t n = 0; n < length; n += n < 300 || n + 300 > length ? 1 : step)
        if (decode_exact(bytes, n) != KD_EDATA)
            fail_msg("%s cut to %zu of %zu bytes was not refused", path, n, length);
    free(bytes);
}

static void test_truncations(void **state) {
    test_folder *folder = *state;
    const char *path = test_path(folder, "cut");
    write_tone(path, SF_FORMAT_WAV | SF_FORMAT_PCM_16, 8000, 1, 500, 440);
    check_truncations(path, 1);
    write_tone(path, SF_FORMAT_FLAC | SF_FORMAT_PCM_16, 8000, 1, 500, 440);
    check_truncations(path, 1);
    write_tone(path, SF_FORMAT_OGG | SF_FORMAT_VORBIS, 8000, 1, 2000, 440);
    check_truncations(path, 37);
}

static void test_refused_sound(void **state) {
    test_folder *folder = *state;
    const char *path = test_path(folder, "bad.wav");
    float *samples = NULL, value[2] = {0.5f, NAN};
    int64_t count;
    assert_int_equal(kd_audio_read(&samples, &count, path, 8000, 0), KD_ENOINPUT);
    write_tone(path, SF_FORMAT_WAV | SF_FORMAT_PCM_16, 8000, 1, 0, 440);
    assert_int_equal(kd_audio_read(&samples, &count, path, 8000, 0), KD_EDATA);
    SF_INFO info = {.samplerate = 8000, .channels = 1, .format = SF_FORMAT_WAV | SF_FORMAT_FLOAT};
    SNDFILE *file = sf_open(path, SFM_WRITE, &info);
    assert_int_equal(sf_writef_float(file, value, 2), 2);
    sf_close(file);
    assert_int_equal(kd_audio_read(&samples, &count, path, 8000, 0), KD_EDATA);
    assert_non_null(strstr(kd_error(), "sample 1 is"));
    test_write(path, "hello", 5);
    assert_int_equal(kd_audio_read(&samples, &count, path, 8000, 0), KD_EDATA);
    assert_non_null(strstr(kd_error(), "no sound that libsndfile"));
    assert_null(samples);
}

static int parse(kd_manifest *m, const char *text) {
    char copy[256];
    memcpy(copy, text, strlen(text) + 1);
    *m = (kd_manifest){0};
    return kd_manifest_parse(m, copy, strlen(text), "/data/list.tsv");
}

static void test_manifest(void **state) {
    (void)state;
    kd_manifest m;
    char(*names)[KD_CLASS_NAME_MAX];
    int count;
    assert_int_equal(parse(&m, "a.wav\tyes\r\n\n/b.wav\tno\tspeaker\nc.wav\t10\nd.wav\t9\n"),
                     KD_OK);
    assert_int_equal(m.count, 4);
    assert_string_equal(m.entry[0].path, "/data/a.wav");
    assert_string_equal(m.entry[1].path, "/b.wav");
    assert_int_equal(m.entry[1].line, 3);
    assert_int_equal(kd_manifest_labels(&names, &count, &m, "list"), KD_OK);
    const char *right[] = {"9", "10", "no", "yes"};
    assert_int_equal(count, 4);
    for (int i = 0; i < 4; i++) {
        assert_string_equal(names[i], right[i]);
        assert_int_equal(kd_manifest_find(names, count, right[i]), i);
    }
    assert_int_equal(kd_manifest_find(names, count, "maybe"), -1);
    free(names);
    kd_manifest_free(&m);
    /* As some editors write it. */
    assert_int_equal(parse(&m, "\xef\xbb\xbfg.wav\tyes\r\nh.wav\tno"), KD_OK);
    assert_int_equal(m.count, 2);
    assert_string_equal(m.entry[0].path, "/data/g.wav");
    assert_string_equal(m.entry[1].label, "no");
    kd_manifest_free(&m);
    const char *wrong[] = {"",
                           "\xef\xbb\xbf",
                           "\n",
                           "a.wav\n",
                           "a.wav\t\n",
                           "\tyes\n",
                           "a.wav\tye\x7fs\n",
                           "a.wav\tyes\rb.wav\tno\r",
                           "a.wav\tb\xe4\n",
                           "a\tyes\nb.wav yes\n",
                           "a\t0123456789012345678901234567890123456789012345678\n"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(parse(&m, wrong[i]), KD_EDATA);
        kd_manifest_free(&m);
    }
    assert_non_null(strstr(kd_error(), "list.tsv:1: label"));
}

/* By the ending of every format that a decoder knows; a decoder looks at the bytes later. */
static void test_class_folders(void **state) {
    test_folder *folder = *state;
    static const char *const file[] = {"set/no/a.mp3",   "set/no/b.M4A", "set/no/c.opus",
                                       "set/no/d.wav",   "set/no/e.txt", "set/yes/.hidden.wav",
                                       "set/yes/a.aiff", "set/list.wav"};
    test_make_folder(folder, "set");
    test_make_folder(folder, "set/no");
    test_make_folder(folder, "set/yes");
    for (size_t i = 0; i < sizeof file / sizeof *file; i++)
        test_write(test_path(folder, file[i]), "", 0);
    kd_manifest m;
    assert_int_equal(kd_manifest_read(&m, test_path(folder, "set")), KD_OK);
    static const int found[] = {0, 1, 2, 3, 6};
    assert_int_equal(m.count, 5);
    for (int i = 0; i < 5; i++) {
        assert_string_equal(m.entry[i].path, test_path(folder, file[found[i]]));
        assert_string_equal(m.entry[i].label, i < 4 ? "no" : "yes");
    }
    kd_manifest_free(&m);
    test_make_folder(folder, "none");
    assert_int_equal(kd_manifest_read(&m, test_path(folder, "none")), KD_EDATA);
    kd_manifest_free(&m);
}

static kd_data_spec sound_spec(const char *train, const char *test) {
    kd_data_spec spec = {
        .kind = KD_DATA_AUDIO,
        .audio = {.sample_rate = 8000, .window = 256, .hop = 128, .mels = 40, .seconds = 0.512}};
    test_copy(spec.train_manifest, sizeof spec.train_manifest, train);
    test_copy(spec.test_manifest, sizeof spec.test_manifest, test);
    return spec;
}

static void test_sound_dataset(void **state) {
    test_folder *folder = *state;
    test_make_folder(folder, "set");
    test_make_folder(folder, "set/high");
    test_make_folder(folder, "set/low");
    write_tone(test_path(folder, "set/high/b.wav"), SF_FORMAT_WAV | SF_FORMAT_PCM_16, 16000, 1,
               9000, 3000);
    write_tone(test_path(folder, "set/high/a.flac"), SF_FORMAT_FLAC | SF_FORMAT_PCM_16, 8000, 1,
               2000, 2500);
    write_tone(test_path(folder, "set/low/c.wav"), SF_FORMAT_WAV | SF_FORMAT_PCM_16, 8000, 2, 8000,
               200);
    const char *list = "set/low/c.wav\tlow\nset/high/a.flac\thigh\n";
    test_write(test_path(folder, "test.tsv"), list, strlen(list));
    char train[KD_PATH_MAX];
    test_copy(train, sizeof train, test_path(folder, "set"));
    kd_data_spec spec = sound_spec(train, test_path(folder, "test.tsv"));
    kd_dataset *d;
    if (kd_dataset_open(&d, &spec, KD_SPLIT_TRAIN) < 0) fail_msg("%s", kd_error());
    assert_int_equal(d->count, 3);
    assert_int_equal(d->h, 32);
    assert_int_equal(d->w, 40);
    assert_int_equal(d->c, 1);
    assert_int_equal(d->classes, 2);
    assert_string_equal(d->class_name[0], "high");
    assert_int_equal(d->label[0] * 100 + d->label[1] * 10 + d->label[2], 1);
    /* The loudest filter of the first frames: 2500 Hz lies high, 200 Hz low. */
    int loudest[3] = {0};
    for (int s = 0; s < 3; s++)
        for (int m = 1; m < 40; m++) {
            const float *frame = d->features + (s * 32 + 3) * 40;
            if (frame[m] > frame[loudest[s]]) loudest[s] = m;
        }
    assert_true(loudest[2] < 10 && loudest[0] > 25 && loudest[1] > loudest[0]);
    /* a.flac ends after 0.25 s: what follows is silence, 8 decades below the loudest. */
    assert_true(d->features[31 * 40] < d->features[3 * 40 + loudest[0]] - 1.9f);
    float *clip = d->features;
    kd_dataset *test;
    if (kd_dataset_open(&test, &spec, KD_SPLIT_TEST) < 0) fail_msg("%s", kd_error());
    assert_int_equal(test->label[0], 1);
    assert_int_equal(test->label[1], 0);
    assert_memory_equal(test->features + 32 * 40, clip, 32 * 40 * sizeof *clip);
    assert_string_not_equal(test->hash.hex, d->hash.hex);
    kd_dataset_free(test);
    kd_dataset_free(d);
    test_write(test_path(folder, "test.tsv"), "set/low/c.wav\tmiddle\n", 21);
    assert_int_equal(kd_dataset_open(&d, &spec, KD_SPLIT_TEST), KD_EDATA);
    assert_non_null(strstr(kd_error(), "test.tsv:1"));
    assert_non_null(strstr(kd_error(), "'middle'"));
    test_write(test_path(folder, "test.tsv"), "set/low/none.wav\tlow\n", 21);
    assert_int_equal(kd_dataset_open(&d, &spec, KD_SPLIT_TEST), KD_ENOINPUT);
    assert_non_null(strstr(kd_error(), "none.wav"));
    spec.audio.seconds = 0.01;
    assert_int_equal(kd_dataset_open(&d, &spec, KD_SPLIT_TRAIN), KD_ECONFIG);
}

static void test_spoken_digits(void **state) {
    (void)state;
    char path[KD_PATH_MAX];
    test_need(path, "fsdd/7_theo_3.flac");
    float *samples;
    int64_t count;
    if (kd_audio_read(&samples, &count, path, 16000, 0) < 0) fail_msg("%s", kd_error());
    assert_true(count > 2000 && count < 40000);
    double energy = 0;
    for (int64_t i = 0; i < count; i++) energy += (double)samples[i] * (double)samples[i];
    assert_true(energy / (double)count > 1e-6);
    free(samples);
    check_truncations(path, 97);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fft),
        cmocka_unit_test(test_logmel_golden),
        cmocka_unit_test(test_filters_of_whisper),
        cmocka_unit_test(test_logmel_refusals),
        cmocka_unit_test(test_logmel_silence),
        cmocka_unit_test_setup_teardown(test_formats_and_rates, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_cut_after_seconds, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_truncations, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_refused_sound, test_setup, test_teardown),
        cmocka_unit_test(test_manifest),
        cmocka_unit_test_setup_teardown(test_class_folders, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_sound_dataset, test_setup, test_teardown),
        cmocka_unit_test(test_spoken_digits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
