#include "data/image.h"

#include <png.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/error.h"
#include "base/file.h"

static const size_t FILE_LIMIT = (size_t)256 << 20;

typedef struct {
    const uint8_t *bytes;
    size_t length;
    const char *name;
    int64_t h, w, c; /* what is wanted */
} request;

static int check_size(const request *r, uint64_t h, uint64_t w) {
    if (h == (uint64_t)r->h && w == (uint64_t)r->w) return KD_OK;
    return kd_fail(KD_EDATA, "%s: %llu wide and %llu high; the network takes %lld by %lld", r->name,
                   (unsigned long long)w, (unsigned long long)h, (long long)r->w, (long long)r->h);
}

/* Between grey and RGB; `from` has 1 or 3 channels. */
static void convert(uint8_t *out, const request *r, const uint8_t *in, int64_t from) {
    for (int64_t i = 0; i < r->h * r->w; i++) {
        const uint8_t *p = in + i * from;
        if (from == r->c)
            memcpy(out + i * r->c, p, (size_t)from);
        else if (from == 1)
            memset(out + i * r->c, p[0], (size_t)r->c);
        else
            out[i] = (uint8_t)((299 * p[0] + 587 * p[1] + 114 * p[2] + 500) / 1000);
    }
}

/* --- PNG ---------------------------------------------------------------------------------------
 */

static const uint8_t PNG_MAGIC[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};

static uint32_t big_endian(const uint8_t *b) {
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* libpng forgives chunks that are damaged or cut behind the last pixel, so they (u32 length, type,
 * data, crc32 of type and data) are walked first: all whole, all sound, IEND last. */
static int check_chunks(const request *r) {
    size_t at = sizeof PNG_MAGIC;
    for (;;) {
        size_t left = r->length - at;
        uint32_t size = left >= 12 ? big_endian(r->bytes + at) : 0;
        if (left < 12 || size > left - 12)
            return kd_fail(KD_EDATA, "%s: at byte %zu: the PNG chunk is cut short", r->name, at);
        const uint8_t *type = r->bytes + at + 4;
        if (crc32(0, type, size + 4) != big_endian(type + 4 + size))
            return kd_fail(KD_EDATA, "%s: at byte %zu: the PNG chunk's checksum is wrong", r->name,
                           at);
        at += 12 + (size_t)size;
        if (memcmp(type, "IEND", 4) == 0) break;
    }
    if (at != r->length)
        return kd_fail(KD_EDATA, "%s: at byte %zu: %zu bytes behind the PNG's end", r->name, at,
                       r->length - at);
    return KD_OK;
}

/* What libpng is handed of a file, and what it said. */
typedef struct {
    const request *r;
    size_t at;
    bool out_of_memory;
    char message[96];
    uint8_t *pixels; /* RGB or grey, with alpha where the file has transparency */
    png_bytep *row;  /* (h) into pixels                                         */
} png_reader;

static void png_take(png_structp png, png_bytep out, size_t length) {
    png_reader *reader = png_get_io_ptr(png);
    if (length > reader->r->length - reader->at) png_error(png, "it ends too early");
    memcpy(out, reader->r->bytes + reader->at, length);
    reader->at += length;
}

_Noreturn static void png_failed(png_structp png, png_const_charp message) {
    png_reader *reader = png_get_error_ptr(png);
    snprintf(reader->message, sizeof reader->message, "%s", message);
    png_longjmp(png, 1);
}

static void png_warned(png_structp png, png_const_charp message) {
    (void)png;
    (void)message;
}

static png_voidp png_room(png_structp png, png_alloc_size_t bytes) {
    png_reader *reader = png_get_mem_ptr(png);
    void *room = malloc(bytes);
    if (!room) reader->out_of_memory = true;
    return room;
}

static void png_free_room(png_structp png, png_voidp room) {
    (void)png;
    free(room);
}

/* Asks for 8 bits a sample as they are encoded: palettes and fewer bits are expanded, 16 bits
 * scaled by 255/65535; no chunk about colour (gAMA, sRGB, iCCP) changes a value, as in Pillow. */
static void png_ask(png_structp png, png_infop info) {
    png_set_expand(png);
    png_set_scale_16(png);
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
}

/* x·a/255 over black, rounded; returns the number of channels that are left. */
static int64_t drop_alpha(uint8_t *pixels, int64_t count, int64_t channels) {
    if (channels % 2 == 1) return channels;
    const int64_t colours = channels - 1;
    for (int64_t i = 0; i < count; i++) {
        const int alpha = pixels[i * channels + colours];
        for (int64_t c = 0; c < colours; c++)
            pixels[i * colours + c] = (uint8_t)((pixels[i * channels + c] * alpha + 127) / 255);
    }
    return colours;
}

/* Between libpng's setjmp and its end; a status. What it allocates is in `reader`. */
static int read_png(uint8_t *out, png_structp png, png_infop info, png_reader *reader) {
    const request *r = reader->r;
    png_read_info(png, info);
    int status = check_size(r, png_get_image_height(png, info), png_get_image_width(png, info));
    if (status < 0) return status;
    png_ask(png, info);
    const int64_t channels = png_get_channels(png, info);
    const size_t line = png_get_rowbytes(png, info), h = (size_t)r->h;
    KD_CONTRACT(line == (size_t)(r->w * channels), "%zu bytes a row of a PNG", line);
    reader->pixels = malloc(h * line);
    reader->row = malloc(h * sizeof *reader->row);
    if (!reader->pixels || !reader->row) return kd_fail_memory(h * line, r->name);
    for (size_t i = 0; i < h; i++) reader->row[i] = reader->pixels + i * line;
    png_read_image(png, reader->row);
    png_read_end(png, NULL);
    convert(out, r, reader->pixels, drop_alpha(reader->pixels, r->h * r->w, channels));
    return KD_OK;
}

static int decode_png(uint8_t *out, const request *r) {
    int status = check_chunks(r);
    if (status < 0) return status;
    png_reader reader = {.r = r};
    png_infop info = NULL;
    png_structp png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, &reader, png_failed,
                                               png_warned, &reader, png_room, png_free_room);
    if (png) info = png_create_info_struct(png);
    if (!info) {
        status = kd_fail_memory(1 << 12, "libpng");
    } else if (setjmp(png_jmpbuf(png))) {
        status = reader.out_of_memory
                     ? kd_fail_memory(r->length, r->name)
                     : kd_fail(KD_EDATA, "%s: broken PNG: %s", r->name, reader.message);
    } else {
        png_set_read_fn(png, &reader, png_take);
        status = read_png(out, png, info, &reader);
    }
    free(reader.pixels);
    free(reader.row);
    png_destroy_read_struct(&png, &info, NULL);
    return status;
}

