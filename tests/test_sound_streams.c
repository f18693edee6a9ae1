/* MP3, FLAC and Ogg: lengths that are stated wrong or not at all, files joined and chained, tags,
 * damage. */
#include "sound_bytes.h"

#include <FLAC/stream_encoder.h>

#include "faults.c"

enum { RATE = 16000, FRAMES = 32000 };

static const char TAG1[128] = "TAG";

/* An ID3v2 tag full of what looks like MPEG frames. */
static file_bytes with_id3(file_bytes b) {
    file_bytes tag = append((file_bytes){0}, "ID3\4\0\0\0\0\x10\0", 10);
    for (int i = 0; i < 512; i++) tag = append(tag, "\xff\xfb\x90\x64", 4);
    return append(tag, b.bytes, b.n);
}

static file_bytes with_ape(file_bytes b) {
    file_bytes all =
        append(copy(b), "APETAGEX\xd0\7\0\0\x40\0\0\0\1\0\0\0\0\0\0\xa0\0\0\0\0\0\0\0\0", 32);
    for (int i = 0; i < 8; i++) all = append(all, "\xff\xfb\x90\x64", 4);
    return append(all, "APETAGEX\xd0\7\0\0\x40\0\0\0\1\0\0\0\0\0\0\x80\0\0\0\0\0\0\0\0", 32);
}

/* The same sound with tags in front, behind, and both. */
static void check_tags(file_bytes b, int rate) {
    file_bytes front = with_id3(b), behind = append(copy(b), TAG1, sizeof TAG1);
    file_bytes ape = with_ape(b), all = append(with_ape(front), TAG1, sizeof TAG1);
    assert_same_sound(front, b, rate);
    assert_same_sound(behind, b, rate);
    assert_same_sound(ape, b, rate);
    assert_same_sound(all, b, rate);
    front.n = 1000;
    assert_refused_bytes(front, rate, "cut short: the ID3 tag at byte 0 has 2058 bytes");
    free(front.bytes), free(behind.bytes), free(ape.bytes), free(all.bytes);
}

/* --- MP3 -------------------------------------------------------------------------------------- */

/* As files: with the first frame that counts the others. As pipes get it: without. */
static void encode_mp3(file_bytes *counted, file_bytes *piped, test_folder *folder, int rate) {
    *counted = encode(folder, SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III, rate, 2 * rate);
    if (!counted->bytes) {
        printf("SKIP this libsndfile does not write MP3\n");
        skip();
    }
    size_t second = find(*counted, 4, counted->bytes, 2);
    while (memcmp(counted->bytes + second, counted->bytes, 2) != 0 ||
           find(*counted, 0, "LAME", 4) > second)
        second = find(*counted, second + 1, counted->bytes, 2);
    *piped = append((file_bytes){0}, counted->bytes + second, counted->n - second);
}

static void test_mp3_is_heard_to_its_end(void **state) {
    file_bytes counted, piped;
    float *x, *y;
    int64_t n, m;
    encode_mp3(&counted, &piped, *state, RATE);
    assert_ok(decode(&x, &n, counted, RATE));
    assert_ok(decode(&y, &m, piped, RATE));
    assert_int_equal(n, FRAMES); /* delay and padding are taken off */
    assert_true(m > FRAMES && m < FRAMES + 4 * 576 && m % 576 == 0);
    assert_memory_equal(x + n - 100, y + 576 + 529 + n - 100, 100 * sizeof *x); /* LAME's delay */
    free(x), free(y);
    check_tags(counted, RATE);
    check_tags(piped, RATE);
    file_bytes zeros = append(copy(piped), (char[300]){0}, 300);
    assert_same_sound(zeros, piped, RATE);
    file_bytes led = append(append((file_bytes){0}, (char[3000]){0}, 3000), piped.bytes, piped.n);
    assert_same_sound(led, piped, RATE);
    free(zeros.bytes), free(led.bytes), free(counted.bytes), free(piped.bytes);
}

/* One behind another, with tags between, and of other rates. */
static void test_joined_mp3(void **state) {
    file_bytes counted, piped, other, unused;
    encode_mp3(&counted, &piped, *state, RATE);
    encode_mp3(&unused, &other, *state, 2 * RATE);
    const int64_t n = count_of(piped, RATE), m = count_of(other, RATE);
    file_bytes tagged = append(with_id3(piped), TAG1, sizeof TAG1), both = join(tagged, tagged);
    assert_int_equal(count_of(both, RATE), 2 * n);
    file_bytes ape = with_ape(piped), both_ape = join(ape, ape);
    assert_int_equal(count_of(both_ape, RATE), 2 * n);
    free(ape.bytes), free(both_ape.bytes);
    file_bytes mixed = join(piped, other), back = join(mixed, piped);
    assert_int_equal(count_of(mixed, RATE), n + m);
    assert_int_equal(count_of(back, RATE), 2 * n + m);
    free(counted.bytes), free(piped.bytes), free(other.bytes), free(unused.bytes);
    free(tagged.bytes), free(both.bytes), free(mixed.bytes), free(back.bytes);
}

