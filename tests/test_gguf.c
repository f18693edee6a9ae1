/* GGUF: our files are those of the gguf package byte for byte; hostile files are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/rng.h"
#include "files/gguf.h"

static const int32_t INTEGERS[3] = {1, -2, INT32_MAX};
static const float REALS[2] = {0.5f, 1e-30f};
static int8_t small[30];

/* With the data of its tensors, or without. */
static kd_gguf_writer *tiny_writer(bool with_data) {
    kd_gguf_writer *w;
    for (int i = 0; i < 30; i++) small[i] = (int8_t)(i - 15);
    assert_int_equal(kd_gguf_writer_create(&w, "distill"), KD_OK);
    kd_gguf_add_string(w, "general.name", "tiny");
    kd_gguf_add_f32(w, "a.number", 0.1f);
    kd_gguf_add_f64(w, "a.double", 1.0 / 3);
    kd_gguf_add_f32s(w, "some.numbers", (float[]){0.5f, -1.25f, 3.0f}, 3);
    kd_gguf_add_strings(w, "some.texts", (const char *[]){"ankle boot", "", "äöü"}, 3);
    kd_gguf_add_tensor(w, "bytes", KD_GGUF_TENSOR_I8, 3, (uint64_t[]){5, 3, 2},
                       with_data ? small : NULL);
    kd_gguf_add_tensor(w, "integers", KD_GGUF_TENSOR_I32, 1, (uint64_t[]){3},
                       with_data ? INTEGERS : NULL);
    kd_gguf_add_tensor(w, "reals", KD_GGUF_TENSOR_F32, 2, (uint64_t[]){1, 2},
                       with_data ? REALS : NULL);
    return w;
}

static void tiny(char **bytes, size_t *length) {
    kd_gguf_writer *w = tiny_writer(true);
    assert_int_equal(kd_gguf_finish(bytes, length, w), KD_OK);
    kd_gguf_writer_free(w);
}

static int fill_tiny(void *context, uint64_t index, void *out) {
    static const void *const data[] = {small, INTEGERS, REALS};
    static const size_t bytes[] = {sizeof small, sizeof INTEGERS, sizeof REALS};
    if (context && *(uint64_t *)context == index) return kd_fail(KD_EDATA, "stopped");
    memcpy(out, data[index], bytes[index]);
    return KD_OK;
}

/* The same file when the data comes last; no file when it does not come. */
static void test_data_may_come_later(void **state) {
    (void)state;
    char path[] = "/tmp/distill-gguf-XXXXXX", *ours, *later;
    size_t length, later_length;
    uint64_t stop = 1;
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    tiny(&ours, &length);
    kd_gguf_writer *w = tiny_writer(false);
    assert_int_equal(kd_gguf_write_filled(path, w, fill_tiny, NULL), KD_OK);
    assert_int_equal(kd_file_read(&later, &later_length, path, 1 << 20), KD_OK);
    assert_int_equal(later_length, length);
    assert_memory_equal(later, ours, length);
    unlink(path);
    assert_int_equal(kd_gguf_write_filled(path, w, fill_tiny, &stop), KD_EDATA);
    assert_false(kd_file_exists(path));
    kd_gguf_writer_free(w);
    free(later);
    free(ours);
}

static void test_same_bytes_as_the_gguf_package(void **state) {
    (void)state;
    char *ours, *theirs;
    size_t length, their_length;
    tiny(&ours, &length);
    assert_int_equal(kd_file_read(&theirs, &their_length, "tests/golden/tiny.gguf", 1 << 20),
                     KD_OK);
    assert_int_equal(length, their_length);
    kd_gguf *g;
    assert_int_equal(kd_gguf_parse(&g, theirs, length, "tiny.gguf"), KD_OK);
    const size_t at = (size_t)(kd_gguf_checksum_place(g) - (const unsigned char *)theirs);
    memcpy(theirs + at, ours + at, 8); /* theirs is 0 */
    assert_memory_equal(ours, theirs, length);
    kd_gguf_free(g);
    free(ours);
    free(theirs);
}

