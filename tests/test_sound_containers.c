/* WAV, AIFF, AU, CAF, W64 and RF64 as writers into pipes leave them, joined, cut, with other bytes
 * behind; what is read from pipes; formats that cannot be read. */
#include "sound_bytes.h"

#include <fcntl.h>
#include <sys/wait.h>

enum { RATE = 8000, FRAMES = 3001 };

/* A WAV of 16 bits with these two sizes and other bytes behind. */
static file_bytes wav(uint32_t riff, uint32_t data, int frames, const char *behind, size_t n) {
    file_bytes b = append((file_bytes){0}, "RIFF....WAVEfmt \20\0\0\0\1\0\1\0", 24);
    b = append(b, "\x40\x1f\0\0\x80\x3e\0\0\2\0\20\0data....", 20);
    set(b, 4, 4, false, riff);
    set(b, 40, 4, false, data);
    for (int i = 0; i < frames; i++) b = append(b, (const char[]){(char)i, (char)(i >> 8)}, 2);
    return append(b, behind, n);
}

static void check_wav(uint32_t riff, uint32_t data, const char *behind, size_t n, int frames) {
    file_bytes right = wav(36 + 2 * FRAMES, 2 * FRAMES, FRAMES, "", 0);
    file_bytes b = wav(riff, data, FRAMES, behind, n);
    assert_int_equal(count_of(right, RATE), FRAMES);
    if (frames == FRAMES) assert_same_sound(b, right, RATE);
    assert_int_equal(count_of(b, RATE), frames);
    free(b.bytes);
    free(right.bytes);
}

