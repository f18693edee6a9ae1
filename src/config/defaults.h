/* For the `defaults` of tables: what a key is when it is not said, and the name of a run. */
#ifndef KD_CONFIG_DEFAULTS_H
#define KD_CONFIG_DEFAULTS_H

#include "config/reader.h"

/* Each adds `key` to `out`. Without memory the reader fails. */
void kd_default_number(kd_config_reader *reader, cJSON *out, const char *key, double value);
void kd_default_text(kd_config_reader *reader, cJSON *out, const char *key, const char *value);
void kd_default_copy(kd_config_reader *reader, cJSON *out, const char *key, const cJSON *from);
/* An empty object. */
void kd_default_object(kd_config_reader *reader, cJSON *out, const char *key);
/* Takes the table's own default away. */
void kd_default_none(kd_config_reader *reader, cJSON *out, const char *key);

/* A name for what the file `path` describes: the file's, fit for a folder. */
void kd_config_default_name(char *out, size_t capacity, const char *path);

/* Whether a folder may have this name; complains about the member "name" of `object` if not. */
bool kd_config_check_name(kd_config_reader *reader, const cJSON *object, const char *path);

#endif
