/* safetensors: values of every float type, and every lie a header can tell. */
#include "test_data.h"

#include <math.h>

#include "files/safetensors.h"

/* A file of this header and `size` bytes of data; the block is exactly as long as the file, so that
 * the sanitizer sees a step beyond. */
static uint8_t *make_file(size_t *length, const char *header, const void *data, size_t size) {
    size_t n = strlen(header);
    *length = 8 + n + size;
    uint8_t *file = malloc(*length);
    assert_non_null(file);
    for (int i = 0; i < 8; i++) file[i] = (uint8_t)((uint64_t)n >> 8 * i);
    memcpy(file + 8, header, n);
    if (size) memcpy(file + 8 + n, data, size);
    return file;
}

static int decode_bytes(const uint8_t *bytes, size_t length) {
    kd_safetensors *st;
    uint8_t *copy = malloc(length ? length : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, length);
    int status = kd_safetensors_decode(&st, copy, length, "file");
    kd_safetensors_close(st);
    free(copy);
    return status;
}

static int decode_header(const char *header, size_t data) {
    static const uint8_t zeros[4096];
    size_t length;
    uint8_t *file = make_file(&length, header, zeros, data);
    int status = decode_bytes(file, length);
    free(file);
    return status;
}

static const char GOOD[] =
    "{\"__metadata__\":{\"format\":\"pt\"},"
    "\"b\":{\"dtype\":\"F16\",\"shape\":[5],\"data_offsets\":[24,34]},"
    "\"a.weight\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
    "\"c\\u00e9\\ud83d\\ude00\\n\":{\"data_offsets\":[34,40],\"dtype\":\"BF16\",\"shape\":[3, 1]},"
    "\"d\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[40,48]},"
    "\"e\":{\"dtype\":\"I32\",\"shape\":[1],\"data_offsets\":[48,52]},"
    "\"none\":{\"dtype\":\"F32\",\"shape\":[7,0],\"data_offsets\":[52,52]}}   ";

static void make_data(uint8_t data[52]) {
    const float a[6] = {1, -2, 3.5f, 1e-30f, 1e30f, 0};
    const uint16_t b[5] = {0x3c00, 0xc100, 0x0001, 0x7c00, 0x83ff}; /* 1 −2.5 2^-24 inf −small */
    const uint16_t c[3] = {0x3f80, 0xc0a0, 0x7fc0};                 /* 1 −5 NaN */
    const double d = 0.1;
    memcpy(data, a, 24);
    memcpy(data + 24, b, 10);
    memcpy(data + 34, c, 6);
    memcpy(data + 40, &d, 8);
    memset(data + 48, 0, 4);
}

static void check_good(const kd_safetensors *st) {
    float v[6];
    assert_int_equal(kd_safetensors_count(st), 6);
    assert_string_equal(kd_safetensors_at(st, 0)->name, "a.weight");
    const kd_safetensors_entry *e = kd_safetensors_find(st, "a.weight");
    assert_ptr_equal(e, kd_safetensors_at(st, 0));
    assert_int_equal(e->rank, 2);
    assert_int_equal(e->shape[0] * 10 + e->shape[1], 23);
    assert_int_equal(e->count, 6);
    assert_int_equal(kd_safetensors_read(st, e, v), KD_OK);
    assert_true(v[1] == -2 && v[3] == 1e-30f && v[4] == 1e30f);
    assert_int_equal(kd_safetensors_read(st, kd_safetensors_find(st, "b"), v), KD_OK);
    assert_true(v[0] == 1 && v[1] == -2.5f && v[2] == 0x1p-24f && isinf(v[3]));
    assert_true(v[4] == -1023 * 0x1p-24f);
    e = kd_safetensors_find(st, "c\u00e9\U0001f600\n");
    assert_non_null(e);
    assert_string_equal(e->dtype, "BF16");
    assert_int_equal(kd_safetensors_read(st, e, v), KD_OK);
    assert_true(v[0] == 1 && v[1] == -5 && isnan(v[2]));
    e = kd_safetensors_find(st, "d");
    assert_int_equal(e->rank, 0);
    assert_int_equal(kd_safetensors_read(st, e, v), KD_OK);
    assert_true(v[0] == 0.1f);
    assert_int_equal(kd_safetensors_read(st, kd_safetensors_find(st, "e"), v), KD_EDATA);
    assert_non_null(strstr(kd_error(), "'e' is I32"));
    assert_int_equal(kd_safetensors_read(st, kd_safetensors_find(st, "none"), v), KD_OK);
    assert_null(kd_safetensors_find(st, "a"));
}

