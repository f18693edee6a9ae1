/* Students of an encoder's run: layers of the teacher, or a model on which is built. */
#ifndef KD_TASKS_ENCODER_STUDENT_H
#define KD_TASKS_ENCODER_STUDENT_H

#include "files/bert_file.h"
#include "tasks/encoder/encoder_config.h"

/* The student's sizes, which begins as `from`. KD_ECONFIG, naming the key, where that cannot be. */
int kd_encoder_student_spec(kd_bert_spec *out, const kd_encoder_config *config,
                            const kd_bert_spec *from);

/* A student with the tokenizer of `from`, which is borrowed. It has the numbers of all that `from`
 * has, too; other heads begin with random ones. Without token types the positions take over the
 * vector of type 0, so nothing is lost. The caller frees. */
int kd_encoder_student_create(kd_bert_file **out, const kd_encoder_config *config,
                              const kd_bert_file *from, bool frozen);

#endif