static void test_reads_what_it_wrote(void **state) {
    (void)state;
    char *bytes;
    size_t length;
    tiny(&bytes, &length);
    kd_gguf *g;
    assert_int_equal(kd_gguf_parse(&g, bytes, length, "tiny"), KD_OK);
    assert_int_equal(kd_gguf_verify(g, "tiny"), KD_OK);
    assert_int_equal(g->key_count, 9);
    assert_int_equal(g->tensor_count, 3);
    const kd_gguf_key *key = kd_gguf_find_key(g, "some.texts");
    assert_int_equal(key->kind, KD_GGUF_ARRAY);
    assert_int_equal(key->element, KD_GGUF_STRING);
    const unsigned char *at = key->value;
    kd_gguf_next_string(&at);
    assert_int_equal(kd_gguf_next_string(&at).length, 0);
    assert_memory_equal(kd_gguf_next_string(&at).text, "äöü", 6);
    double third;
    memcpy(&third, kd_gguf_find_key(g, "a.double")->value, sizeof third);
    assert_true(third == 1.0 / 3);
    const kd_gguf_tensor *t = kd_gguf_find_tensor(g, "bytes");
    assert_int_equal(t->rank, 3);
    assert_int_equal(t->ne[0], 5);
    assert_int_equal(t->count, 30);
    assert_int_equal((int8_t)t->data[29], 14);
    assert_null(kd_gguf_find_tensor(g, "byte"));
    assert_null(kd_gguf_find_key(g, "a.numbe"));
    kd_gguf_free(g);
    free(bytes);
}

/* Bytes that end exactly where memory does, so that sanitizers see one byte too far. */
static int parse_exact(const void *bytes, size_t length) {
    char *exact = malloc(length ? length : 1);
    kd_gguf *g = NULL;
    if (length) memcpy(exact, bytes, length);
    int status = kd_gguf_parse(&g, exact, length, "hostile");
    if (status == KD_OK)
        kd_gguf_free(g);
    else
        assert_true(strstr(kd_error(), "hostile") == kd_error());
    free(exact);
    return status;
}

static void test_every_truncation_is_refused(void **state) {
    (void)state;
    char *bytes;
    size_t length;
    tiny(&bytes, &length);
    for (size_t n = 0; n < length; n++) assert_int_equal(parse_exact(bytes, n), KD_EDATA);
    assert_int_equal(parse_exact(bytes, length), KD_OK);
    free(bytes);
}

static void test_every_flipped_bit_is_noticed(void **state) {
    (void)state;
    char *bytes;
    size_t length;
    tiny(&bytes, &length);
    for (size_t bit = 0; bit < 8 * length; bit++) {
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
        kd_gguf *g;
        int status = kd_gguf_parse(&g, bytes, length, "flipped");
        if (status == KD_OK) {
            status = kd_gguf_verify(g, "flipped");
            kd_gguf_free(g);
        }
        if (status != KD_EDATA) fail_msg("bit %zu of byte %zu", bit % 8, bit / 8);
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
    }
    free(bytes);
}

/* --- hostile files, built by hand ------------------------------------------------------------- */

typedef struct {
    unsigned char bytes[4096];
    size_t length;
} hand;

static void put(hand *h, const void *bytes, size_t n) {
    memcpy(h->bytes + h->length, bytes, n);
    h->length += n;
}
static void put_u32(hand *h, uint32_t x) {
    put(h, &x, 4);
}
static void put_u64(hand *h, uint64_t x) {
    put(h, &x, 8);
}
static void put_text(hand *h, const char *text) {
    put_u64(h, strlen(text));
    put(h, text, strlen(text));
}
static hand begin(uint32_t version, uint64_t tensors, uint64_t keys) {
    hand h = {.length = 0};
    put(&h, "GGUF", 4);
    put_u32(&h, version);
    put_u64(&h, tensors);
    put_u64(&h, keys);
    return h;
}
static void put_tensor(hand *h, const char *name, uint32_t rank, uint64_t ne0, uint64_t ne1,
                       uint32_t type, uint64_t offset) {
    put_text(h, name);
    put_u32(h, rank);
    for (uint32_t i = 0; i < rank && i < 64; i++) put_u64(h, i == 0 ? ne0 : i == 1 ? ne1 : 1);
    put_u32(h, type);
    put_u64(h, offset);
}
/* Aligns, then `n` bytes of data. */
static void put_data(hand *h, size_t n) {
    size_t start = (h->length + 31) / 32 * 32;
    memset(h->bytes + h->length, 0, start + n - h->length);
    h->length = start + n;
}

