/* Checkpoints: everything a run needs to go on as if it had never stopped, in one HDF5 file that
 * h5py can read. Written whole or not at all, under the seal of data/h5.h. */
#ifndef KD_DISTILL_CHECKPOINT_H
#define KD_DISTILL_CHECKPOINT_H

#include "autograd/param.h"
#include "base/hash.h"
#include "distill/origin.h"
#include "report/metric.h"

enum { KD_MOMENTS_MAX = 2 };

typedef struct {
    int64_t step;                         /* updates done                                         */
    int64_t epoch, batch;                 /* the data cursor: the next micro-batch                */
    kd_rng dropout;                       /* key of its streams; 0, or what an older program drew */
    int64_t optimizer_step;               /* Adam's t                                             */
    double best_value;                    /* on the validation split so far; NAN before the first */
    int64_t best_epoch;                   /* 0 before the first                                   */
    double elapsed;                       /* seconds of training, over all starts                 */
    char best_metric[KD_METRIC_NAME_MAX]; /* what it is a value of: "accuracy"; "" without */
} kd_progress_state;

typedef struct {
    kd_params *params; /* values are saved and restored by name and shape */
    int moment_count;  /* slabs parallel to the trained part              */
    kd_real *moment[KD_MOMENTS_MAX];
    kd_progress_state state;
    kd_hash key;             /* of the origin                                    */
    const kd_origin *origin; /* what went into it; NULL: nothing is said         */
    const char *config_json; /* the resolved config, for people and `inspect`    */
    const char *stage;       /* "train", "qat" …                                  */
} kd_checkpoint;

/* Layout: /params/<name>, /moments/<i>/<name> float32 (float64 in the double build) datasets;
 * attributes of the file: schema, version, dtype, stage, key, origin (whose hash is the key),
 * config, moments and the fields of the state. The whole file is sealed (data/h5.h), so that no bit
 * of it can change unnoticed; one without the seal is refused. Numbers come back with the same
 * bits, NaN and infinities included. Files of version 1 are read too: their best value is an
 * accuracy (best_accuracy), and they carry checksums beside the seal, which nothing needs. Replaces
 * `path` whole or leaves it. */
int kd_checkpoint_save(const char *path, const kd_checkpoint *checkpoint);

/* Restores values, moments and state. Refuses (KD_EDATA) a file with another key or stage, naming
 * what differs, with a missing or extra parameter, or another shape. Nothing in *checkpoint or its
 * slabs is changed unless the whole file passed. */
int kd_checkpoint_load(const char *path, kd_checkpoint *checkpoint);

/* The refusals of another key or stage alone. */
int kd_checkpoint_check(const char *path, const kd_checkpoint *checkpoint);

/* The origin a checkpoint states; *out is NULL when it states none, as those of earlier versions.
 * The caller frees. */
int kd_checkpoint_origin(char **out, const char *path);

/* Parameters only, from a checkpoint of any key and stage that holds exactly those of `params`,
 * with their shapes, and none that is not finite or a negative variance. Parameters of the file for
 * which `beside` (NULL: none) says so are left out. KD_EDATA names what is missing, too much or of
 * another shape; `params` is then as it was. */
int kd_checkpoint_load_params(const char *path, kd_params *params,
                              bool (*beside)(const char *name));

/* The resolved config that a checkpoint carries, "" for none, and its stage. The caller frees *out.
 */
enum { KD_STAGE_MAX = 64 };
int kd_checkpoint_config(char **out, char stage[KD_STAGE_MAX], const char *path);

/* The hash of all values in `params`, names included. */
int kd_params_hash(kd_hash *out, const kd_params *params);

#endif