/* --- PGM and PPM -------------------------------------------------------------------------------
 */

static bool is_space(uint8_t b) {
    return b == ' ' || (b >= '\t' && b <= '\r');
}

/* The next number of the header, behind spaces and comments; false when there is none. */
static bool take_number(const request *r, size_t *at, uint64_t *out) {
    size_t i = *at;
    while (i < r->length && (is_space(r->bytes[i]) || r->bytes[i] == '#')) {
        if (r->bytes[i] == '#')
            while (i < r->length && r->bytes[i] != '\n') i++;
        else
            i++;
    }
    size_t first = i;
    for (*out = 0; i < r->length && r->bytes[i] >= '0' && r->bytes[i] <= '9'; i++) {
        if (i - first == 9) return false; /* no sensible header has ten digits */
        *out = *out * 10 + (uint64_t)(r->bytes[i] - '0');
    }
    bool found = i > first;
    *at = i;
    return found;
}

static int decode_pnm(uint8_t *out, const request *r) {
    int64_t channels = r->bytes[1] == '5' ? 1 : 3;
    uint64_t w, h, most;
    size_t at = 2;
    if (!take_number(r, &at, &w) || !take_number(r, &at, &h) || !take_number(r, &at, &most) ||
        at >= r->length || !is_space(r->bytes[at]))
        return kd_fail(KD_EDATA, "%s: at byte %zu: should be width, height and largest value",
                       r->name, at);
    at++;
    int status = check_size(r, h, w);
    if (status < 0) return status;
    if (most != 255)
        return kd_fail(KD_EDATA, "%s: largest value %llu; only 255 can be read", r->name,
                       (unsigned long long)most);
    size_t wanted = (size_t)(r->h * r->w * channels);
    if (r->length - at != wanted)
        return kd_fail(KD_EDATA, "%s: %zu bytes of pixels from byte %zu, should be %zu", r->name,
                       r->length - at, at, wanted);
    convert(out, r, r->bytes + at, channels);
    return KD_OK;
}

int kd_image_decode(uint8_t *out, const void *bytes, size_t length, const char *name, int64_t h,
                    int64_t w, int64_t c) {
    KD_CONTRACT(h >= 1 && w >= 1 && h <= 1 << 20 && w <= 1 << 20 && (c == 1 || c == 3),
                "%lld x %lld x %lld", (long long)h, (long long)w, (long long)c);
    request r = {.bytes = bytes, .length = length, .name = name, .h = h, .w = w, .c = c};
    if (length >= sizeof PNG_MAGIC && memcmp(bytes, PNG_MAGIC, sizeof PNG_MAGIC) == 0)
        return decode_png(out, &r);
    if (length >= 2 && (memcmp(bytes, "P5", 2) == 0 || memcmp(bytes, "P6", 2) == 0))
        return decode_pnm(out, &r);
    return kd_fail(
        KD_EDATA,
        "%s: at byte 0: neither PNG nor PGM (P5) nor PPM (P6) (one sample of an idx file "
        "is %s:N)",
        name, name);
}

int kd_image_read(uint8_t *out, const char *path, int64_t h, int64_t w, int64_t c) {
    char *bytes;
    size_t length;
    int status = kd_file_read(&bytes, &length, path, FILE_LIMIT);
    if (status < 0) return status;
    status = kd_image_decode(out, bytes, length, path, h, w, c);
    free(bytes);
    return status;
}
