/* Bugs that readers of these formats have had elsewhere, each by its name: the file that caused it
 * is refused here, at once and with a message. Every block ends where its file does, so that the
 * sanitizers of the debug build see a step beyond. */
#include <hdf5.h>

#include "asserts.h"
#include "base/json.h"
#include "data/audio.h"
#include "data/h5.h"
#include "files/gguf.h"
#include "files/safetensors.h"
#include "hdf5_leaks.h"
#include "test_data.h"
#include "whisper_tiny.h"

enum { HANGS_AFTER = 60 }; /* seconds */

/* A file made by hand. */
typedef struct {
    unsigned char bytes[1024];
    size_t length;
} hand;

static void put(hand *h, const void *bytes, size_t n) {
    assert_true(n <= sizeof h->bytes - h->length);
    memcpy(h->bytes + h->length, bytes, n);
    h->length += n;
}

static void put_u16(hand *h, uint16_t x) {
    put(h, &x, 2);
}

static void put_u32(hand *h, uint32_t x) {
    put(h, &x, 4);
}

static void put_u64(hand *h, uint64_t x) {
    put(h, &x, 8);
}

/* The same in a block of its own; the caller frees. */
static void *exact(const hand *h) {
    void *block = malloc(h->length ? h->length : 1);
    assert_non_null(block);
    memcpy(block, h->bytes, h->length);
    return block;
}

/* --- safetensors ---------------------------------------------------------------------------- */

static void refuse_safetensors(uint64_t stated, const char *header, size_t data, const char *part) {
    hand h = {.length = 0};
    kd_safetensors *file;
    put_u64(&h, stated ? stated : strlen(header));
    put(&h, header, strlen(header));
    for (size_t i = 0; i < data; i++) put(&h, "", 1);
    void *block = exact(&h);
    assert_refused(kd_safetensors_decode(&file, block, h.length, "file"), KD_EDATA, part);
    free(block);
}

#define TENSOR(name, begin, end)                                                                   \
    "\"" name "\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[" begin "," end "]}"

static void safetensors_header_of_more_than_100_mb(void **state) {
    (void)state;
    refuse_safetensors(100000001, "{}", 0, "100000000");
    refuse_safetensors(UINT64_MAX, "{}", 0, "file");
    refuse_safetensors(INT64_MAX, "{}", 0, "file");
}

static void safetensors_header_without_a_brace(void **state) {
    (void)state;
    refuse_safetensors(0, " {}", 0, "'{'");
    refuse_safetensors(0, "[{}]", 0, "'{'");
}

static void safetensors_the_same_key_twice(void **state) {
    (void)state;
    refuse_safetensors(0, "{" TENSOR("a", "0", "4") "," TENSOR("a", "4", "8") "}", 8,
                       "two tensors");
    refuse_safetensors(0, "{" TENSOR("a", "0", "4") "," TENSOR("\\u0061", "4", "8") "}", 8,
                       "two tensors");
}

static void safetensors_overlapping_tensors(void **state) {
    (void)state;
    refuse_safetensors(0, "{" TENSOR("a", "0", "4") "," TENSOR("b", "0", "4") "}", 4,
                       "overlapping");
    refuse_safetensors(0, "{" TENSOR("a", "0", "4") "," TENSOR("b", "2", "6") "}", 6,
                       "overlapping");
}

static void safetensors_holes_between_tensors(void **state) {
    (void)state;
    refuse_safetensors(0, "{" TENSOR("a", "4", "8") "}", 8, "hole");
    refuse_safetensors(0, "{" TENSOR("a", "0", "4") "," TENSOR("b", "8", "12") "}", 12, "hole");
    refuse_safetensors(0, "{" TENSOR("a", "0", "4") "}", 8, "the file has 8");
}

/* --- GGUF and ggml -------------------------------------------------------------------------- */

static hand begin_gguf(uint64_t tensors, uint64_t keys) {
    hand h = {.length = 0};
    put(&h, "GGUF", 4);
    put_u32(&h, 3);
    put_u64(&h, tensors);
    put_u64(&h, keys);
    return h;
}

static void put_tensor(hand *h, char name, uint32_t rank, uint64_t each, uint64_t offset) {
    put_u64(h, 1);
    put(h, &name, 1);
    put_u32(h, rank);
    for (uint32_t i = 0; i < rank && i < 64; i++) put_u64(h, each);
    put_u32(h, 0); /* float32 */
    put_u64(h, offset);
}

static void refuse_gguf(const hand *h) {
    kd_gguf *file;
    void *block = exact(h);
    assert_refused(kd_gguf_parse(&file, block, h->length, "hostile"), KD_EDATA, "hostile");
    free(block);
}