#define REFUSED(h)  assert_int_equal(parse_exact((h).bytes, (h).length), KD_EDATA)
#define ACCEPTED(h) assert_int_equal(parse_exact((h).bytes, (h).length), KD_OK)

static void test_hostile_headers(void **state) {
    (void)state;
    hand h = begin(3, 0, 0);
    ACCEPTED(h);
    h = begin(2, 0, 0);
    REFUSED(h);
    h = begin(3, UINT64_MAX, 0);
    REFUSED(h);
    h = begin(3, 0, UINT64_MAX / 2);
    REFUSED(h);
    h = begin(3, 0, 0);
    memcpy(h.bytes, "FUGG", 4);
    REFUSED(h);
}

static void test_hostile_keys(void **state) {
    (void)state;
    hand h = begin(3, 0, 1);
    put_text(&h, "k");
    put_u32(&h, KD_GGUF_U32);
    put_u32(&h, 7);
    ACCEPTED(h);
    h = begin(3, 0, 1); /* a name longer than the file */
    put_u64(&h, UINT64_MAX - 3);
    put(&h, "kkkkkkkk", 8);
    REFUSED(h);
    h = begin(3, 0, 1); /* a type that does not exist */
    put_text(&h, "k");
    put_u32(&h, 13);
    put_u64(&h, 0);
    REFUSED(h);
    const uint32_t elements[] = {KD_GGUF_U8, KD_GGUF_F64, KD_GGUF_STRING, KD_GGUF_ARRAY};
    for (int i = 0; i < 4; i++) { /* count · size overflows */
        h = begin(3, 0, 1);
        put_text(&h, "k");
        put_u32(&h, KD_GGUF_ARRAY);
        put_u32(&h, elements[i]);
        put_u64(&h, (uint64_t)1 << 61);
        put_u64(&h, 1);
        REFUSED(h);
    }
    h = begin(3, 0, 2); /* twice the same */
    for (int i = 0; i < 2; i++) {
        put_text(&h, "key");
        put_u32(&h, KD_GGUF_U32);
        put_u32(&h, 7);
    }
    REFUSED(h);
    h = begin(3, 0, 1); /* an empty name */
    put_text(&h, "");
    put_u32(&h, KD_GGUF_U32);
    put_u32(&h, 7);
    REFUSED(h);
}

static void test_hostile_alignments(void **state) {
    (void)state;
    const uint32_t alignments[] = {0, 3, 1u << 31, UINT32_MAX};
    for (int i = 0; i < 4; i++) {
        hand h = begin(3, 0, 1);
        put_text(&h, "general.alignment");
        put_u32(&h, KD_GGUF_U32);
        put_u32(&h, alignments[i]);
        REFUSED(h);
    }
    hand h = begin(3, 0, 1);
    put_text(&h, "general.alignment");
    put_u32(&h, KD_GGUF_U64);
    put_u64(&h, 32);
    REFUSED(h);
}

static void one_tensor(hand *h, uint32_t rank, uint64_t ne0, uint64_t ne1, uint32_t type,
                       uint64_t offset) {
    *h = begin(3, 1, 0);
    put_tensor(h, "t", rank, ne0, ne1, type, offset);
    put_data(h, 64);
}

