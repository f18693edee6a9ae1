/* How rows of the tables of config_keys.h are written, and the rows that several tables share. */
#ifndef KD_DISTILL_CONFIG_ROWS_H
#define KD_DISTILL_CONFIG_ROWS_H

#include "distill/config_keys.h"

/* clang-format off */
#define COUNT(array) (int)(sizeof(array) / sizeof *(array))
#define FIELD(s, member) .offset = offsetof(s, member), .size = sizeof(((s *)0)->member), .count = -1
#define LIST(s, member, n)                                                                         \
    .offset = offsetof(s, member), .size = sizeof(((s *)0)->member),                               \
    .stride = sizeof(((s *)0)->member[0]), .count = (ptrdiff_t)offsetof(s, n)
#define PART(s, member, t) .offset = offsetof(s, member), .count = -1, .table = &(t)
#define HERE(t) .count = -1, .table = &(t)
#define OPTIONAL_PART(s, member, flag, t)                                                          \
    .offset = offsetof(s, member), .count = (ptrdiff_t)offsetof(s, flag), .table = &(t)
#define RANGE(from, to) .low = (from), .high = (to)
#define ABOVE_ZERO .low = 0, .high = 1e9, .above = true
#define FRACTION .low = 0, .high = 1
/* Not so near to 1 that float32 would take it for 1: 1/(1 − p) must stay a number. */
#define BELOW_ONE .low = 0, .high = 0.999999

#define U64 .low = 0, .high = KD_KEY_U64_MAX
enum { SIDE = 1 << 12, UNITS = 1 << 16, BILLION = 1000000000 };

/* The rows of a kd_train_spec at member `p` of the struct `s`. Their defaults: epochs as given, JSON
 * of batch (size), optimizer (who), schedule (falls) and clip (norm); for people, what learning_rate,
 * warmup_epochs and, when other keys decide, the rest depend on. */
#define EPOCHS_KEY(s, p, ...)                                                                      \
    {"epochs", KD_KEY_INTEGER, FIELD(s, p epochs), RANGE(1, BILLION), __VA_ARGS__,                 \
     .doc = "passes over the training samples"}
#define TRAIN_KEYS_BEHIND_EPOCHS(s, p, size, who, falls, norm, rate, warmup, d)                    \
    {"batch", KD_KEY_INTEGER, FIELD(s, p batch), RANGE(1, 1 << 20), .fallback = size,              \
     .depends = d, .doc = "samples of a micro-batch"},                                             \
    {"accumulate", KD_KEY_INTEGER, FIELD(s, p accumulate), RANGE(1, 1 << 20), .fallback = "1",     \
     .depends = d, .doc = "micro-batches of one update"},                                          \
    {"optimizer", KD_KEY_CHOICE, FIELD(s, p optimizer), .choices = "sgd|adamw",                    \
     .fallback = who, .depends = d, .doc = "who updates"},                                         \
    {"learning_rate", KD_KEY_REAL, FIELD(s, p learning_rate), ABOVE_ZERO, .depends = rate,           \
     .doc = "at its peak"},                                                                        \
    {"momentum", KD_KEY_REAL, FIELD(s, p momentum), BELOW_ONE, .fallback = "0.9", .depends = d,    \
     .doc = "of sgd"},                                                                             \
    {"nesterov", KD_KEY_SWITCH, FIELD(s, p nesterov), .fallback = "false", .depends = d,           \
     .doc = "Nesterov's momentum, of sgd"},                                                        \
    {"weight_decay", KD_KEY_REAL, FIELD(s, p weight_decay), RANGE(0, 1e3), .fallback = "0",        \
     .depends = d, .doc = "of weights, not of biases and norms; adamw: apart from the gradient"},  \
    {"beta1", KD_KEY_REAL, FIELD(s, p beta1), BELOW_ONE, .fallback = "0.9", .depends = d,          \
     .doc = "of adamw"},                                                                           \
    {"beta2", KD_KEY_REAL, FIELD(s, p beta2), BELOW_ONE, .fallback = "0.999", .depends = d,        \
     .doc = "of adamw"},                                                                           \
    {"epsilon", KD_KEY_REAL, FIELD(s, p epsilon), RANGE(1e-30, 1), .fallback = "1e-8", .depends = d,      \
     .doc = "of adamw"},                                                                           \
    {"schedule", KD_KEY_CHOICE, FIELD(s, p schedule), .choices = "constant|linear|cosine",         \
     .fallback = falls, .depends = d, .doc = "how the rate falls after the warm-up"},              \
    {"warmup_epochs", KD_KEY_REAL, FIELD(s, p warmup_epochs), RANGE(0, BILLION), .fallback = "0",  \
     .depends = warmup, .doc = "epochs in which the rate rises linearly; may be a fraction"},      \
    {"final_fraction", KD_KEY_REAL, FIELD(s, p final_fraction), FRACTION, .fallback = "0",         \
     .depends = d, .doc = "of the rate that is left at the end"},                                  \
    {"clip", KD_KEY_REAL, FIELD(s, p clip), RANGE(0, 1e9), .fallback = norm, .depends = d,         \
     .doc = "largest norm of the whole gradient; 0: any"},                                         \
    {"max_norm", KD_KEY_REAL, FIELD(s, p max_norm), RANGE(0, 1e9), .fallback = "0", .depends = d,  \
     .doc = "largest norm of the weights into one unit; 0: any"},                                  \
    {"evaluate_every", KD_KEY_INTEGER, FIELD(s, p evaluate_every), RANGE(1, BILLION),              \
     .fallback = "1", .depends = d, .doc = "epochs between measurements on the validation split"}, \
    {"checkpoint_seconds", KD_KEY_REAL, FIELD(s, p checkpoint_seconds), RANGE(0, 86400),           \
     .fallback = "60", .depends = d, .doc = "longest work a crash can lose"}
/* clang-format on */

#endif
