/* Inside data/: what the reader of one format hands to kd_dataset_open, and the decoders of bytes
 * in memory that the readers are made of. */
#ifndef KD_DATA_DATASET_SOURCE_H
#define KD_DATA_DATASET_SOURCE_H

#include <stdbool.h>
#include <stddef.h>

#include "data/dataset.h"

/* All rows of the training files or of the test files. Everything is owned; kd_source_free. */
typedef struct {
    int64_t count, h, w, c;
    int classes;
    char (*class_name)[KD_CLASS_NAME_MAX]; /* (classes)                                     */
    int32_t *label;                        /* (count), each in 0 … classes−1                */
    uint8_t *bytes;                        /* (count,h,w,c); NULL for sound                 */
    char **path;                           /* (count) sound: the files, not yet decoded     */
} kd_source;

/* How much of a source is wanted. */
typedef enum {
    KD_SOURCE_STATED, /* what stands in the spec, with no look at a file: counts, and what only
                         files tell, stay 0                                                    */
    KD_SOURCE_HEAD,   /* with the counts, shape and classes that the files have; no samples   */
    KD_SOURCE_ALL
} kd_source_part;

int kd_source_idx(kd_source *out, const kd_data_spec *spec, bool train, kd_source_part part);
int kd_source_cifar10(kd_source *out, const kd_data_spec *spec, bool train, kd_source_part part);
int kd_source_audio(kd_source *out, const kd_data_spec *spec, bool train, kd_source_part part);
void kd_source_free(kd_source *source);

/* Decodes the files of rows row[0 … n−1] into out (n,h,w,1), several at a time. */
int kd_source_audio_features(float *out, const kd_source *source, const kd_audio_spec *audio,
                             const int64_t *row, int64_t n);

/* Room for `classes` names, all "". */
int kd_source_make_classes(kd_source *source, int classes);

enum { KD_IDX_RANK_MAX = 3, KD_CIFAR_RECORD = 3073, KD_CIFAR_PIXELS = 3072 };

/* One idx file of unsigned bytes. */
typedef struct {
    int64_t dim[KD_IDX_RANK_MAX];
    uint8_t *values; /* the product of dim; the caller frees */
} kd_idx;

/* `bytes` is a whole idx file of `rank` dimensions, gzip'ed or not; `name` is for messages. */
int kd_idx_decode(kd_idx *out, int rank, const uint8_t *bytes, size_t length, const char *name);

/* `bytes` are whole CIFAR-10 records: *count of them. */
int kd_cifar_count(int64_t *count, int64_t length, const char *name);
/* Into label (count) and pixels (count,32,32,3). */
int kd_cifar_decode(int32_t *label, uint8_t *pixels, const uint8_t *bytes, int64_t count,
                    const char *name);

#endif
