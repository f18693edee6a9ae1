/* The keys of "train" and "qat", and their rules, for the tables of every task. */
#ifndef KD_DISTILL_TRAIN_KEYS_H
#define KD_DISTILL_TRAIN_KEYS_H

#include "config/reader.h"
#include "config/rows.h"
#include "distill/train_spec.h"

#define KD_DIVERGENCE_CHOICE(NAME, name) "|" #name
/* clang-format off */
/* Which divergence the soft part of a kd_loss_config has; with kd_config_divergence_defaults and
 * kd_config_check_divergence. */
#define DIVERGENCE_KEYS                                                                            \
    {"divergence", KD_KEY_CHOICE, FIELD(kd_loss_config, divergence),                               \
     .choices = "forward_kl" KD_OTHER_DIVERGENCES(KD_DIVERGENCE_CHOICE), .fallback = "\"forward_kl\"", \
     .doc = "what kl weighs: KL(teacher ‖ student), or another distance of the two"},              \
    {"skew", KD_KEY_REAL, FIELD(kd_loss_config, skew), .low = 0, .high = 0.999999, .above = true,  \
     .depends = "0.5 for jensen_shannon, 0.1 for the skewed ones",                                 \
     .doc = "share of the teacher in the mixture that is compared with; for skewed_reverse_kl of the student"}
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

/* What is wrong with a section that says how a network is trained, "train" or "qat". */
void kd_config_check_train(kd_config_reader *reader, const cJSON *object, const char *path,
                           const kd_train_spec *train);

/* The same as the `finish` of a table that fills a kd_train_spec. */
void kd_config_train_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                            void *base);
/* The `defaults` of "qat": what is not said is as in "train", but for epochs, rate and warm-up. */
void kd_config_qat_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out);

/* The skew of a "loss" that has one, and what is wrong with one that has none. */
void kd_config_divergence_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out);
void kd_config_check_divergence(kd_config_reader *reader, const cJSON *object, const char *path);

#endif
