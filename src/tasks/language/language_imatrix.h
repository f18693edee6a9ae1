/* `distill imatrix` of a language model. */
#ifndef KD_TASKS_LANGUAGE_LANGUAGE_IMATRIX_H
#define KD_TASKS_LANGUAGE_LANGUAGE_IMATRIX_H

/* The text `data`, UTF-8, passes the model in contexts of 512 tokens, or the model's if that is
 * less. Writes quant/imatrix.h's file to `out`. KD_EAGAIN after kd_train_request_stop. */
int kd_language_imatrix(const char *model, const char *data, const char *language, const char *out);

#endif