/* The sizes are those of sox, arecord, ffmpeg, lame, GStreamer and others into a pipe. */
static void test_wav_from_pipes(void **state) {
    (void)state;
    const uint32_t sizes[][2] = {{0x7ffff024, 0x7ffff000},
                                 {0x80000024, 0x80000000},
                                 {0, 0},
                                 {UINT32_MAX, UINT32_MAX},
                                 {36, 0},
                                 {8, 0},
                                 {UINT32_MAX, UINT32_MAX - 36},
                                 {0x7fffffff, 0x7fffffff - 36},
                                 {0x7fff0024, 0x7fff0000},
                                 {UINT32_MAX, 0}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        check_wav(sizes[i][0], sizes[i][1], "", 0, FRAMES);
}

static void test_wav_judged_by_its_data(void **state) {
    (void)state;
    const uint32_t size = 2 * FRAMES;
    check_wav(36 + size + 8, size, "", 0, FRAMES);
    check_wav(36 + size + 44, size, "", 0, FRAMES);
    check_wav(size - 99, size, "", 0, FRAMES);
    check_wav(0, size, "", 0, FRAMES);
    check_wav(36 + size, size, "\xde\xad\xbe\xef\0", 5, FRAMES);
    check_wav(36 + size, size, "LIST\xff\xff\0\0INFO", 12, FRAMES);
    file_bytes cut = wav(36 + size, size, FRAMES - 1, "", 0);
    assert_refused_bytes(cut, RATE, "the data chunk at byte 44 has 6002 bytes, 6000 are there");
    assert_non_null(strstr(kd_error(), "ffmpeg -i"));
    set(cut, 4, 4, false, UINT32_MAX);
    assert_refused_bytes(cut, RATE, "cut short");
    free(cut.bytes);
    cut = wav(36, 0, 0, "LIST\4\0\0\0INFO", 12);
    assert_refused_bytes(cut, RATE, "holds no samples");
    free(cut.bytes);
}

/* 8 bits and an odd number of samples, with and without the byte that should follow. */
static void test_wav_of_odd_size(void **state) {
    (void)state;
    for (int padded = 0; padded < 2; padded++) {
        file_bytes b = wav(36 + 1002, 1001, 500, "a", padded ? 2 : 1);
        b.bytes[28] = '\x40', b.bytes[29] = '\x1f', b.bytes[32] = 1, b.bytes[34] = 8;
        assert_int_equal(count_of(b, RATE), 1001);
        file_bytes more = append(copy(b), "LIST\4\0\0\0INFO", 12), twice = join(more, b);
        assert_int_equal(count_of(more, RATE), 1001);
        assert_int_equal(count_of(twice, RATE), 2002);
        free(twice.bytes);
        free(more.bytes);
        free(b.bytes);
    }
}

/* Files joined with cat are heard whole, at their own rates. */
static void test_joined_files(void **state) {
    const int format[] = {SF_FORMAT_WAV | SF_FORMAT_PCM_16,  SF_FORMAT_AIFF | SF_FORMAT_PCM_16,
                          SF_FORMAT_AU | SF_FORMAT_PCM_16,   SF_FORMAT_CAF | SF_FORMAT_PCM_16,
                          SF_FORMAT_W64 | SF_FORMAT_PCM_16,  SF_FORMAT_RF64 | SF_FORMAT_PCM_16,
                          SF_FORMAT_FLAC | SF_FORMAT_PCM_16, SF_FORMAT_OGG | SF_FORMAT_VORBIS};
    for (size_t i = 0; i < sizeof format / sizeof *format; i++) {
        file_bytes a = encode(*state, format[i], RATE, FRAMES);
        file_bytes b = encode(*state, format[i], 2 * RATE, FRAMES), both = join(a, b);
        float *x, *y, *z;
        int64_t n, m, all;
        assert_ok(decode(&x, &n, a, 2 * RATE));
        assert_ok(decode(&y, &m, b, 2 * RATE));
        assert_ok(decode(&z, &all, both, 2 * RATE));
        assert_int_equal(n, 2 * FRAMES);
        assert_int_equal(m, FRAMES);
        assert_int_equal(all, n + m);
        assert_memory_equal(z, x, (size_t)n * sizeof *x);
        assert_memory_equal(z + n, y, (size_t)m * sizeof *y);
        free(x), free(y), free(z);
        free(a.bytes), free(b.bytes), free(both.bytes);
    }
}

/* The first seconds of a file whose rate changes on the way. */
static void test_first_seconds_of_joined(void **state) {
    (void)state;
    file_bytes a = encode(*state, SF_FORMAT_WAV | SF_FORMAT_PCM_16, 16000, 16000);
    file_bytes b = encode(*state, SF_FORMAT_WAV | SF_FORMAT_PCM_16, 8000, 8000), both = join(a, b);
    float *samples;
    int64_t count;
    for (int half = 1; half <= 5; half++) {
        assert_ok(kd_audio_decode(&samples, &count, both.bytes, both.n, "both", 8000, half / 2.0));
        assert_int_equal(count, half < 4 ? half * 4000 : 16000);
        free(samples);
    }
    free(a.bytes), free(b.bytes), free(both.bytes);
}

/* A size at `behind` bytes behind a mark. */
typedef struct {
    int format;
    const char *mark;
    int behind, bytes;
    bool big;
    uint64_t unknown[3]; /* what stands for it */
} open_size;

static void test_open_sizes(void **state) {
    static const open_size cases[] = {
        {SF_FORMAT_AIFF | SF_FORMAT_PCM_16, "SSND", 4, 4, true, {0, UINT32_MAX, 0x7f000008}},
        {SF_FORMAT_AU | SF_FORMAT_PCM_16, ".snd", 8, 4, true, {0, UINT32_MAX, 0x7f000000}},
        {SF_FORMAT_CAF | SF_FORMAT_PCM_16, "data", 4, 8, true, {0, UINT64_MAX, 4}},
        {SF_FORMAT_W64 | SF_FORMAT_PCM_16, "data", 16, 8, false, {0, UINT64_MAX, INT64_MAX}},
        {SF_FORMAT_RF64 | SF_FORMAT_PCM_16, "ds64", 16, 8, false, {0, UINT64_MAX, INT64_MAX}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const open_size *c = &cases[i];
        file_bytes b = encode(*state, c->format, RATE, FRAMES), right = copy(b);
        const size_t at = find(b, 0, c->mark, 4) + (size_t)c->behind;
        for (int j = 0; j < 3; j++) {
            set(b, at, c->bytes, c->big, c->unknown[j]);
            assert_same_sound(b, right, RATE);
        }
        right.n -= 10;
        assert_refused_bytes(right, RATE, "cut short");
        assert_non_null(strstr(kd_error(), "ffmpeg -i"));
        free(right.bytes);
        free(b.bytes);
    }
    file_bytes nist = encode(*state, SF_FORMAT_NIST | SF_FORMAT_PCM_16, RATE, FRAMES);
    assert_int_equal(count_of(nist, RATE), FRAMES);
    nist.n -= 10;
    assert_refused_bytes(nist, RATE, "cut short");
    free(nist.bytes);
}

/* A process that writes the file into a pipe. */
static pid_t write_into(int fd, file_bytes b) {
    const pid_t child = fork();
    if (child == 0) {
        for (size_t at = 0, n; at < b.n; at += n) {
            const ssize_t done = write(fd, b.bytes + at, b.n - at < 1000 ? b.n - at : 1000);
            if (done <= 0) _exit(1);
            n = (size_t)done;
        }
        _exit(0);
    }
    return child;
}

static void test_pipes(void **state) {
    test_folder *folder = *state;
    file_bytes b = encode(folder, SF_FORMAT_OGG | SF_FORMAT_VORBIS, RATE, FRAMES);
    const int keep = dup(STDIN_FILENO);
    const char *const path[] = {"-", "/dev/stdin"};
    float *samples, *right;
    int64_t count;
    int ends[2], status;
    assert_ok(decode(&right, &count, b, RATE));
    for (int i = 0; i < 4; i++) { /* both names, of a pipe and of a file */
        pid_t child = -1;
        if (i < 2) {
            assert_int_equal(pipe(ends), 0);
            child = write_into(ends[1], b);
            close(ends[1]);
        } else {
            ends[0] = open(test_path(folder, "encoded"), O_RDONLY);
        }
        assert_int_equal(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
        close(ends[0]);
        assert_ok(kd_audio_read(&samples, &count, path[i % 2], RATE, 0));
        assert_int_equal(count, FRAMES);
        assert_memory_equal(samples, right, FRAMES * sizeof *right);
        free(samples);
        if (child > 0) waitpid(child, &status, 0);
    }
    dup2(keep, STDIN_FILENO);
    close(keep);
    assert_refused(kd_audio_read(&samples, &count, "/dev/null", RATE, 0), KD_ENOINPUT,
                   "is not a regular file or a pipe");
    free(right);
    free(b.bytes);
}

#ifdef KD_HAVE_FFMPEG
static const char WHY[] = "no sound that FFmpeg's libraries can decode";
#else
static const char WHY[] = "built where libavformat-dev and libavcodec-dev are installed";
#endif

static void test_formats_of_others(void **state) {
    (void)state;
    static const struct {
        const char *begin;
        size_t n;
        const char *name;
    } cases[] = {{"\0\0\0\x1c"
                  "ftypM4A ",
                  12, "is MPEG-4 (m4a, mp4, mov)"},
                 {"\x1a\x45\xdf\xa3\x01\0\0\0", 8, "is Matroska (webm, mka, mkv)"},
                 {"\xff\xf1\x50\x80\x02\x1f\xfc\xde", 8, "is AAC"},
                 {"#!AMR\n", 6, "is AMR"},
                 {"\x30\x26\xb2\x75\x8e\x66\xcf\x11", 8, "is ASF (wma)"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        file_bytes b = append((file_bytes){0}, cases[i].begin, cases[i].n);
        for (int j = 0; j < 100; j++) b = append(b, "some bytes", 10);
        assert_refused_bytes(b, RATE, cases[i].name);
        if (!strstr(kd_error(), WHY) && !strstr(kd_error(), "cut short or damaged"))
            fail_msg("'%s' does not say '%s'", kd_error(), WHY);
        assert_non_null(strstr(kd_error(), "`ffmpeg -i a file sound.flac`"));
        free(b.bytes);
    }
}

/* Half a second of 440 Hz at 16 kHz on two channels, 0.125·√½ loud: as many samples as ffmpeg
 * finds, and the tone. */
static void test_aac_and_webm(void **state) {
    (void)state;
    static const struct {
        const char *path;
        int64_t count;
    } cases[] = {{"tests/golden/sounds/tone.m4a", 8192},
                 {"tests/golden/sounds/tone.webm", 8000},
                 {"tests/golden/sounds/tone.aac", 9216}};
#ifndef KD_HAVE_FFMPEG
    printf("SKIP built without FFmpeg's libraries\n");
    skip();
#endif
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        file_bytes b = take(cases[i].path);
        float *samples;
        int64_t count;
        double re = 0, im = 0;
        assert_ok(decode(&samples, &count, b, 16000));
        assert_int_equal(count, cases[i].count);
        for (int j = 2000; j < 6000; j++) { /* 110 periods */
            re += (double)samples[j] * cos(2 * 3.14159265358979 * 440 * j / 16000) / 2000;
            im += (double)samples[j] * sin(2 * 3.14159265358979 * 440 * j / 16000) / 2000;
        }
        assert_true(fabs(sqrt(re * re + im * im) - 0.125 * sqrt(0.5)) < 0.003);
        free(samples);
        b.n = b.n * 2 / 3;
        assert_int_equal(decode(&samples, &count, b, 16000), KD_EDATA);
        free(b.bytes);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wav_from_pipes),
        cmocka_unit_test(test_wav_judged_by_its_data),
        cmocka_unit_test(test_wav_of_odd_size),
        cmocka_unit_test_setup_teardown(test_joined_files, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_first_seconds_of_joined, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_open_sizes, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_pipes, test_setup, test_teardown),
        cmocka_unit_test(test_formats_of_others),
        cmocka_unit_test(test_aac_and_webm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
