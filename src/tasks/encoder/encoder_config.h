/* The configuration of an encoder's run (BERT, DistilBERT): a config whose data.kind is "masked",
 * to foretell masked tokens of texts, or "sentences", to tell classes of them. Read as
 * classify/config.h is; docs/encoder.md lists every key and configs/encoder.schema.json says the
 * same to editors. */
#ifndef KD_TASKS_ENCODER_ENCODER_CONFIG_H
#define KD_TASKS_ENCODER_ENCODER_CONFIG_H

#include "base/file.h"
#include "config/reader.h"
#include "distill/train_spec.h"
#include "files/encoding.h"

enum {
    KD_ENCODER_FILES_MAX = 16,
    KD_ENCODER_CLASSES_MAX = 64,
    KD_ENCODER_CLASS_NAME_MAX = 48,
    KD_ENCODER_LAYERS_MAX = 512,
    KD_ENCODER_QUANTIZE_MAX = 8
};

typedef struct {
    int count;
    char path[KD_ENCODER_FILES_MAX][KD_PATH_MAX];
} kd_encoder_files;

typedef enum { KD_ENCODER_MASKED, KD_ENCODER_SENTENCES } kd_encoder_kind;

typedef struct {
    kd_encoder_kind kind;
    kd_encoder_files train, validation, test;
    int64_t context;  /* tokens that are read together, ends included                */
    char source[512]; /* for people, when a file is missing                          */
    int class_count;
    char class_name[KD_ENCODER_CLASSES_MAX][KD_ENCODER_CLASS_NAME_MAX];
} kd_encoder_data;

typedef enum { KD_ENCODER_BERT, KD_ENCODER_DISTILBERT } kd_encoder_type;

typedef struct {
    kd_encoder_type type;
    char weights[KD_PATH_MAX]; /* a model the student begins as; "": the teacher's layers */
    int layers;                /* 0: half of the teacher's for distilbert, else all        */
    int keep_count;            /* layers of the teacher by number; none: evenly            */
    int keep[KD_ENCODER_LAYERS_MAX];
} kd_encoder_student;

typedef struct {
    char weights[KD_PATH_MAX]; /* "": there is none                                      */
    char source[512];          /* for people, when it is missing                         */
} kd_encoder_teacher;

/* The sums' weights and more: L = kl·τ²·KL + hard·CE + cosine·(1 − cos). */
typedef struct {
    double temperature, kl, hard, cosine;
    bool masked_only; /* KL at masked tokens only */
} kd_encoder_loss;

/* One file of the student. */
typedef struct {
    char name[16];                  /* student.<name>.gguf */
    const kd_number_format *format; /* of the matrices, the nearest numbers */
    char format_name[KD_FORMAT_NAME_MAX];
} kd_encoder_quantize;

typedef struct {
    char name[64]; /* of the run; its folder is <runs>/<name>             */
    uint64_t seed;
    char precision[16]; /* "float32", "bfloat16", "auto"                       */
    kd_encoder_data data;
    kd_encoder_student model;
    kd_encoder_teacher teacher;
    kd_encoder_loss loss;
    kd_train_spec train;
    int quantize_count;
    kd_encoder_quantize quantize[KD_ENCODER_QUANTIZE_MAX];
    char *resolved; /* JSON text with every default filled in and --set applied */
    kd_hash hash;   /* of `resolved`                                            */
    char path[KD_PATH_MAX];
} kd_encoder_config;

/* data.kind of these configs. */
#define KD_ENCODER_KINDS "masked|sentences"

extern const kd_config_table kd_encoder_config_root;

/* As kd_config_load. The caller frees with kd_encoder_config_free. */
int kd_encoder_config_load(kd_encoder_config **out, const char *path, int n,
                           const char *const *sets);
/* The same with changes that stand in another file. */
int kd_encoder_config_load_changed(kd_encoder_config **out, const char *path, int n,
                                   const kd_config_change *change);
void kd_encoder_config_free(kd_encoder_config *config);

/* Whether a teacher is asked at all, or only lends layers. */
static inline bool kd_encoder_is_taught(const kd_encoder_config *config) {
    return config->loss.kl > 0 || config->loss.cosine > 0;
}

#endif