static void test_good(void **state) {
    test_folder *folder = *state;
    uint8_t data[52];
    size_t length;
    kd_safetensors *st;
    make_data(data);
    uint8_t *file = make_file(&length, GOOD, data, sizeof data);
    if (kd_safetensors_decode(&st, file, length, "file") < 0) fail_msg("%s", kd_error());
    check_good(st);
    kd_safetensors_close(st);
    const char *path = test_path(folder, "good.safetensors");
    test_write(path, file, length);
    if (kd_safetensors_open(&st, path) < 0) fail_msg("%s", kd_error());
    check_good(st);
    kd_safetensors_close(st);
    for (size_t n = 0; n < length; n++) assert_int_equal(decode_bytes(file, n), KD_EDATA);
    for (size_t bit = 0; bit < 64; bit++) { /* the header's length */
        file[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(decode_bytes(file, length), KD_EDATA);
        file[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t bit = 64; bit < (length - 52) * 8; bit++) { /* no crash; some change a name only */
        file[bit / 8] ^= (uint8_t)(1 << bit % 8);
        decode_bytes(file, length);
        file[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    free(file);
    assert_int_equal(kd_safetensors_open(&st, test_path(folder, "no")), KD_ENOINPUT);
    assert_int_equal(kd_safetensors_open(&st, folder->path), KD_ENOINPUT);
    assert_null(st);
}

/* Half precision against its definition, for all 65536 patterns. */
static void test_half(void **state) {
    (void)state;
    static uint16_t bits[65536];
    static float v[65536];
    size_t length;
    kd_safetensors *st;
    for (int i = 0; i < 65536; i++) bits[i] = (uint16_t)i;
    uint8_t *file = make_file(
        &length, "{\"h\":{\"dtype\":\"F16\",\"shape\":[65536],\"data_offsets\":[0,131072]}}", bits,
        sizeof bits);
    assert_int_equal(kd_safetensors_decode(&st, file, length, "file"), KD_OK);
    assert_int_equal(kd_safetensors_read(st, kd_safetensors_at(st, 0), v), KD_OK);
    for (int i = 0; i < 65536; i++) {
        int exponent = i >> 10 & 31, fraction = i & 1023;
        double size = exponent == 31  ? (fraction ? (double)NAN : (double)INFINITY)
                      : exponent == 0 ? ldexp(fraction, -24)
                                      : ldexp(1024 + fraction, exponent - 25);
        if (isnan(size))
            assert_true(isnan(v[i]));
        else
            assert_true((double)v[i] == (i >> 15 ? -size : size));
        assert_int_equal(signbit(v[i]) != 0, i >> 15);
    }
    kd_safetensors_close(st);
    free(file);
}

#define TENSOR(name, shape, begin, end)                                                            \
    "\"" name "\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[" begin "," end "]}"

static void test_lies(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        const char *message;
    } lie[] = {
        {" {}", 0, "'{'"},
        {"[]", 0, "'{'"},
        {"{}x", 0, "spaces behind"},
        {"{}", 4, "tensors take 0 bytes, the file has 4"},
        {"{" TENSOR("a", "[2]", "0", "8") "}", 4, "tensors take 8 bytes, the file has 4"},
        {"{" TENSOR("a", "[2]", "0", "8") "}", 12, "tensors take 8"},
        {"{" TENSOR("a", "[1]", "0", "4") "," TENSOR("a", "[1]", "4", "8") "}", 8, "two tensors"},
        {"{" TENSOR("a", "[1]", "0", "4") "," TENSOR("\\u0061", "[1]", "4", "8") "}", 8,
         "two tensors"},
        {"{" TENSOR("a", "[2]", "0", "8") "," TENSOR("b", "[2]", "4", "12") "}", 12, "overlapping"},
        {"{" TENSOR("a", "[2]", "0", "8") "," TENSOR("b", "[2]", "0", "8") "}", 8, "overlapping"},
        {"{" TENSOR("a", "[1]", "0", "4") "," TENSOR("b", "[1]", "8", "12") "}", 12, "hole"},
        {"{" TENSOR("a", "[1]", "4", "8") "}", 8, "hole"},
        {"{" TENSOR("a", "[2]", "8", "0") "}", 8, "make 8 bytes"},
        {"{" TENSOR("a", "[3]", "0", "8") "}", 8, "make 12 bytes"},
        {"{" TENSOR("a", "[4294967296,4294967296]", "0", "0") "}", 0, "overflow"},
        {"{" TENSOR("a", "[4611686018427387904]", "0", "0") "}", 0, "overflow"},
        {"{" TENSOR("a", "[18446744073709551616]", "0", "0") "}", 0, "2^64"},
        {"{" TENSOR("a", "[1,1,1,1,1,1,1,1,1]", "0", "4") "}", 4, "more numbers"},
        {"{" TENSOR("a", "[-1]", "0", "4") "}", 4, "whole number"},
        {"{" TENSOR("a", "[1.5]", "0", "4") "}", 4, "','"},
        {"{" TENSOR("a", "[01]", "0", "4") "}", 4, "leading zeros"},
        {"{" TENSOR("a", "[1]", "0", "4") ",}", 4, "a string"},
        {"{\"a\":{\"dtype\":\"F99\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "unknown dtype"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "needs"},
        {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
         "one each"},
        {"{\"__metadata__\":{\"a\":1}}", 0, "a string"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "only"},
        {"{\"a\\u0000\":{}}", 0, "a character"},
        {"{\"a\\ud800\":{}}", 0, "surrogate"},
        {"{\"a\\", 0, "escape"},
        {"{\"a\\u12", 0, "hexadecimal"},
        {"{\"a", 0, "end of a string"},
        {"{\"a\tb\":{}}", 0, "control"},
    };
    for (size_t i = 0; i < sizeof lie / sizeof *lie; i++) {
        assert_int_equal(decode_header(lie[i].header, lie[i].data), KD_EDATA);
        if (!strstr(kd_error(), lie[i].message))
            fail_msg("%s: '%s' is not in: %s", lie[i].header, lie[i].message, kd_error());
    }
    assert_int_equal(decode_header("{}", 0), KD_OK);
    assert_int_equal(decode_header("{\"__metadata__\":{}}", 0), KD_OK);
    /* A header of more than 100 MB is refused before anything is allocated for it. */
    uint8_t huge[16] = {0x01, 0xe1, 0xf5, 0x05, 0, 0, 0, 0, '{', '}'};
    assert_int_equal(decode_bytes(huge, sizeof huge), KD_EDATA);
    assert_non_null(strstr(kd_error(), "100000000"));
}

static void test_resnet56(void **state) {
    (void)state;
    char path[KD_PATH_MAX];
    test_need(path, "resnet_cifar10/resnet56.safetensors");
    kd_safetensors *st;
    if (kd_safetensors_open(&st, path) < 0) fail_msg("%s", kd_error());
    int64_t values = 0;
    for (int64_t i = 0; i < kd_safetensors_count(st); i++) {
        const kd_safetensors_entry *e = kd_safetensors_at(st, i);
        assert_string_equal(e->dtype, "F32");
        if (!strstr(e->name, "running_")) values += e->count;
    }
    assert_int_equal(values,
                     853018); /* 0.85 million: 55 convolutions, their norms, the classifier */
    const kd_safetensors_entry *e = kd_safetensors_find(st, "linear.bias");
    assert_non_null(e);
    assert_int_equal(e->count, 10);
    float bias[10];
    assert_int_equal(kd_safetensors_read(st, e, bias), KD_OK);
    for (int i = 0; i < 10; i++) assert_true(fabsf(bias[i]) < 10);
    kd_safetensors_close(st);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_good, test_setup, test_teardown),
        cmocka_unit_test(test_half),
        cmocka_unit_test(test_lies),
        cmocka_unit_test(test_resnet56),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
