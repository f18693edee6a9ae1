/* A run's configuration, from strict JSON. docs/configuration.md lists every key;
 * configs/schema.json says the same to editors. */
#ifndef KD_TASKS_CLASSIFY_CONFIG_H
#define KD_TASKS_CLASSIFY_CONFIG_H

#include "autograd/tape.h"
#include "config/reader.h"
#include "data/loader.h"
#include "data/store.h"
#include "distill/train_spec.h"
#include "layers/model.h"
#include "quant/budget.h"

enum { KD_TEACHERS_MAX = 8, KD_QUANTIZE_MAX = 16 };

/* One teacher network: a config of its own to train it, or its weights. */
typedef struct {
    char config[KD_PATH_MAX];  /* "" or a config whose "model" is the teacher              */
    char weights[KD_PATH_MAX]; /* "" or a .safetensors or checkpoint file                  */
    kd_model_spec model;       /* with `weights`                                           */
} kd_teacher_source;

typedef struct {
    bool present;
    int count; /* networks; > 1: an ensemble, mean of logits          */
    kd_teacher_source source[KD_TEACHERS_MAX];
    char store[KD_PATH_MAX]; /* "" or a store made elsewhere; then count = 0        */
    kd_store_kind kind;      /* of the store we make; default dense float16         */
    kd_store_dtype dtype;
    int k;
    int64_t views; /* 0: one clean row per sample; V: V augmented views   */
} kd_teacher_config;

/* One way to quantize the student. Several share the float student they start from. */
typedef struct {
    char
        name[16]; /* of its files; default "int8", else e.g. "w4a8": bits of weights, activations */
    char stage[24]; /* "qat.<name>": of its checkpoints and log lines                  */
    kd_quantize_spec spec;
    kd_budget_spec budget; /* in place of a format: weights are rounded, too */
    char format_name[KD_FORMAT_NAME_MAX]; /* "" or of weights that are rounded; else integers */
    char rounding[16];                    /* with a format: "", or that of a quantizer   */
    int64_t calibration_samples;          /* of the training split, default 512; of integers     */
    bool qat;                             /* false: PTQ only                                     */
    kd_train_spec train; /* QAT; inherits "train", with epochs and rate of its own */
    int64_t delay_steps; /* QAT updates before activation fake-quant begins; of integers */
} kd_quantize_config;

typedef struct {
    char name[64]; /* of the run; its folder is <runs>/<name>             */
    uint64_t seed;
    char precision[16]; /* "float32", "bfloat16", "auto"                       */
    kd_data_spec data;
    kd_augment augment;
    kd_model_spec model; /* the network this config trains (the student)        */
    kd_teacher_config teacher;
    kd_loss_config loss;
    kd_train_spec train;
    int quantize_count; /* 0: nothing is exported */
    kd_quantize_config quantize[KD_QUANTIZE_MAX];
    int correct_bias_count;    /* labels whose output biases are shifted together after training, */
    int correct_bias[16];      /* by what is best on the validation split                         */
    bool baseline;              /* also train the same network without the teacher     */
    kd_loss_config loss_baseline; /* of that: the labels at weight 1, smoothed as in `loss`; nothing
                                  that is learnt of the teacher                   */
    char *resolved;            /* JSON text with every default filled in and --set applied */
    kd_hash hash;              /* of `resolved`                                       */
    char path[KD_PATH_MAX];    /* where it came from                                  */
} kd_config;

/* data.kind of these configs. */
#define KD_CLASSIFY_KINDS "idx|cifar10|audio"

extern const kd_config_table kd_config_root;

/* Reads, checks everything and reports ALL errors at once through kd_log, each as
 * "file:line:column: $.path: what is wrong; did you mean …?", then returns KD_ECONFIG with a
 * summary. `sets` are n "a.b=value" strings (value: JSON, or a bare string). Relative paths in the
 * config are relative to the config's folder, unless absolute. The caller frees with
 * kd_config_free. */
int kd_config_load(kd_config **out, const char *path, int n, const char *const *sets);
/* The same from `length` bytes of text; `path` is what messages and relative paths refer to. */
int kd_config_parse(kd_config **out, const char *text, size_t length, const char *path, int n,
                    const char *const *sets);
/* The same from a file with changes that stand in another file. */
int kd_config_load_changed(kd_config **out, const char *path, int n,
                           const kd_config_change *change);
void kd_config_free(kd_config *config);

#endif
