/* `distill imatrix` of a language model. */
#ifndef KD_TASKS_LANGUAGE_LANGUAGE_IMATRIX_H
#define KD_TASKS_LANGUAGE_LANGUAGE_IMATRIX_H

#include "files/llama_file.h"
#include "quant/input_squares.h"

/* The text `data`, UTF-8, passes the model in contexts of 512 tokens, or the model's if that is
 * less. Writes quant/imatrix.h's file to `out`. KD_EAGAIN after kd_train_request_stop. */
int kd_language_imatrix(const char *model, const char *data, const char *language, const char *out);

/* The same text passes, for what looks at the inputs themselves: seen, of the model's parameters,
 * is the caller's to free. `what` names the progress. */
int kd_language_see(kd_input_squares **seen, const kd_llama_file *file, const char *data,
                    const char *what);

#endif
