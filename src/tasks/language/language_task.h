/* The objective of a language model: it learns the next token, and how likely its teacher finds
 * every one, over contexts of text. */
#ifndef KD_TASKS_LANGUAGE_LANGUAGE_TASK_H
#define KD_TASKS_LANGUAGE_LANGUAGE_TASK_H

#include "data/store.h"
#include "distill/trainer.h"
#include "layers/llama.h"
#include "quant/quantizer.h"
#include "tasks/language/contexts.h"
#include "tasks/language/language_config.h"

typedef struct {
    kd_train_job loop; /* `seed` is also that of the order */
    const kd_loss_config *loss;
    const kd_language_model *model;  /* which layers the student began as, for hints          */
    kd_contexts *train, *validation; /* validation NULL: the last weights are the result  */
    const kd_llama *teacher;         /* runs beside the student; NULL: see `store`        */
    const kd_store *store;           /* a row of each context; NULL: no soft targets      */
    kd_quantized *quantized; /* NULL, or the student, which then computes with rounded weights */
} kd_language_job;

/* kd_train of the student's parameters. Best is the lowest loss on the validation contexts.
 * KD_EDATA when the store was made for other contexts, naming the first. */
int kd_language_train(kd_llama *student, const kd_language_job *job);

/* The same for --dry-run: seconds of an update, bytes of its tape. The parameters change. */
int kd_language_measure_step(kd_llama *student, const kd_language_job *job, double *seconds,
                             size_t *bytes);

#endif
