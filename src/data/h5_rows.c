#include "data/h5_rows.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "data/h5_inside.h"

enum { PLANE = 4096 }; /* numbers whose bytes are gathered at once */

/* --- finding -------------------------------------------------------------------------------- */

static int64_t ceil_of(int64_t n, int64_t of) {
    return (n - 1) / of + 1;
}

static int refuse(hid_t file, const char *name, const char *what) {
    char place[KD_H5_PLACE_MAX];
    return kd_fail(KD_EDATA, "%s: %s", kd_h5_place(place, file, name), what);
}

/* How its chunks are cut and filtered: checksums stand behind the numbers, and bytes may have been
 * shuffled before. */
static int read_layout(kd_h5_rows *r, hid_t list, hid_t file, const char *name) {
    hsize_t chunk[2] = {(hsize_t)r->rows, (hsize_t)r->width};
    unsigned options = 0;
    bool summed = false;
    if (H5Pget_layout(list) == H5D_CHUNKED &&
        (H5Pget_chunk(list, 2, chunk) != 2 || H5Pget_chunk_opts(list, &options) < 0))
        return kd_h5_fail(KD_EDATA, file, name, "read the layout of");
    r->chunk_rows = (int64_t)chunk[0];
    r->chunk_width = (int64_t)chunk[1];
    for (int i = 0; i < H5Pget_nfilters(list); i++) {
        unsigned flags, config;
        size_t parameters = 0;
        const bool shuffle = H5Pget_filter2(list, (unsigned)i, &flags, &parameters, NULL, 0, NULL,
                                            &config) == H5Z_FILTER_SHUFFLE;
        if (shuffle && (r->shuffled || summed || options))
            return refuse(file, name, "has filters in an order this program does not read");
        r->shuffled |= shuffle;
        summed |= !shuffle;
    }
    return KD_OK;
}

static int find_chunks(kd_h5_rows *r, hid_t set, bool chunked, int64_t file_size, hid_t file,
                       const char *name) {
    const int64_t down = ceil_of(r->rows, r->chunk_rows),
                  across = ceil_of(r->width, r->chunk_width);
    const int64_t bytes = r->chunk_rows * r->chunk_width * (int64_t)r->element;
    const size_t count = (size_t)down * (size_t)across; /* not more than the dataset's numbers */
    r->place = malloc(count * sizeof *r->place);
    if (!r->place) return kd_fail_memory(count * sizeof *r->place, name);
    for (size_t i = 0; i < count; i++) {
        const hsize_t first[2] = {(hsize_t)((int64_t)i / across * r->chunk_rows),
                                  (hsize_t)((int64_t)i % across * r->chunk_width)};
        const int64_t at = chunked ? kd_h5_place_of_chunk(set, first) : kd_h5_place_of_all(set);
        if (at < 0 || bytes > file_size - at)
            return refuse(file, name,
                          "has numbers that were never stored, or lie outside the file");
        r->place[i] = at;
    }
    return KD_OK;
}

int kd_h5_rows_find(kd_h5_rows *out, hid_t file, const char *name, const int64_t shape[2],
                    hid_t type) {
    hid_t set, stored, list = H5I_INVALID_HID;
    kd_h5_integer integer;
    *out = (kd_h5_rows){.rows = shape[0], .width = shape[1]};
    int status = kd_h5_open_expected(&set, &stored, &integer, file, name, 2, shape, type);
    if (status == KD_OK && (list = H5Dget_create_plist(set)) < 0)
        status = kd_h5_fail(KD_EDATA, file, name, "read the layout of");
    if (status < 0) goto done;
    const H5D_layout_t layout = H5Pget_layout(list);
    out->element = H5Tget_size(stored);
    out->is_integer = integer.size > 0;
    out->big = integer.big;
    out->has_sign = integer.has_sign;
    if (layout == H5D_COMPACT)
        status = refuse(file, name, "is compact; store it contiguous or chunked");
    if (status == KD_OK) status = read_layout(out, list, file, name);
    if (status == KD_OK)
        status = find_chunks(out, set, layout == H5D_CHUNKED, kd_h5_file_size(file), file, name);
done:
    if (list >= 0) H5Pclose(list);
    kd_h5_close_both(set, stored);
    return status;
}

