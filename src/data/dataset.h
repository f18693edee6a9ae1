/* A classification data set in memory: raw samples, labels, stable ids, class names.
 *
 * Samples keep their stored form (bytes, or float features for sound) and are normalised when a
 * batch is made, by the one function kd_dataset_normalise that the exported blob's runner uses too.
 */
#ifndef KD_DATA_DATASET_H
#define KD_DATA_DATASET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/rng.h"

enum {
    KD_CLASS_NAME_MAX = 48,
    KD_CLASSES_MAX = 4096,
    KD_CLASS_NAMES_GIVEN_MAX = 64,
    KD_IMAGE_CHANNELS_MAX = 4
};

typedef enum { KD_DATA_IDX, KD_DATA_CIFAR10, KD_DATA_AUDIO } kd_data_kind;
enum { KD_DATA_KINDS = KD_DATA_AUDIO + 1 };
/* The words of configs and exported files. */
extern const char *const kd_data_kind_name[KD_DATA_KINDS];

typedef enum { KD_SPLIT_TRAIN, KD_SPLIT_VALIDATION, KD_SPLIT_TEST } kd_split;

/* What is taken out of each clip by itself (data/clip.h gives the formulas). */
typedef enum { KD_CLIP_PLAIN, KD_CLIP_RANGE, KD_CLIP_BANDS } kd_clip_norm;
enum { KD_CLIP_NORMS = KD_CLIP_BANDS + 1 };
/* The words of configs and exported files. */
extern const char *const kd_clip_norm_name[KD_CLIP_NORMS];

/* Sound → log-mel frames (data/logmel.h gives the formula). */
typedef struct {
    int sample_rate; /* Hz; files at other rates are resampled                 */
    int window, hop; /* samples of the Hann window and between frames; n_fft = window */
    int mels;        /* filters of the Slaney mel scale from 0 to sample_rate/2 */
    double seconds;  /* every clip is cut or padded to this                    */
    double trim;     /* dB: ends this much quieter than the loudest frame are cut off, the rest is
                        put in the middle; 0: clips begin with their file    */
    double range;    /* dB below a clip's loudest value that are kept          */
    kd_clip_norm normalise;
} kd_audio_spec;

typedef struct {
    kd_data_kind kind;
    char folder[1024];         /* IDX: the four idx files, .gz or not; CIFAR10: the .bin files  */
    char train_manifest[1024]; /* AUDIO: TSV lines "path<TAB>label", or a folder of class folders */
    char test_manifest[1024];  /* its labels must be among the training manifest's                */
    kd_audio_spec audio;
    int mean_count; /* 0: no normalisation beyond /255                                */
    float mean[KD_IMAGE_CHANNELS_MAX], deviation[KD_IMAGE_CHANNELS_MAX];
    int64_t validation;  /* samples held out of the training files, chosen by a fixed
                            shuffle of the sample ids that ignores the run's seed          */
    int64_t train_limit; /* 0: all; else the first so many of the same shuffle's rest       */
    int exclude_count;   /* labels left out of the training split (Hinton's omitted digits) */
    int exclude[16];
    int class_name_count; /* IDX: 0 means the ten classes "0" … "9"                         */
    char class_names[KD_CLASS_NAMES_GIVEN_MAX][KD_CLASS_NAME_MAX];
} kd_data_spec;

/* What turns a stored sample into the network's input: x = (raw·unit − mean[c]) / deviation[c],
 * unit 1/255 for bytes and 1 for features. */
typedef struct {
    float unit;
    int channels; /* how many of mean/deviation are meant; 0: only the unit */
    float mean[KD_IMAGE_CHANNELS_MAX], deviation[KD_IMAGE_CHANNELS_MAX];
} kd_normaliser;

typedef struct kd_dataset {
    int64_t count, h, w, c; /* samples; the shape of one. Sound: (frames, mels, 1)        */
    int classes;
    char (*class_name)[KD_CLASS_NAME_MAX];
    uint8_t *bytes;  /* (count,h,w,c) or NULL                                       */
    float *features; /* (count,h,w,c) or NULL                                       */
    int32_t *label;  /* (count)                                                     */
    uint64_t *id;    /* (count) unique; the row of the sample in its source file(s) */
    kd_normaliser normaliser;
    kd_audio_spec audio; /* of sound; else sample_rate is 0                       */
    kd_hash hash;        /* of samples, labels and ids                                  */
} kd_dataset;

/* The caller frees. Rows keep the order of their files. Errors name the file and offset:
 * KD_ENOINPUT when a file is missing, KD_EDATA for wrong content, KD_ECONFIG when the spec asks for
 * the impossible (more held out than there is, a mean for each of 3 channels of a grey image …). */
int kd_dataset_open(kd_dataset **out, const kd_data_spec *spec, kd_split split);
void kd_dataset_free(kd_dataset *dataset);

/* The same without its samples and without reading them: shape, classes, normaliser, settings of
 * sound, and as `count` all rows of the training or the test files; no labels, no ids, no hash. */
int kd_dataset_head(kd_dataset **out, const kd_data_spec *spec, kd_split split);
/* Of that what the spec alone says, with no look at a file: for idx files height and width stay 0,
 * for sound there are no classes. */
int kd_dataset_stated(kd_dataset **out, const kd_data_spec *spec);

/* That samples of `a` and of `b` can go through the same network and mean the same: shape, classes
 * in their order, settings of sound. What one of them does not know (kd_dataset_stated) is not
 * compared, nor is the normaliser. The names are for the message: KD_EDATA for another shape,
 * KD_ECONFIG for the rest. */
int kd_dataset_agree(const kd_dataset *a, const char *a_name, const kd_dataset *b,
                     const char *b_name);
/* The parts of it. */
int kd_class_names_agree(int a_classes, const char (*a)[KD_CLASS_NAME_MAX], const char *a_name,
                         int b_classes, const char (*b)[KD_CLASS_NAME_MAX], const char *b_name);
int kd_audio_agree(const kd_audio_spec *a, const char *a_name, const kd_audio_spec *b,
                   const char *b_name);

bool kd_normaliser_equal(const kd_normaliser *a, const kd_normaliser *b);

/* Sample `index` as the network sees it, into out (h,w,c). */
void kd_dataset_sample(const kd_dataset *dataset, int64_t index, float *out);

/* Normalises `pixels` positions of `c` channels from bytes or from features; how->channels is 0 or
 * c. */
void kd_normalise_bytes(float *out, const uint8_t *raw, int64_t pixels, int64_t c,
                        const kd_normaliser *how);
void kd_normalise_features(float *out, const float *raw, int64_t pixels, int64_t c,
                           const kd_normaliser *how);

/* What kd_normalise_bytes makes of each byte, so that a batch is made by looking up: the value of
 * byte b in channel k is table[k][b], or table[0][b] for all k when how->channels is 0. */
void kd_normalise_table(float table[KD_IMAGE_CHANNELS_MAX][256], const kd_normaliser *how);

#endif
