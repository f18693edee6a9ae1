/* The objectives of an encoder: masked tokens, and classes of sentences, with a teacher beside.
 *
 *   masked      L = kl·τ²·KL(teacher ‖ student) over all tokens (or the masked ones)
 *                 + hard·CE over the masked ones + cosine·(1 − cos) of the last hidden states,
 *               each the mean over its tokens of the update (Sanh et al. 2019, section 3)
 *   sentences   L = kl·τ²·KL(teacher ‖ student) + hard·CE, means over the sentences
 */
#ifndef KD_TASKS_ENCODER_ENCODER_TASK_H
#define KD_TASKS_ENCODER_ENCODER_TASK_H

#include "distill/trainer.h"
#include "layers/bert.h"
#include "tasks/encoder/masked.h"
#include "tasks/encoder/sentences.h"

typedef struct {
    kd_train_job loop; /* `seed` is also that of the order */
    const kd_encoder_loss *loss;
    const kd_bert *teacher; /* runs beside the student, in its numbers alone; NULL: none       */
    const kd_masked *train, *validation; /* masked; validation NULL: the last weights are
                                            the result                                     */
    const kd_sentences *taught, *held;   /* or sentences, likewise                         */
    int64_t length;                      /* most tokens of a context or sentence           */
} kd_encoder_job;

/* kd_train of the student's parameters. Best is the highest accuracy on the validation samples. */
int kd_encoder_train(kd_bert *student, const kd_encoder_job *job);

/* The same for --dry-run: seconds of an update, bytes of its tape. The parameters change. */
int kd_encoder_measure_step(kd_bert *student, const kd_encoder_job *job, double *seconds,
                            size_t *bytes);

/* --- for encoder_task.c ---------------------------------------------------------------------- */

/* An objective over samples that come in an order of their own in each epoch. */
typedef struct {
    kd_bert *student;
    const kd_encoder_job *job;
    int64_t count, *order, order_epoch; /* the permutation of an epoch, −1: none yet          */
    kd_tape *scratch;                   /* of the teacher                                     */
    kd_real *states, *hidden; /* (batch·length,width) its last hidden states, and what its head
                                 makes of them                                                */
} kd_encoder_work;

/* The sample at `place` of an epoch's order. */
int64_t kd_encoder_sample(kd_encoder_work *w, int64_t epoch, int64_t place);
/* Samples of micro-batch `batch`, and the first of them in the epoch's order. */
int64_t kd_encoder_batch(const kd_encoder_work *w, int64_t batch, int64_t *first);
/* The teacher's last hidden states of a batch → w->states. */
int kd_encoder_ask(kd_encoder_work *w, const kd_bert_input *in);

/* One of the two; the caller clears, also after an error. */
typedef struct {
    size_t size; /* of the struct, which begins with a kd_encoder_work */
    int (*init)(void *task);
    void (*clear)(void *task);
    double (*rows)(void *task, const kd_train_place *at, int64_t n);
    int (*loss)(kd_tensor **out, void *task, kd_tape *tape, const kd_train_place *at,
                double normalizer, kd_loss_sums *sums);
    int (*evaluate)(kd_estimate *out, void *task, kd_tape *tape);
    const char *unit;
} kd_encoder_objective;
extern const kd_encoder_objective kd_encoder_masked_objective, kd_encoder_sentence_objective;

#endif