void kd_h5_rows_clear(kd_h5_rows *rows) {
    free(rows->place);
    *rows = (kd_h5_rows){0};
}

/* --- reading -------------------------------------------------------------------------------- */

/* Numbers that lie one behind the other in a chunk. */
typedef struct {
    int64_t place, first, n; /* of the chunk; in the chunk; how many */
} stretch;

/* The longest stretch that begins with number `at`, of at most `most`. */
static stretch stretch_at(const kd_h5_rows *r, int64_t at, int64_t most) {
    const int64_t row = at / r->width, column = at % r->width;
    const int64_t down = row % r->chunk_rows, right = column % r->chunk_width;
    const int64_t chunk =
        row / r->chunk_rows * ceil_of(r->width, r->chunk_width) + column / r->chunk_width;
    const int64_t to_edge = r->chunk_width - right, to_end = r->width - column;
    int64_t n = to_edge < to_end ? to_edge : to_end;
    if (r->chunk_width == r->width) n += (r->chunk_rows - down - 1) * r->width;
    return (stretch){r->place[chunk], down * r->chunk_width + right, n < most ? n : most};
}

/* Byte b of every number lies in the chunk's b-th part. */
static int read_shuffled(const kd_h5_rows *r, int fd, const char *path, const stretch *from,
                         unsigned char *out) {
    unsigned char plane[PLANE];
    const int64_t all = r->chunk_rows * r->chunk_width;
    for (int64_t done = 0; done < from->n; done += PLANE) {
        const int64_t n = from->n - done < PLANE ? from->n - done : PLANE;
        for (size_t b = 0; b < r->element; b++) {
            const int64_t at = from->place + (int64_t)b * all + from->first + done;
            int status = kd_file_read_at(fd, path, plane, (size_t)n, at);
            if (status < 0) return status;
            for (int64_t i = 0; i < n; i++) out[(size_t)(done + i) * r->element + b] = plane[i];
        }
    }
    return KD_OK;
}

int kd_h5_rows_read(const kd_h5_rows *rows, int fd, const char *path, int64_t first, int64_t n,
                    void *raw) {
    unsigned char *out = raw;
    const int64_t element = (int64_t)rows->element;
    for (int64_t done = 0; done < n;) {
        const stretch from = stretch_at(rows, first + done, n - done);
        int status = rows->shuffled ? read_shuffled(rows, fd, path, &from, out + done * element)
                                    : kd_file_read_at(fd, path, out + done * element,
                                                      (size_t)(from.n * element),
                                                      from.place + from.first * element);
        if (status < 0) return status;
        done += from.n;
    }
    return KD_OK;
}

void kd_h5_rows_expect(const kd_h5_rows *rows, int fd, int64_t first, int64_t n) {
    const int64_t element = (int64_t)rows->element;
    for (int64_t done = 0; done < n;) {
        const stretch from = stretch_at(rows, first + done, n - done);
        const int64_t parts = rows->shuffled ? element : 1, bytes = from.n * element / parts;
        for (int64_t b = 0; b < parts; b++)
            posix_fadvise(fd,
                          from.place + from.first * element / parts +
                              b * rows->chunk_rows * rows->chunk_width,
                          bytes, POSIX_FADV_WILLNEED);
        done += from.n;
    }
}

int kd_h5_rows_integers(const kd_h5_rows *rows, const char *path, const char *name, int64_t first,
                        int64_t n, const void *raw, int32_t *out) {
    const kd_h5_integer wanted = {sizeof *out, false, true};
    const kd_h5_integer stored = {rows->element, rows->big, rows->has_sign};
    char says[32];
    if (!rows->is_integer) {
        memcpy(out, raw, (size_t)n * sizeof *out);
        return KD_OK;
    }
    const size_t at = kd_h5_convert(out, &wanted, raw, &stored, (size_t)n, says);
    if (at == (size_t)n) return KD_OK;
    return kd_fail(KD_EDATA, "%s: /%s: number %lld is %s, which int32 does not hold", path, name,
                   (long long)first + (long long)at, says);
}