/* CVE-2025-53630, CVE-2026-27940: sizes whose sum or product comes out small. */
static void gguf_sums_of_sizes_that_overflow(void **state) {
    (void)state;
    hand h = begin_gguf(1, 0);
    put_tensor(&h, 't', 2, UINT64_C(1) << 33, 0);
    refuse_gguf(&h);
    h = begin_gguf(2, 0);
    put_tensor(&h, 'a', 1, (UINT64_C(1) << 62) - 8, 0); /* 2^64 − 32 bytes */
    put_tensor(&h, 'b', 1, 16, UINT64_MAX - 31);
    for (int i = 0; i < 16; i++) put_u64(&h, 0);
    refuse_gguf(&h);
    h = begin_gguf(UINT64_MAX / 8, 0);
    refuse_gguf(&h);
    h = begin_gguf(0, UINT64_MAX / 8);
    refuse_gguf(&h);
}

static void gguf_alignment_without_bounds(void **state) {
    (void)state;
    const uint32_t alignments[] = {0, 3, UINT32_C(1) << 31, UINT32_MAX};
    for (int i = 0; i < 4; i++) {
        hand h = begin_gguf(0, 1);
        put_u64(&h, 17);
        put(&h, "general.alignment", 17);
        put_u32(&h, KD_GGUF_U32);
        put_u32(&h, alignments[i]);
        refuse_gguf(&h);
    }
}

/* A file of 152 bytes wrote over the stack: it said a tensor had more than 4 dimensions. */
static void gguf_more_than_4_dimensions(void **state) {
    (void)state;
    const uint32_t ranks[] = {0, 5, 13, UINT32_MAX};
    for (int i = 0; i < 4; i++) {
        hand h = begin_gguf(1, 0);
        put_tensor(&h, 't', ranks[i], 1, 0);
        while (h.length < 152) put_u32(&h, 0);
        refuse_gguf(&h);
    }
}

/* The tiny model with one i32 changed: `from` bytes behind `name`, or from the start. */
static void refuse_whisper(void **state, const char *name, int from, int32_t value,
                           const char *part) {
    kd_whisper_file *file = tiny_whisper_file(), *back;
    const char *path = test_path(*state, "tiny.bin");
    char *bytes;
    size_t length;
    assert_ok(kd_whisper_bin_write(path, file, &kd_format_f32));
    kd_whisper_file_free(file);
    assert_ok(kd_file_read(&bytes, &length, path, 1 << 24));
    char *at = name ? memmem(bytes, length, name, strlen(name)) : bytes;
    assert_non_null(at);
    memcpy(at + from, &value, sizeof value);
    assert_refused(kd_whisper_bin_decode(&back, bytes, length, "x", KD_WHISPER_TRAIN_NOTHING),
                   KD_EDATA, part);
    free(bytes);
}

enum { WHISPER_FILTERS = 48, WHISPER_TOKENS = WHISPER_FILTERS + 8 + 4 * 80 * 201 };

static void whisper_more_than_4_dimensions(void **state) {
    refuse_whisper(state, "decoder.blocks.1.mlp.2.weight", -20, 5, "5 dimensions");
    refuse_whisper(state, "decoder.blocks.1.mlp.2.weight", -20, INT32_MAX, "dimensions");
    refuse_whisper(state, "decoder.blocks.1.mlp.2.weight", -20, -1, "dimensions");
}

static void whisper_vocabulary_out_of_bounds(void **state) {
    refuse_whisper(state, NULL, 4, -1, "vocabulary");
    refuse_whisper(state, NULL, 4, INT32_MAX, "");
    refuse_whisper(state, NULL, WHISPER_TOKENS, INT32_MAX, "the vocabulary has");
    refuse_whisper(state, NULL, WHISPER_TOKENS, -5, "the vocabulary has");
}

static void whisper_mel_sizes_that_overflow(void **state) {
    refuse_whisper(state, NULL, 40, INT32_MAX, "");
    refuse_whisper(state, NULL, WHISPER_FILTERS, INT32_MAX, "mel filters");
    refuse_whisper(state, NULL, WHISPER_FILTERS + 4, INT32_MAX, "mel filters");
    refuse_whisper(state, NULL, WHISPER_FILTERS + 4, -1, "mel filters");
}

/* --- sound ---------------------------------------------------------------------------------- */

/* libsndfile multiplied channels, widths and frames as int. */
static void sound_sizes_that_overflow_an_int(void **state) {
    (void)state;
    static const struct {
        uint16_t channels, block, bits;
        uint32_t rate, data;
    } lies[] = {{65535, 65535, 32, 8000, 64},     {1024, 65535, 64, UINT32_MAX, 64},
                {1, 2, 16, INT32_MAX, 64},        {0, 0, 0, 8000, 64},
                {1, 2, 16, 8000, UINT32_MAX - 1}, {2, 0, 16, 8000, INT32_MAX},
                {32768, 65535, 65535, 16000, 64}};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        hand h = {.length = 0};
        float *samples;
        int64_t count;
        put(&h, "RIFF", 4);
        put_u32(&h, 36 + 64);
        put(&h, "WAVEfmt ", 8);
        put_u32(&h, 16);
        put_u16(&h, 1);
        put_u16(&h, lies[i].channels);
        put_u32(&h, lies[i].rate);
        put_u32(&h, lies[i].rate * lies[i].block);
        put_u16(&h, lies[i].block);
        put_u16(&h, lies[i].bits);
        put(&h, "data", 4);
        put_u32(&h, lies[i].data);
        for (int k = 0; k < 16; k++) put_u32(&h, 0);
        void *block = exact(&h);
        if (kd_audio_decode(&samples, &count, block, h.length, "lie", 16000, 0) == KD_OK)
            assert_true(count <= 64 * 2); /* what is there, at twice the rate */
        else
            assert_non_null(strstr(kd_error(), "lie"));
        free(samples);
        free(block);
    }
}

