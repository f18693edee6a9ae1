/* Reads objects by their tables, gathering every error and the resolved text. */
#ifndef KD_CONFIG_READER_H
#define KD_CONFIG_READER_H

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "config/keys.h"

enum {
    KD_CONFIG_PATH_MAX = 160, /* "$.model.layers[3].kernel" */
    KD_CONFIG_LIMIT = 1 << 20 /* bytes of a file */
};

typedef struct {
    int offset; /* in the file; set values stand behind all of it */
    char *text; /* the whole message                               */
} kd_config_error;

typedef struct kd_config_reader {
    const kd_json *json;
    const char *path;      /* of the file                                         */
    const char *folder;    /* paths are relative to it; "" for the working folder */
    const char *manual;    /* the page that lists the keys                        */
    void *whole;           /* what the root's table fills                         */
    const cJSON *resolved; /* the root of what is known so far                    */
    kd_config_error *error;
    int error_count;
    int failed; /* memory: negative status                             */
} kd_config_reader;

/* A change that stands in another file, at `place` ("sweep.json:7:21"). */
typedef struct {
    const char *key;    /* "loss.temperature"                */
    const cJSON *value; /* null takes the key away           */
    const char *place;
} kd_config_change;

/* A configuration of any kind: `text` of the file `path`, to which its relative paths refer, or,
 * where that is NULL, what the file holds; with changes, of which there may be either kind or none.
 * All is borrowed. */
typedef struct {
    const char *path, *text;
    size_t length;
    int set_count, change_count;
    const char *const *set; /* "a.b=value" */
    const kd_config_change *change;
} kd_config_origin;

/* Reads it by the table of its root into `whole`. Errors as kd_config_load. *resolved is JSON text
 * with every default filled in, the caller's, and *hash its hash. */
int kd_config_read(void *whole, const kd_config_table *root, const kd_config_origin *source,
                   const char *manual, char **resolved, kd_hash *hash);

/* Reads `object`, which stands at `path`, by `table` into `base`; what it says, with defaults, is
 * added to `resolved`. */
void kd_config_read_object(kd_config_reader *reader, const cJSON *object, const char *path,
                           const kd_config_table *table, void *base, cJSON *resolved);

/* Gathers "place: path: message". The place is the item's value, or its key. */
void kd_config_complain(kd_config_reader *reader, const cJSON *item, bool of_key, const char *path,
                        const char *format, ...) __attribute__((format(printf, 5, 6)));

/* The same about the member `key` of `object`, or about `object` when it has no such member. */
void kd_config_complain_key(kd_config_reader *reader, const cJSON *object, const char *path,
                            const char *key, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* Logs the errors in the order of the file and forgets them; returns how many there were. */
int kd_config_report_errors(kd_config_reader *reader);

/* The folder `path` lies in, "" for the working folder. */
void kd_config_folder(char out[KD_PATH_MAX], const char *path);

/* Checks one value against its row; complains and returns false when it does not fit. */
bool kd_config_check_value(kd_config_reader *reader, const cJSON *item, const char *path,
                           const kd_config_key *key);

/* The place of `word` in "a|b|c", or −1. */
int kd_config_choice(const char *choices, const char *word);

/* A limit of a row with all its digits. */
void kd_config_limit(char *out, size_t capacity, double limit);

/* "a whole number from 1 to 8" for people. */
enum { KD_CONFIG_DESCRIPTION_MAX = 512 };
void kd_config_describe(char out[KD_CONFIG_DESCRIPTION_MAX], const kd_config_key *key);

/* Fills in a leading "${NAME}" or "${NAME:-otherwise}" and makes the result relative to the
 * config's folder, unless it is absolute. NULL, or what is wrong. */
const char *kd_config_resolve_path(char *out, size_t capacity, const char *folder,
                                   const char *written);

#endif