static void test_hostile_tensors(void **state) {
    (void)state;
    hand h;
    one_tensor(&h, 2, 8, 2, 0, 0);
    ACCEPTED(h);
    one_tensor(&h, 2, 64, 1, 8, 0); /* Q8_0: 2 blocks of 34 bytes do not fit in 64 */
    REFUSED(h);
    one_tensor(&h, 1, 32, 1, 8, 0);
    ACCEPTED(h);
    one_tensor(&h, 1, 33, 1, 8, 0); /* not whole blocks */
    REFUSED(h);
    one_tensor(&h, 0, 1, 1, 0, 0);
    REFUSED(h);
    one_tensor(&h, 5, 8, 2, 0, 0);
    REFUSED(h);
    one_tensor(&h, UINT32_MAX, 8, 2, 0, 0);
    REFUSED(h);
    one_tensor(&h, 2, 0, 2, 0, 0);
    REFUSED(h);
    one_tensor(&h, 2, (uint64_t)1 << 33, (uint64_t)1 << 33, 0, 0);
    REFUSED(h);
    one_tensor(&h, 2, (uint64_t)1 << 31, (uint64_t)1 << 29, 27, 0); /* bytes overflow */
    REFUSED(h);
    one_tensor(&h, 1, UINT64_MAX, 1, 24, 0);
    REFUSED(h);
    one_tensor(&h, 2, 8, 2, 4, 0); /* a type that was taken out of the format */
    REFUSED(h);
    one_tensor(&h, 2, 8, 2, UINT32_MAX, 0);
    REFUSED(h);
    one_tensor(&h, 2, 8, 2, 0, 32); /* a hole in front */
    REFUSED(h);
    one_tensor(&h, 2, 8, 2, 0, UINT64_MAX - 31);
    REFUSED(h);
    one_tensor(&h, 2, 8, 1, 0, 0); /* 32 bytes left over */
    REFUSED(h);
    one_tensor(&h, 2, 8, 3, 0, 0); /* 32 bytes too few */
    REFUSED(h);
    h = begin(3, 1, 0);
    put_tensor(&h, "t", 1, 7, 1, 0, 0);
    put_data(&h, 28); /* the last tensor is not padded */
    REFUSED(h);
    h = begin(3, 2, 0); /* overlapping */
    put_tensor(&h, "a", 1, 8, 1, 0, 0);
    put_tensor(&h, "b", 1, 8, 1, 0, 0);
    put_data(&h, 64);
    REFUSED(h);
    h = begin(3, 2, 0); /* the same name */
    put_tensor(&h, "a", 1, 8, 1, 0, 0);
    put_tensor(&h, "a", 1, 8, 1, 0, 32);
    put_data(&h, 64);
    REFUSED(h);
    h = begin(3, 1, 0); /* a name of 64 bytes */
    put_tensor(&h, "0123456789012345678901234567890123456789012345678901234567890123", 1, 8, 1, 0,
               0);
    put_data(&h, 32);
    REFUSED(h);
}

static void test_random_damage(void **state) {
    (void)state;
    char *bytes;
    size_t length;
    tiny(&bytes, &length);
    char *copy = malloc(length);
    kd_rng rng = kd_rng_init(3, 4);
    int refused = 0;
    for (int i = 0; i < 20000; i++) {
        memcpy(copy, bytes, length);
        for (int change = 0; change < 1 + i % 4; change++)
            copy[kd_rng_below(&rng, length)] = (char)(i % 2 ? 0xFF : kd_rng_u32(&rng));
        refused += parse_exact(copy, length) < 0;
    }
    assert_true(refused > 1000);
    free(copy);
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes_as_the_gguf_package),
        cmocka_unit_test(test_data_may_come_later),
        cmocka_unit_test(test_reads_what_it_wrote),
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_every_flipped_bit_is_noticed),
        cmocka_unit_test(test_hostile_headers),
        cmocka_unit_test(test_hostile_keys),
        cmocka_unit_test(test_hostile_alignments),
        cmocka_unit_test(test_hostile_tensors),
        cmocka_unit_test(test_random_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
