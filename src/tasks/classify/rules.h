/* What the tables of keys.c cannot say: defaults that depend on other keys, and checks that
 * look at several. Each is the `defaults` or `finish` of one table. */
#ifndef KD_TASKS_CLASSIFY_RULES_H
#define KD_TASKS_CLASSIFY_RULES_H

#include "config/reader.h"

void kd_config_root_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out);
void kd_config_data_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out);
void kd_config_teacher_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out);
void kd_config_loss_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out);
void kd_config_train_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out);
void kd_config_quantize_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out);

void kd_config_root_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                           void *base);
void kd_config_data_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                           void *base);
void kd_config_audio_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                            void *base);
void kd_config_cnn_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                          void *base);
void kd_config_layer_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                            void *base);
void kd_config_resnet_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                             void *base);
void kd_config_source_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                             void *base);
void kd_config_teacher_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                              void *base);
void kd_config_targets_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                              void *base);
void kd_config_loss_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                           void *base);
void kd_config_quantize_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                               void *base);
void kd_config_qat_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                          void *base);

#endif
