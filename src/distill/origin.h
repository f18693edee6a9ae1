/* What a result was made from: named facts in a fixed order, everything that decides it. Files are
 * named by the hash of their content, never by size and time.
 *
 * As text, which is written with every result, it is a JSON object, a fact a line:
 *
 *   {"kind": "classifier",
 *    "train.epochs": "8",
 *    …}
 *
 * Its hash is the key of the result. Before a run changes anything on disk, it compares what is
 * there with its own origin; a refusal names the facts that differ.
 */
#ifndef KD_DISTILL_ORIGIN_H
#define KD_DISTILL_ORIGIN_H

#include <stdbool.h>

#include "autograd/tape.h"
#include "base/hash.h"

typedef struct {
    char *key, *value; /* value NULL: not known yet                  */
    bool of_config;    /* a key of the config, which the person sets */
} kd_fact;

/* Starts as {0}; after a failed allocation `failed` stays set, and what compares or writes the
 * origin reports it. */
typedef struct {
    int count, capacity;
    kd_fact *fact;
    bool failed;
    const char *remedy; /* the ways out of a refusal; NULL: those of the run's own results */
} kd_origin;

void kd_origin_clear(kd_origin *origin);

/* How every origin begins: the task ("classifier"), the version of its algorithm, which is bumped
 * when the same inputs would give another result, the stage (NULL: not said), the scalar's type. */
void kd_origin_begin(kd_origin *origin, const char *kind, const char *algorithm, const char *stage);

/* A key is added once. */
void kd_origin_add(kd_origin *origin, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A fact that a later stage brings: when compared, any value will do. */
void kd_origin_add_unknown(kd_origin *origin, const char *key);
/* A hash, which is not known yet while it is "". */
void kd_origin_add_hash(kd_origin *origin, const char *key, const kd_hash *hash);
/* "products": the precision of matrix products. */
void kd_origin_add_products(kd_origin *origin, kd_precision precision);
enum { KD_ORIGIN_ALL = -1 };
/* A section of a config's resolved text, key by key ("train.epochs"), or of a section that is a
 * list entry `index`, or all of them. Of the members called as in `without` (a NULL ends them), at
 * any depth, nothing is said: those that decide no result, and paths, whose files are named by
 * their content. */
void kd_origin_add_config(kd_origin *origin, const char *resolved, const char *section, int index,
                          const char *const *without);
/* The key of another result's origin, which is unknown as long as anything of that is. */
void kd_origin_add_key(kd_origin *origin, const char *key, const kd_origin *other);
/* Another result's facts, "<prefix>.<key>"; of unknown ones nothing is said. */
void kd_origin_add_all(kd_origin *origin, const char *prefix, const kd_origin *other);

/* The facts "<prefix>.<key>" of another, as <key>. */
void kd_origin_add_part(kd_origin *out, const kd_origin *other, const char *prefix);
/* All of another's facts. */
void kd_origin_copy(kd_origin *out, const kd_origin *other);

/* NULL when there is none, or it is not known. */
const char *kd_origin_value(const kd_origin *origin, const char *key);

/* The text; all facts must be known (contract). The caller frees. */
int kd_origin_text(char **out, const kd_origin *origin);
/* The same without its unknown facts: what can be said before a stage is carried out. */
int kd_origin_known_text(char **out, const kd_origin *origin);
/* The hash of a text; the key of an origin, by its text. */
kd_hash kd_origin_key(const char *text);
int kd_origin_hash(kd_hash *out, const kd_origin *origin);
/* Back from text; `name` is for messages. KD_EDATA. The caller clears. */
int kd_origin_parse(kd_origin *out, const char *text, const char *name);

/* That the result in `path`, which states `made` (NULL: it does not say), is one of this origin:
 *
 *   runs/x/train.last.h5: was made with train.epochs = 8, this config says 12; use --fresh to start
 *   over, or another name
 *
 * KD_EDATA names the first facts that differ. */
int kd_origin_check(const char *path, const char *made, const kd_origin *now);

/* That a run's folder is not that of another task's run, by its config.json: data.kind there is one
 * of `kinds`, "idx|cifar10". KD_EDATA. */
int kd_origin_check_folder(const char *folder, const char *kinds);

#endif
