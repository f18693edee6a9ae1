/* The JSON files of a Hugging Face folder, and keys of them that a model must have, may have, or
 * must not have otherwise. */
#ifndef KD_FILES_FOLDER_CONFIG_H
#define KD_FILES_FOLDER_CONFIG_H

#include "base/file.h"
#include "base/json.h"

/* Reads folder/name, which must hold an object; `path` gets its name and outlives the JSON, which
 * the caller frees. */
int kd_folder_json(kd_json **out, char path[KD_PATH_MAX], const char *folder, const char *name);

/* KD_EDATA: "file:line:column: "key" should be <wanted>". */
int kd_folder_refuse(const kd_json *json, const cJSON *item, const char *key, const char *wanted);

/* A whole number of 1 or more that must be there. */
int kd_folder_size(int *out, const kd_json *json, const char *path, const char *key);
/* The same; `fallback` where it is missing or null. */
int kd_folder_size_or(int *out, const kd_json *json, const char *key, int fallback);
/* A number of `object`; `fallback` where it is missing or null. */
int kd_folder_number_or(double *out, const kd_json *json, const cJSON *object, const char *key,
                        double fallback);
/* true or false; `fallback` where it is missing or null. */
int kd_folder_bool_or(bool *out, const kd_json *json, const char *key, bool fallback);
/* A key that may be missing or null, but must not be otherwise. */
int kd_folder_need_bool(const kd_json *json, const char *key, bool wanted);
int kd_folder_need_text(const kd_json *json, const char *key, const char *wanted);

/* That its weights are as they were trained: not changed by an adapter beside them. */
int kd_folder_check_adapter(const char *folder);

#endif
