/* Every key a config may have, stated once: reading, checking, the schema, the documentation and
 * the suggestions for misspelt keys all walk these tables. */
#ifndef KD_CONFIG_KEYS_H
#define KD_CONFIG_KEYS_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

typedef enum {
    KD_KEY_INTEGER,  /* int, int64_t or, up to KD_KEY_U64_MAX, uint64_t; the one of `choices`, when
                        there is one, is stored as −1                                              */
    KD_KEY_REAL,     /* float or double                                                           */
    KD_KEY_SWITCH,   /* bool                                                                      */
    KD_KEY_TEXT,     /* char[]                                                                    */
    KD_KEY_PATH,     /* char[], made relative to the config's folder, variables filled in         */
    KD_KEY_CHOICE,   /* an enum: the place in `choices`; or char[]                                */
    KD_KEY_PAIR,     /* int[2] from n or [n, n]; `choices` as for KD_KEY_INTEGER                  */
    KD_KEY_INTEGERS, /* int[], int64_t[] or uint64_t[], likewise                                */
    KD_KEY_REALS,    /* float[]                                                                   */
    KD_KEY_PATHS,    /* char[][], each as KD_KEY_PATH                                             */
    KD_KEY_TEXTS,    /* char[][]                                                                  */
    KD_KEY_OBJECT,   /* a struct read by `table`                                                  */
    KD_KEY_OBJECTS,  /* an array of such structs; one object stands for a list of one            */
    KD_KEY_CHANGES,  /* an object {"loss.kl": value} of keys of a variant of `table`; left to
                        `finish`                                                                  */
    KD_KEY_AXES,     /* an object {"loss.kl": [value, value]}, likewise                           */
    KD_KEY_IGNORED   /* allowed and without effect                                                */
} kd_key_type;

/* As `high`: all that a uint64_t holds, 2^64 − 1. Other whole numbers end at 2^53, which JSON's
 * doubles hold exactly. */
#define KD_KEY_U64_MAX 18446744073709551615.0

struct kd_config_table;

typedef struct {
    const char *name;
    kd_key_type type;
    size_t offset, size; /* of the field in the section's struct; size 0: not stored. Lists: of
                            the whole array                                                    */
    size_t stride;       /* lists: bytes of one element                                        */
    ptrdiff_t count;     /* lists: offset of the int that counts them; objects: of the bool that
                            says the key was there; −1: none                                   */
    double low, high;    /* numbers: the range; lists: of every element                        */
    bool above;          /* low itself is outside                                              */
    const char *choices; /* "idx|cifar10|audio"                                                */
    bool required;
    const char *fallback; /* JSON; NULL: nothing is stored when the key is absent, or it depends */
    const char *depends;  /* for people, when the default depends on other keys                 */
    const struct kd_config_table *table; /* objects                                              */
    const char *doc; /* one sentence, no full stop                                         */
    const char *formerly; /* what earlier versions called it: a config that still does is told */
} kd_config_key;

struct kd_config_reader;

/* The keys of one kind of object. */
typedef struct kd_config_table {
    const char *name; /* "train"; of a variant: its tag's value, or its first key */
    const char *doc;
    const kd_config_key *key;
    int count;
    /* An object that comes in kinds has no keys of its own, but these. With `tag`, the text under
     * that key names the kind; without, the presence of a kind's first key does. */
    const struct kd_config_table *const *variant;
    int variant_count;
    const char *tag;
    /* Defaults that depend on other keys, as members of `out`; a null takes the table's default
     * away. May be NULL. */
    void (*defaults)(struct kd_config_reader *reader, const cJSON *object, cJSON *out);
    /* Checks and completes what was read into `base`; may be NULL. Not called after an
     * error in the object, unless `finish_always`: then it looks at the JSON only. That of an
     * object that comes in kinds is called before its kind's. */
    void (*finish)(struct kd_config_reader *reader, const cJSON *object, const char *path,
                   void *base);
    bool finish_always;
} kd_config_table;

#endif
