/* Pictures: PNG through libpng, PGM and PPM by hand; conversions, wrong sizes, damage. */
#include "test_data.h"

#include <math.h>
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

/* --- every kind of PNG ---------------------------------------------------------------------- */

typedef struct {
    int type, depth;
    bool interlaced, key; /* key: one colour, or palette entries, transparent by a tRNS chunk */
    bool gamma;           /* chunks that say the samples are linear light                     */
} png_kind;

enum { FILE_MAX = 1 << 14 };
typedef struct {
    uint8_t bytes[FILE_MAX];
    size_t length;
} memory_file;

static void write_memory(png_structp png, png_bytep bytes, size_t length) {
    memory_file *file = png_get_io_ptr(png);
    assert_true(file->length + length <= FILE_MAX);
    memcpy(file->bytes + file->length, bytes, length);
    file->length += length;
}

static int png_channels(int type) {
    return type == PNG_COLOR_TYPE_RGB          ? 3
           : type == PNG_COLOR_TYPE_RGB_ALPHA  ? 4
           : type == PNG_COLOR_TYPE_GRAY_ALPHA ? 2
                                               : 1;
}

static const png_color COLOUR[4] = {{1, 2, 3}, {250, 100, 7}, {0, 255, 90}, {40, 41, 42}};
static const png_byte COLOUR_ALPHA[4] = {255, 77, 0, 200};

/* sample (H,W,channels) of `depth` bits each. */
static void write_png(memory_file *file, const png_kind *kind, const uint16_t *sample) {
    const int colours = kind->depth == 1 ? 2 : 4; /* of a palette */
    file->length = 0;
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_set_write_fn(png, file, write_memory, NULL);
    png_set_IHDR(png, info, W, H, kind->depth, kind->type,
                 kind->interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (kind->type == PNG_COLOR_TYPE_PALETTE) png_set_PLTE(png, info, COLOUR, colours);
    png_color_16 key = {.gray = sample[0], .red = sample[0], .green = sample[1], .blue = sample[2]};
    if (kind->key)
        png_set_tRNS(png, info, COLOUR_ALPHA, kind->type == PNG_COLOR_TYPE_PALETTE ? colours : 0,
                     &key);
    if (kind->gamma) png_set_gAMA(png, info, 1.0);
    const int channels = png_channels(kind->type);
    uint8_t packed[H][W * 8] = {0};
    png_bytep row[H];
    for (int y = 0; y < H; y++) {
        row[y] = packed[y];
        for (int i = 0; i < W * channels; i++) {
            const uint16_t v = sample[y * W * channels + i];
            const int bit = i * kind->depth, end = 8 - kind->depth - bit % 8;
            if (kind->depth == 16) packed[y][2 * i] = (uint8_t)(v >> 8);
            if (kind->depth == 16)
                packed[y][2 * i + 1] = (uint8_t)v;
            else
                packed[y][bit / 8] = (uint8_t)(packed[y][bit / 8] | v << end);
        }
    }
    png_set_rows(png, info, row);
    png_write_png(png, info, PNG_TRANSFORM_IDENTITY, NULL);
    png_destroy_write_struct(&png, &info);
}

/* What the header promises for pixel `at`: RGB on black. */
static void expected_pixel(double out[3], const png_kind *kind, const uint16_t *sample, int at) {
    const int channels = png_channels(kind->type), colours = channels < 3 ? 1 : 3;
    const uint16_t *v = sample + at * channels;
    const double scale = 255.0 / ((1 << kind->depth) - 1);
    double alpha = channels % 2 == 0 ? floor(v[colours] * scale + 0.5) : 255;
    for (int c = 0; c < 3; c++) out[c] = floor(v[colours == 3 ? c : 0] * scale + 0.5);
    if (kind->type == PNG_COLOR_TYPE_PALETTE) {
        const png_color *p = &COLOUR[v[0]];
        out[0] = p->red;
        out[1] = p->green;
        out[2] = p->blue;
        if (kind->key) alpha = COLOUR_ALPHA[v[0]];
    } else if (kind->key && memcmp(v, sample, (size_t)channels * sizeof *v) == 0) {
        alpha = 0;
    }
    for (int c = 0; c < 3; c++) out[c] = floor(out[c] * alpha / 255 + 0.5);
}

static void test_every_kind_of_png(void **state) {
    (void)state;
    static memory_file file;
    static const struct {
        int type, depth;
    } form[] = {{0, 1}, {0, 2}, {0, 4}, {0, 8}, {0, 16}, {2, 8}, {2, 16}, {3, 1},
                {3, 2}, {3, 4}, {3, 8}, {4, 8}, {4, 16}, {6, 8}, {6, 16}};
    for (int n = 0; n < (int)(sizeof form / sizeof *form) * 8; n++) {
        const png_kind kind = {form[n / 8].type, form[n / 8].depth, n & 1, n & 2, n & 4};
        const int channels = png_channels(kind.type);
        if (kind.key && channels % 2 == 0) continue; /* has alpha of its own */
        uint16_t sample[H * W * 4];
        const int values =
            kind.type == PNG_COLOR_TYPE_PALETTE ? (kind.depth == 1 ? 2 : 4) : 1 << kind.depth;
        for (int i = 0; i < H * W * channels; i++)
            sample[i] = (uint16_t)((i * 7919 + i / 5 * 25700 + 25700) % values);
        write_png(&file, &kind, sample);
        uint8_t out[H * W * 3], grey[H * W];
        assert_int_equal(decode_exact(out, file.bytes, file.length, 3), KD_OK);
        assert_int_equal(decode_exact(grey, file.bytes, file.length, 1), KD_OK);
        for (int i = 0; i < H * W; i++) {
            double right[3];
            expected_pixel(right, &kind, sample, i);
            for (int c = 0; c < 3; c++)
                if (out[3 * i + c] != (int)right[c])
                    fail_msg("type %d, %d bits, flags %d: pixel %d is %d, should be %g", kind.type,
                             kind.depth, n & 7, i, out[3 * i + c], right[c]);
            double y = 0.299 * right[0] + 0.587 * right[1] + 0.114 * right[2];
            assert_true(fabs(grey[i] - y) <= 0.501);
        }
    }
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
        cmocka_unit_test(test_every_kind_of_png),
        cmocka_unit_test(test_png_damage),
        cmocka_unit_test(test_pnm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
