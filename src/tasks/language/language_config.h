/* The configuration of a distillation of a language model: a config whose data.kind is "text". Read
 * as classify/config.h is; docs/language.md lists every key and configs/language.schema.json says
 * the same to editors. */
#ifndef KD_TASKS_LANGUAGE_LANGUAGE_CONFIG_H
#define KD_TASKS_LANGUAGE_LANGUAGE_CONFIG_H

#include "base/file.h"
#include "config/reader.h"
#include "data/store.h"
#include "distill/train_spec.h"
#include "files/packing.h"
#include "quant/budget.h"

enum { KD_TEXTS_MAX = 16, KD_LANGUAGE_LAYERS_MAX = 512, KD_LANGUAGE_QUANTIZE_MAX = 24 };

/* Files and folders of text. */
typedef struct {
    int count;
    char path[KD_TEXTS_MAX][KD_PATH_MAX];
} kd_text_paths;

typedef struct {
    kd_text_paths train, validation, test;
    int64_t context;  /* tokens that are read together                            */
    char source[512]; /* for people, when a file is missing                       */
} kd_language_data;

typedef enum { KD_START_TEACHER, KD_START_RANDOM } kd_language_start;

/* The student: layers of the teacher, or a decoder that begins with random numbers. */
typedef struct {
    int layers;     /* 0: the teacher's, or those of `keep`                                  */
    int keep_count; /* layers of the teacher by number; none: evenly, the first and the last
                       among them                                                            */
    int keep[KD_LANGUAGE_LAYERS_MAX];
    kd_language_start start;
    int width, heads, key_heads, hidden; /* 0: the teacher's; of its numbers the most important
                                            heads and units are kept, and all of the width  */
    int64_t calibration_samples;         /* contexts that tell which those are              */
} kd_language_model;

/* Where the teacher's soft targets come from: it runs beside the student, or has written them down.
 */
typedef enum {
    KD_TEACHER_ONLINE,
    KD_TEACHER_HIDDEN,
    KD_TEACHER_TOPK,
    KD_TEACHER_SAMPLED
} kd_language_targets;

typedef struct {
    char weights[KD_PATH_MAX]; /* a GGUF or a Hugging Face folder                        */
    char source[512];          /* for people, when it is missing                         */
    kd_language_targets targets;
    kd_store_dtype dtype;
    int k, draws;
} kd_language_teacher;

/* One file of the student. Several share the float student they start from. */
typedef struct {
    char name[24];  /* student.<name>.gguf, or the folder student.<name> */
    char stage[32]; /* "qat.<name>": of its checkpoints and log lines  */
    kd_quantize_spec spec;
    kd_budget_spec budget; /* in place of a format */
    char format_name[KD_FORMAT_NAME_MAX];
    char layout[24];             /* of a folder; "": a GGUF                                  */
    kd_packing packing;          /* of a layout                                              */
    bool inputs;                 /* the folder states the largest inputs of matrices         */
    char rounding[16];           /* "": nearest, or one that sees samples           */
    int64_t calibration_samples; /* contexts of the training texts, of one that sees */
    bool qat;                    /* false: the float student's numbers, rounded      */
    kd_train_spec train;
} kd_language_quantize;

typedef struct {
    char name[64]; /* of the run; its folder is <runs>/<name>             */
    uint64_t seed;
    char precision[16]; /* "float32", "bfloat16", "auto"                       */
    kd_language_data data;
    kd_language_model model;
    kd_language_teacher teacher;
    kd_loss_config loss; /* no label smoothing */
    kd_train_spec train;
    int quantize_count;
    kd_language_quantize quantize[KD_LANGUAGE_QUANTIZE_MAX];
    char *resolved; /* JSON text with every default filled in and --set applied */
    kd_hash hash;   /* of `resolved`                                            */
    char path[KD_PATH_MAX];
} kd_language_config;

/* data.kind of these configs. */
#define KD_LANGUAGE_KINDS "text"

extern const kd_config_table kd_language_config_root;

/* As kd_config_load. The caller frees with kd_language_config_free. */
int kd_language_config_load(kd_language_config **out, const char *path, int n,
                            const char *const *sets);
/* The same with changes that stand in another file. */
int kd_language_config_load_changed(kd_language_config **out, const char *path, int n,
                                    const kd_config_change *change);
void kd_language_config_free(kd_language_config *config);

/* Whether the loss asks for a teacher's targets at all. */
static inline bool kd_language_is_taught(const kd_language_config *config) {
    return config->loss.kl > 0 || config->loss.layer_hint_count > 0;
}
/* Whether they are written down first. */
static inline bool kd_language_has_store(const kd_language_config *config) {
    return kd_language_is_taught(config) && config->teacher.targets != KD_TEACHER_ONLINE;
}

#endif
