/* Pictures: PNG through libpng, PGM and PPM by hand; conversions, wrong sizes, damage. */
#include "test_data.h"

#include <png.h>

#include "data/image.h"

enum { H = 5, W = 7 };

/* A PNG of H x W in a block of its own; the caller frees. */
static uint8_t *make_png(size_t *length, const uint8_t *pixels, uint32_t format) {
    png_image image = {.version = PNG_IMAGE_VERSION, .width = W, .height = H, .format = format};
    png_alloc_size_t size = 0;
    assert_true(png_image_write_to_memory(&image, NULL, &size, 0, pixels, 0, NULL));
    uint8_t *bytes = malloc(size);
    assert_non_null(bytes);
    assert_true(png_image_write_to_memory(&image, bytes, &size, 0, pixels, 0, NULL));
    *length = size;
    return bytes;
}

static void fill(uint8_t *pixels, int values) {
    for (int i = 0; i < values; i++) pixels[i] = (uint8_t)(i * 29 + 3);
}

static int decode_exact(uint8_t *out, const void *bytes, size_t length, int64_t c) {
    uint8_t *copy = malloc(length ? length : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, length);
    int status = kd_image_decode(out, copy, length, "picture", H, W, c);
    free(copy);
    return status;
}

static void test_png(void **state) {
    test_folder *folder = *state;
    uint8_t grey[H * W], colour[H * W * 3], out[H * W * 3];
    size_t length;
    fill(grey, sizeof grey);
    fill(colour, sizeof colour);
    uint8_t *png = make_png(&length, grey, PNG_FORMAT_GRAY);
    assert_int_equal(decode_exact(out, png, length, 1), KD_OK);
    assert_memory_equal(out, grey, sizeof grey);
    assert_int_equal(decode_exact(out, png, length, 3), KD_OK);
    for (int i = 0; i < H * W * 3; i++) assert_int_equal(out[i], grey[i / 3]);
    const char *path = test_path(folder, "grey.png");
    test_write(path, png, length);
    assert_int_equal(kd_image_read(out, path, H, W, 1), KD_OK);
    assert_int_equal(kd_image_read(out, path, 28, 28, 1), KD_EDATA);
    assert_non_null(strstr(kd_error(), "7 wide and 5 high; the network takes 28 by 28"));
    free(png);
    png = make_png(&length, colour, PNG_FORMAT_RGB);
    assert_int_equal(decode_exact(out, png, length, 3), KD_OK);
    assert_memory_equal(out, colour, sizeof colour);
    assert_int_equal(decode_exact(out, png, length, 1), KD_OK);
    for (int i = 0; i < H * W; i++) {
        double y = 0.299 * colour[3 * i] + 0.587 * colour[3 * i + 1] + 0.114 * colour[3 * i + 2];
        assert_true(out[i] >= y - 0.501 && out[i] <= y + 0.501);
    }
    free(png);
    assert_int_equal(kd_image_read(out, test_path(folder, "none.png"), H, W, 1), KD_ENOINPUT);
}

static void test_transparent_png(void **state) {
    (void)state;
    uint8_t pixels[H * W * 4], out[H * W * 3];
    for (int i = 0; i < H * W; i++)
        memcpy(pixels + 4 * i, (uint8_t[]){200, 100, 50, i % 2 ? 255 : 0}, 4);
    size_t length;
    uint8_t *png = make_png(&length, pixels, PNG_FORMAT_RGBA);
    memset(out, 77, sizeof out);
    assert_int_equal(decode_exact(out, png, length, 3), KD_OK);
    for (int i = 0; i < H * W; i++)
        assert_memory_equal(out + 3 * i, i % 2 ? "\310\144\062" : "\0\0\0", 3);
    free(png);
}

static void test_png_damage(void **state) {
    (void)state;
    uint8_t pixels[H * W * 3], out[H * W * 3];
    size_t length;
    fill(pixels, sizeof pixels);
    uint8_t *png = make_png(&length, pixels, PNG_FORMAT_RGB);
    for (size_t n = 0; n < length; n++) assert_int_equal(decode_exact(out, png, n, 3), KD_EDATA);
    for (size_t bit = 0; bit < length * 8; bit++) {
        png[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(decode_exact(out, png, length, 3), KD_EDATA);
        png[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    uint8_t *longer = realloc(png, length + 1);
    assert_non_null(longer);
    longer[length] = 0;
    assert_int_equal(decode_exact(out, longer, length + 1, 3), KD_EDATA);
    free(longer);
}

/* The text of a header, and pixels behind it. */
static size_t make_pnm(uint8_t *out, const char *header, size_t pixels) {
    size_t n = strlen(header);
    memcpy(out, header, n);
    fill(out + n, (int)pixels);
    return n + pixels;
}

static void test_pnm(void **state) {
    (void)state;
    uint8_t file[256], out[H * W * 3], right[H * W * 3];
    fill(right, sizeof right);
    size_t length = make_pnm(file, "P5\n# made by hand\n7 5\n255\n", H * W);
    assert_int_equal(decode_exact(out, file, length, 1), KD_OK);
    assert_memory_equal(out, right, H * W);
    for (size_t n = 0; n < length; n++) assert_int_equal(decode_exact(out, file, n, 1), KD_EDATA);
    assert_int_equal(decode_exact(out, file, length + 1, 1), KD_EDATA);
    length = make_pnm(file, "P6 7\t5 255\n", H * W * 3);
    assert_int_equal(decode_exact(out, file, length, 3), KD_OK);
    assert_memory_equal(out, right, sizeof right);
    for (size_t n = 0; n < length; n++) assert_int_equal(decode_exact(out, file, n, 3), KD_EDATA);
    const char *wrong[] = {"P5 5 7 255\n",          "P5 7 5 256\n",  "P5 7 5 254\n",
                           "P4 7 5 255\n",          "P5 -7 5 255\n", "P5 7 5 255",
                           "P5 7 4294967301 255\n", "P5 # 7 5 255 "};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        length = make_pnm(file, wrong[i], H * W);
        assert_int_equal(decode_exact(out, file, length, 1), KD_EDATA);
    }
    assert_int_equal(decode_exact(out, "GIF89a", 6, 1), KD_EDATA);
    assert_non_null(strstr(kd_error(), "neither PNG"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_png, test_setup, test_teardown),
        cmocka_unit_test(test_transparent_png),
        cmocka_unit_test(test_png_damage),
        cmocka_unit_test(test_pnm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
