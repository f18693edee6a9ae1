/* libdistill: run the students that `distill` exports, hear with Whisper models, read a teacher's
 * stored soft targets, and take the losses of distillation on plain arrays.
 *
 *     cc program.c $(pkg-config --cflags --libs distill)
 *
 * Arrays are row-major, the last axis runs fastest; sizes stand in brackets: logits (n,classes).
 * Every function that can fail returns DISTILL_OK (0) or one of the negative codes below; then
 * distill_error() says what was found, where, and what would be right. The library neither prints
 * nor exits. What is opened is closed by its own close function, which takes NULL too. Different
 * objects may be used by different threads at once, one object by one thread at a time; work is
 * spread over OpenMP's threads inside.
 *
 * Versions: docs/versions.md. A program built against 0.x runs with every later 0.x of the same x.
 */
#ifndef DISTILL_H
#define DISTILL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DISTILL_VERSION "0.2.0"
#define DISTILL_API     __attribute__((visibility("default")))

/* The negated exit codes of the program. */
enum {
    DISTILL_OK = 0,
    DISTILL_EUSAGE = -64,    /* an argument that this function does not take        */
    DISTILL_EDATA = -65,     /* a file's content is not what it should be           */
    DISTILL_ENOINPUT = -66,  /* a file is not there                                 */
    DISTILL_EINTERNAL = -70, /* no memory                                           */
    DISTILL_EIO = -74        /* reading failed                                      */
};

/* The version of the library that is running: "0.2.0". */
DISTILL_API const char *distill_version(void);

/* This thread's last message; "" before the first. Valid until the thread's next failure. */
DISTILL_API const char *distill_error(void);

/* --- an exported student: classes of pictures or sounds, by integers alone -------------------- */

typedef struct distill_model distill_model;

typedef struct {
    int64_t height, width, channels; /* of a sample; of sound: frames, mels, 1      */
    int64_t classes, parameters;
    int is_sound; /* 1: files are sounds; 0: pictures                               */
} distill_model_info;

/* A GGUF file written by `distill export` or `distill quantize`. Everything in it is checked. */
DISTILL_API int distill_model_open(distill_model **out, const char *path);
DISTILL_API void distill_model_close(distill_model *model);

DISTILL_API distill_model_info distill_model_describe(const distill_model *model);
/* The name of a class, 0 … classes−1, or NULL. Valid until the close. */
DISTILL_API const char *distill_model_class(const distill_model *model, int64_t label);

/* n pictures (n,height,width,channels) of bytes → logits (n,classes). The bytes are normalised as
 * the training's were. DISTILL_EUSAGE for a model of sounds. */
DISTILL_API int distill_model_run(distill_model *model, int64_t n, const uint8_t *pictures,
                                  float *logits);
/* One file, a picture (PNG, PGM, PPM) of the model's size or a sound of any length and rate,
 * → logits (classes). */
DISTILL_API int distill_model_run_file(distill_model *model, const char *path, float *logits);

/* --- speech: a Whisper model ------------------------------------------------------------------ */

typedef struct distill_speech distill_speech;

/* One stretch of speech. */
typedef struct {
    double start, end; /* seconds from the beginning of the file */
    const char *text;  /* UTF-8; words begin with their space    */
} distill_segment;

/* A `.bin` of whisper.cpp, GGUF, or a Hugging Face folder. */
DISTILL_API int distill_speech_open(distill_speech **out, const char *path);
DISTILL_API void distill_speech_close(distill_speech *speech);

/* What is said in a sound file, as `distill transcribe` hears it. `language`: "de" or "german", or
 * NULL: found out from the sound. *segments (*count) are valid until the next call for the same
 * object, or its close. */
DISTILL_API int distill_speech_transcribe(distill_speech *speech, const char *path,
                                          const char *language, const distill_segment **segments,
                                          int64_t *count);

/* --- a teacher's stored soft targets ---------------------------------------------------------- */

typedef struct distill_store distill_store;

typedef enum {
    DISTILL_STORE_DENSE,  /* all logits                                                        */
    DISTILL_STORE_TOPK,   /* the k largest logits, and the log-sum-exp of the rest             */
    DISTILL_STORE_HIDDEN, /* last hidden states and, once, the output matrix: exact logits too */
    DISTILL_STORE_SAMPLED /* classes drawn from softmax(v/τ)                                   */
} distill_store_kind;

