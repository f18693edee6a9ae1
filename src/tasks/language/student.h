/* Students of a language model: layers of the teacher, maybe narrower ones, or a decoder of its own
 * sizes. */
#ifndef KD_TASKS_LANGUAGE_STUDENT_H
#define KD_TASKS_LANGUAGE_STUDENT_H

#include "files/llama_file.h"
#include "tasks/language/contexts.h"
#include "tasks/language/language_config.h"

/* Which layers of the teacher a student of n of them has: evenly, the first and the last among
 * them. out (n), 1 ≤ n ≤ layers. */
void kd_language_layers(int *out, int n, int layers);

/* The teacher's layers that a student of `layers` has begun as: those its model names, or evenly.
 * out (layers), layers ≤ the teacher's. */
void kd_language_sources(int *out, const kd_language_model *model, int layers, int teacher_layers);

/* The student's sizes. KD_ECONFIG, naming the key, where the teacher has too few layers or the
 * sizes are no decoder's; so a config is checked without weights. */
int kd_language_student_spec(kd_llama_spec *out, const kd_language_model *model,
                             const kd_llama_spec *teacher);

/* A student as a model says it, with the teacher's tokenizer and ends, which are borrowed and
 * copied. `contexts` tell which heads and units a narrower one keeps (narrow.h); NULL: the first
 * ones. The caller frees. */
int kd_language_student_create(kd_llama_file **out, const kd_llama_file *teacher,
                               const kd_language_model *model, kd_contexts *contexts, uint64_t seed,
                               kd_llama_training training);
/* The same to be trained, with what hints of `loss` learn besides. */
int kd_language_student_create_hinted(kd_llama_file **out, const kd_llama_file *teacher,
                                      const kd_language_model *model, const kd_loss_config *loss,
                                      kd_contexts *contexts, uint64_t seed);

#endif
