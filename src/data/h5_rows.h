/* Rows of a large dataset, read where they lie in the file: the dataset is found and checked once,
 * by libhdf5; from then on numbers are read with pread, without libhdf5, of a file that it has
 * closed, by several threads at once. Only rows that are asked for come into memory.
 *
 * Numbers are counted through the dataset's rows: number r·width + c is that of row r, column c.
 */
#ifndef KD_DATA_H5_ROWS_H
#define KD_DATA_H5_ROWS_H

#include "data/h5.h"

typedef struct {
    int64_t rows, width;             /* of the dataset                                         */
    int64_t chunk_rows, chunk_width; /* of a chunk; a contiguous dataset is one                */
    int64_t *place;                  /* by chunk, in row order: its first byte in the file     */
    size_t element;                  /* bytes of a stored number                               */
    bool shuffled;                   /* of each chunk, all first bytes, then all second ones … */
    bool is_integer, big, has_sign;  /* a whole number that kd_h5_rows_integers must convert   */
} kd_h5_rows;

/* The dataset `name`, which must be as kd_h5_expect wants it, of shape (rows,width). KD_EDATA also
 * when its bytes do not all lie in the file where they can be read. 8 bytes of memory for each
 * chunk; the caller clears *out, also after an error. */
int kd_h5_rows_find(kd_h5_rows *out, hid_t file, const char *name, const int64_t shape[2],
                    hid_t type);
void kd_h5_rows_clear(kd_h5_rows *rows);

/* Numbers `first` … first+n−1 from the open file `fd`, as they are stored: n·element bytes. KD_EIO
 * when the file has become shorter; `path` is for messages. */
int kd_h5_rows_read(const kd_h5_rows *rows, int fd, const char *path, int64_t first, int64_t n,
                    void *raw);
/* Lets the system bring them into its memory; returns at once. */
void kd_h5_rows_expect(const kd_h5_rows *rows, int fd, int64_t first, int64_t n);

/* n numbers of an int32 column as they were read. KD_EDATA when one does not fit, counted from
 * `first`. */
int kd_h5_rows_integers(const kd_h5_rows *rows, const char *path, const char *name, int64_t first,
                        int64_t n, const void *raw, int32_t *out);

#endif