/* Where frames are counted, all must be there; where not, the last whole one is the end. */
static void test_cut_mp3(void **state) {
    file_bytes counted, piped;
    encode_mp3(&counted, &piped, *state, RATE);
    const int64_t n = count_of(piped, RATE);
    counted.n -= 1;
    assert_refused_bytes(counted, RATE, "cut short or damaged: ");
    counted.n /= 2;
    assert_refused_bytes(counted, RATE, "of 32000 frames can be decoded; get the file again");
    piped.n -= 1;
    assert_int_equal(count_of(piped, RATE), n - 576);
    memset(piped.bytes + piped.n / 4, 0, 100); /* a little is passed over, as players do */
    assert_true(count_of(piped, RATE) > n * 3 / 4);
    memset(piped.bytes + piped.n / 4, 0, piped.n / 5);
    assert_refused_bytes(piped, RATE, "bytes are no MPEG frames");
    free(counted.bytes), free(piped.bytes);
}

/* Some encoders count the frame that counts, too. That one is forgiven when the file is as long as
 * it states, whatever the byte of the size in which it differs. */
static void test_mp3_that_counts_one_more(void **state) {
    file_bytes counted, piped;
    encode_mp3(&counted, &piped, *state, RATE);
    const char *const mark = memmem(counted.bytes, counted.n, "Xing", 4) ? "Xing" : "Info";
    const size_t tag = find(counted, 0, mark, 4);
    uint32_t frames = 0;
    for (int i = 0; i < 4; i++)
        frames = frames << 8 | (unsigned char)counted.bytes[tag + 8 + (size_t)i];
    set(counted, tag + 8, 4, true, frames + 1);
    const int64_t heard = count_of(counted, RATE);
    for (int i = 0; i < 4; i++) {
        set(counted, tag + 12, 4, true, counted.n + (1u << 8 * i));
        assert_refused_bytes(counted, RATE, "cut short or damaged: ");
    }
    set(counted, tag + 12, 4, true, counted.n);
    assert_int_equal(count_of(counted, RATE), heard);
    set(counted, tag + 8, 4, true, frames + 3);
    assert_refused_bytes(counted, RATE, "cut short or damaged: ");
    free(counted.bytes), free(piped.bytes);
}

/* --- FLAC ------------------------------------------------------------------------------------- */

static void test_flac_of_unknown_length(void **state) {
    file_bytes known = encode(*state, SF_FORMAT_FLAC | SF_FORMAT_PCM_16, RATE, FRAMES);
    file_bytes b = copy(known), twice;
    b.bytes[21] &= (char)0xf0; /* the number of samples, 36 bits */
    set(b, 22, 4, true, 0);
    assert_same_sound(b, known, RATE);
    check_tags(b, RATE);
    check_tags(known, RATE);
    twice = join(b, b);
    assert_int_equal(count_of(twice, RATE), 2 * FRAMES);
    free(twice.bytes);
    b.n -= 1;
    assert_refused_bytes(b, RATE, "cut short or damaged");
    known.n -= 1;
    assert_refused_bytes(known, RATE, "of 32000 frames can be decoded");
    b.n += 1;
    b.bytes[b.n / 2] ^= 16;
    assert_refused_bytes(b, RATE, "cut short or damaged");
    free(known.bytes), free(b.bytes);
}

/* --- Ogg -------------------------------------------------------------------------------------- */

static file_bytes encode_ogg_flac(test_folder *folder, int rate) {
    const char *path = test_path(folder, "flac.oga");
    FLAC__StreamEncoder *encoder = FLAC__stream_encoder_new();
    FLAC__stream_encoder_set_channels(encoder, 1);
    FLAC__stream_encoder_set_bits_per_sample(encoder, 16);
    FLAC__stream_encoder_set_sample_rate(encoder, (unsigned)rate);
    assert_int_equal(FLAC__stream_encoder_init_ogg_file(encoder, path, NULL, NULL), 0);
    for (int i = 0; i < FRAMES; i++) {
        const FLAC__int32 v = (FLAC__int32)(9000 * sin(0.1 * i)) + i % 97;
        assert_true(FLAC__stream_encoder_process_interleaved(encoder, &v, 1));
    }
    assert_true(FLAC__stream_encoder_finish(encoder));
    FLAC__stream_encoder_delete(encoder);
    return take(path);
}

static file_bytes encode_ogg(test_folder *folder, int kind, int rate) {
    if (kind == 2) return encode_ogg_flac(folder, rate);
    return encode(folder, SF_FORMAT_OGG | (kind == 0 ? SF_FORMAT_VORBIS : SF_FORMAT_OPUS), rate,
                  FRAMES);
}