typedef struct {
    distill_store_kind kind;
    int64_t rows, positions; /* a row has one position, or the run of a sequence              */
    int64_t views;           /* rows for each sample                                          */
    int64_t classes, k;      /* k of TOPK, draws of a position of SAMPLED, else 0             */
    const char *teacher;     /* hash of its weights, "" when not stated                       */
    const char *data;        /* hash of the samples, "" when not stated                       */
    const char *description; /* for people                                                    */
} distill_store_info;

/* A file or folder that docs/teacher-store.md describes; checksums are compared. */
DISTILL_API int distill_store_open(distill_store **out, const char *path);
DISTILL_API void distill_store_close(distill_store *store);
/* Texts are valid until the close. */
DISTILL_API distill_store_info distill_store_describe(const distill_store *store);

/* The positions of the row of sample `id` in view 0 … views−1; 1 but for sequences; negative:
 * DISTILL_EDATA, there is no such row. */
DISTILL_API int64_t distill_store_length(const distill_store *store, int64_t view, uint64_t id);
/* The teacher's logits (length,classes) there. DISTILL_EUSAGE for TOPK and SAMPLED. */
DISTILL_API int distill_store_logits(const distill_store *store, int64_t view, uint64_t id,
                                     int64_t length, float *logits);
/* TOPK: classes and logits of the k largest (length,k), and tail (length) = log Σ_rest e^{v/τ} at
 * `temperature` τ, one of those the store was made for. */
DISTILL_API int distill_store_topk(const distill_store *store, int64_t view, uint64_t id,
                                   int64_t length, double temperature, int32_t *index,
                                   float *logits, float *tail);
/* SAMPLED: classes drawn at each position (length,k), rising, and how often each came up, over k
 * (length,k); behind the last, class 0 with share 0. */
DISTILL_API int distill_store_sampled(const distill_store *store, int64_t view, uint64_t id,
                                      int64_t length, int32_t *index, float *share);

/* --- losses on plain arrays ------------------------------------------------------------------- */

typedef struct {
    double hard_weight;     /* w_hard ≥ 0                                   */
    double kl_weight;       /* w_kl ≥ 0                                     */
    double temperature;     /* τ > 0                                        */
    double label_smoothing; /* ε, 0 … 1: the hard target is (1−ε)·onehot + ε/V */
} distill_loss_spec;

/* With p = softmax(v/τ), q = softmax(z/τ), over the n valid rows, V classes:
 *
 *     L     = Σ [w_hard·CE(z, y) + w_kl·τ²·KL(p ‖ q)] / n
 *     ∂L/∂z = [w_hard·(softmax(z) − target) + w_kl·τ·(q − p)] / n
 *
 * student z, teacher v (rows,V); teacher may be NULL when w_kl is 0; label (rows) may be NULL when
 * w_hard is 0; valid (rows) of 0/1, or NULL: all. A row that is not valid is not read and has
 * gradient exactly 0. *loss receives L, gradient (rows,V) ∂L/∂z unless NULL.
 * DISTILL_EUSAGE for what cannot be: no classes or rows, no valid row, a label beyond V, weights
 * that are negative or not finite; DISTILL_EDATA when logits are not finite. */
DISTILL_API int distill_loss(const distill_loss_spec *spec, int64_t rows, int64_t classes,
                             const float *student, const float *teacher, const int32_t *label,
                             const uint8_t *valid, double *loss, float *gradient);

/* The same with the teacher's k largest logits: index, kept (rows,k), tail (rows) as
 * distill_store_topk gives them at the spec's τ. The classes left out are one bucket in p and in
 * q, a lower bound of the dense KL. */
DISTILL_API int distill_loss_topk(const distill_loss_spec *spec, int64_t rows, int64_t classes,
                                  const float *student, int64_t k, const int32_t *index,
                                  const float *kept, const float *tail, const int32_t *label,
                                  const uint8_t *valid, double *loss, float *gradient);

#ifdef __cplusplus
}
#endif

#endif