/* --- JSON ----------------------------------------------------------------------------------- */

/* cJSON calls itself for every level: 100,000 of them took the stack. */
static void json_nested_without_bounds(void **state) {
    (void)state;
    enum { DEPTH = 100000 };
    static char text[DEPTH];
    kd_json *json;
    memset(text, '[', DEPTH);
    assert_int_equal(kd_json_parse(&json, text, DEPTH, "deep.json"), KD_EDATA);
    for (int i = 0; i + 4 < DEPTH; i += 5) memcpy(text + i, "{\"a\":", 5);
    assert_int_equal(kd_json_parse(&json, text, DEPTH, "deep.json"), KD_EDATA);
    assert_null(json);
}

/* --- HDF5 ----------------------------------------------------------------------------------- */

/* A file of one dataset, as other programs write it. */
static void write_numbers(const char *path, const int *values, hsize_t n) {
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hid_t space = H5Screate_simple(1, &n, NULL);
    hid_t set = H5Dcreate2(file, "n", H5T_NATIVE_INT, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Dwrite(set, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    H5Dclose(set);
    H5Sclose(space);
    H5Fclose(file);
}

/* libhdf5 went round in circles: every bit of a file's metadata changed, without a seal. */
static void hdf5_corrupt_headers_do_not_hang(void **state) {
    const char *path = test_path(*state, "foreign.h5");
    const int values[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    write_numbers(path, values, 8);
    hid_t file;
    char *bytes;
    size_t length;
    assert_ok(kd_file_read(&bytes, &length, path, 1 << 20));
    for (size_t bit = 0; bit < 8 * length; bit += thoroughly() ? 1 : 37) {
        int rank, back[8];
        int64_t shape[KD_H5_RANK_MAX];
        bytes[bit / 8] ^= (char)(1 << bit % 8);
        test_write(path, bytes, length);
        alarm(HANGS_AFTER);
        if (kd_h5_open(&file, path) == KD_OK) {
            if (kd_h5_shape(file, "n", &rank, shape) == KD_OK && rank == 1 && shape[0] <= 8)
                kd_h5_read(file, "n", rank, shape, H5T_NATIVE_INT, back);
            kd_h5_close(file);
        }
        bytes[bit / 8] ^= (char)(1 << bit % 8);
    }
    alarm(0);
    free(bytes);
}

/* libhdf5 copied from nowhere: one bit of a contiguous dataset's layout message (version 3, class
 * 1, address, size) makes it version 2, which says compact: its bytes would stand in the header. */
static void hdf5_compact_dataset_without_its_bytes(void **state) {
    const char *path = test_path(*state, "compact.h5");
    const int values[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    write_numbers(path, values, 8);
    char *bytes;
    size_t length, at = 0;
    assert_ok(kd_file_read(&bytes, &length, path, 1 << 20));
    while (at + 18 < length && !(bytes[at] == 3 && bytes[at + 1] == 1 &&
                                 memcmp(bytes + at + 10, "\x20\0\0\0\0\0\0", 8) == 0))
        at++;
    assert_true(at + 18 < length);
    bytes[at] = 2;
    test_write(path, bytes, length);
    free(bytes);
    hid_t file;
    int back[8];
    assert_ok(kd_h5_open(&file, path));
    assert_int_equal(kd_h5_read(file, "n", 1, (int64_t[]){8}, H5T_NATIVE_INT, back), KD_EDATA);
    assert_non_null(strstr(kd_error(), "its shape needs 32"));
    kd_h5_close(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, test_setup, test_teardown)
        cmocka_unit_test(safetensors_header_of_more_than_100_mb),
        cmocka_unit_test(safetensors_header_without_a_brace),
        cmocka_unit_test(safetensors_the_same_key_twice),
        cmocka_unit_test(safetensors_overlapping_tensors),
        cmocka_unit_test(safetensors_holes_between_tensors),
        cmocka_unit_test(gguf_sums_of_sizes_that_overflow),
        cmocka_unit_test(gguf_alignment_without_bounds),
        cmocka_unit_test(gguf_more_than_4_dimensions),
        IN_FOLDER(whisper_more_than_4_dimensions),
        IN_FOLDER(whisper_vocabulary_out_of_bounds),
        IN_FOLDER(whisper_mel_sizes_that_overflow),
        cmocka_unit_test(sound_sizes_that_overflow_an_int),
        cmocka_unit_test(json_nested_without_bounds),
        IN_FOLDER(hdf5_corrupt_headers_do_not_hang),
        IN_FOLDER(hdf5_compact_dataset_without_its_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