static size_t page_size(file_bytes b, size_t at) {
    size_t size = 27 + (unsigned char)b.bytes[at + 26];
    for (int i = 0; i < (unsigned char)b.bytes[at + 26]; i++)
        size += (unsigned char)b.bytes[at + 27 + (size_t)i];
    return size;
}

/* `b` without the page at `at`. */
static file_bytes without_page(file_bytes b, size_t at) {
    const size_t size = page_size(b, at);
    file_bytes out = append((file_bytes){0}, b.bytes, at);
    return append(out, b.bytes + at + size, b.n - at - size);
}

static void test_chained_ogg(void **state) {
    file_bytes chain = {0};
    float *all, *one;
    int64_t total, n, at = 0;
    for (int i = 0; i < 6; i++) { /* each codec at two rates */
        file_bytes b = encode_ogg(*state, i % 3, i < 3 ? RATE : 8000);
        chain = append(chain, b.bytes, b.n);
        free(b.bytes);
    }
    assert_ok(decode(&all, &total, chain, RATE));
    for (int i = 0; i < 6; i++, at += n) {
        file_bytes b = encode_ogg(*state, i % 3, i < 3 ? RATE : 8000);
        assert_ok(decode(&one, &n, b, RATE));
        assert_int_equal(n, i < 3 ? FRAMES : 2 * FRAMES);
        if (i < 3) assert_memory_equal(all + at, one, (size_t)n * sizeof *one);
        free(one);
        free(b.bytes);
    }
    assert_int_equal(at, total);
    free(all);
    free(chain.bytes);
}

static void test_damaged_ogg(void **state) {
    for (int kind = 0; kind < 3; kind++) {
        file_bytes b = encode_ogg(*state, kind, RATE);
        check_tags(b, RATE);
        file_bytes zeros = append(copy(b), (char[5000]){0}, 5000),
                   junk = append(copy(b), "junk", 4);
        assert_same_sound(zeros, b, RATE);
        assert_refused_bytes(junk, RATE, "no whole Ogg page");
        size_t last = b.n - 4, audio = 0; /* the last page, and the one before */
        while (memcmp(b.bytes + last, "OggS", 4) != 0) last--;
        while (audio + page_size(b, audio) < last) audio += page_size(b, audio);
        file_bytes missing = without_page(b, audio), open = without_page(b, last);
        assert_refused_bytes(missing, RATE, "Ogg pages are missing before this one");
        assert_refused_bytes(open, RATE, "does not end the stream");
        b.bytes[audio + 100] ^= 1;
        assert_refused_bytes(b, RATE, "the checksum of the Ogg page is wrong");
        assert_non_null(strstr(kd_error(), "ffmpeg -i"));
        b.bytes[audio + 100] ^= 1;
        const size_t first = page_size(b, 0);
        file_bytes two = append((file_bytes){0}, b.bytes, first);
        two = append(append(two, b.bytes, first), b.bytes + first, b.n - first);
        assert_refused_bytes(two, RATE, "a second stream at the same time");
        free(zeros.bytes), free(junk.bytes), free(missing.bytes), free(open.bytes);
        free(two.bytes), free(b.bytes);
    }
}

/* --- a medium that fails ---------------------------------------------------------------------- */

/* libsndfile does not give back what libvorbis took when reading fails while it opens a file. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
    return "leak:vorbis_info_init";
}

/* Whichever read fails, once or from then on: an error of the medium, or the whole sound. */
static void test_failing_reads(void **state) {
    test_folder *folder = *state;
    const int format[] = {SF_FORMAT_WAV | SF_FORMAT_PCM_16, SF_FORMAT_FLAC | SF_FORMAT_PCM_16,
                          SF_FORMAT_OGG | SF_FORMAT_VORBIS,
                          SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III};
    for (size_t i = 0; i < sizeof format / sizeof *format; i++) {
        file_bytes b = encode(folder, format[i], RATE, FRAMES / 4);
        if (!b.bytes) continue; /* no MP3 here */
        const int64_t right = count_of(b, RATE);
        bool fired = true;
        for (long n = 1; fired; n += n < 20 ? 1 : n / 3) {
            float *samples;
            int64_t count;
            kd_faults_arm(KD_FAULT_READ, n, n % 2 == 0);
            const int status =
                kd_audio_read(&samples, &count, test_path(folder, "encoded"), RATE, 0);
            fired = kd_faults_disarm();
            if (fired ? status != KD_EIO : status != KD_OK || count != right)
                fail_msg("format %zu, read %ld: %d, %lld of %lld samples: %s", i, n, status,
                         (long long)count, (long long)right, kd_error());
            free(samples);
        }
        free(b.bytes);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_mp3_is_heard_to_its_end, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_joined_mp3, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_cut_mp3, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_mp3_that_counts_one_more, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_flac_of_unknown_length, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_chained_ogg, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_damaged_ogg, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_failing_reads, test_setup, test_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
