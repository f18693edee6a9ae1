/* The configuration of a distillation of a speech recogniser: a config whose model.type is
 * "whisper". Read as classify/config.h is; docs/speech.md lists every key and
 * configs/speech.schema.json says the same to editors. */
#ifndef KD_TASKS_SPEECH_SPEECH_CONFIG_H
#define KD_TASKS_SPEECH_SPEECH_CONFIG_H

#include "config/reader.h"
#include "data/store.h"
#include "distill/train_spec.h"
#include "quant/budget.h"
#include "tasks/speech/windows.h"

enum { KD_MANIFESTS_MAX = 16, KD_SPEECH_QUANTIZE_MAX = 24 };

/* Files and folders that list utterances (data/utterances.h). */
typedef struct {
    int count;
    char path[KD_MANIFESTS_MAX][KD_PATH_MAX];
} kd_manifests;

typedef enum { KD_CACHE_AUTO, KD_CACHE_ON, KD_CACHE_OFF } kd_cache_choice;

typedef struct {
    kd_manifests train, validation, test;
    char language[32]; /* code or English name, for multilingual models                    */
    kd_join concatenate;
    kd_cache_choice encoder_cache; /* the frozen encoder's outputs on disk                 */
    char source[512];              /* for people, when a file is missing                   */
} kd_speech_data;

typedef struct {
    char weights[KD_PATH_MAX]; /* a .bin or GGUF file, or a Hugging Face folder           */
    char source[512];          /* for people, when it is missing                          */
    double wer;                /* word error rate of a label from which on it is not used */
    kd_store_kind kind;        /* hidden or top-k                                          */
    kd_store_dtype dtype;
    int k;
} kd_speech_teacher;

/* One file of the student. Several share the float student they start from. */
typedef struct {
    char name[16];  /* student.<name>.bin, student.<name>.gguf                    */
    char stage[24]; /* "qat.<name>": of its checkpoints and log lines             */
    kd_quantize_spec spec;
    kd_budget_spec budget; /* in place of a format */
    char format_name[KD_FORMAT_NAME_MAX];
    char rounding[16];           /* "": nearest, or one that sees samples                  */
    int64_t calibration_samples; /* windows of the training lists, of one that sees them   */
    char imatrix[KD_PATH_MAX];   /* what was seen elsewhere, or ""                         */
    bool qat;                    /* false: the float student's numbers, rounded                */
    kd_train_spec train;
} kd_speech_quantize;

typedef struct {
    char name[64]; /* of the run; its folder is <runs>/<name>             */
    uint64_t seed;
    char precision[16]; /* "float32", "bfloat16", "auto"                       */
    kd_speech_data data;
    int encoder_layers, decoder_layers; /* of the student; 0: the teacher's            */
    kd_speech_teacher teacher;
    kd_loss_config loss; /* no label smoothing, no hints */
    kd_train_spec train;
    int quantize_count;
    kd_speech_quantize quantize[KD_SPEECH_QUANTIZE_MAX];
    char *resolved; /* JSON text with every default filled in and --set applied */
    kd_hash hash;   /* of `resolved`                                            */
    char path[KD_PATH_MAX];
} kd_speech_config;

/* data.kind of these configs. */
#define KD_SPEECH_KINDS "speech"

extern const kd_config_table kd_speech_config_root;

/* As kd_config_load. The caller frees with kd_speech_config_free. */
int kd_speech_config_load(kd_speech_config **out, const char *path, int n, const char *const *sets);
/* The same with changes that stand in another file. */
int kd_speech_config_load_changed(kd_speech_config **out, const char *path, int n,
                                  const kd_config_change *change);
void kd_speech_config_free(kd_speech_config *config);

#endif
