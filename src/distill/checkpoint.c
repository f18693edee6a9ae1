#include "distill/checkpoint.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/size.h"
#include "base/text.h"
#include "data/h5.h"
#include "layers/weights.h"

static const char SCHEMA[] = "distill-checkpoint";
enum {
    VERSION = 2,
    OLDEST = 1, /* its best value is "best_accuracy" */
    CONFIG_MAX = 1 << 24,
    ORIGIN_MAX = 1 << 24,
    DATASET_NAME_MAX = KD_NAME_MAX + 32
};

#ifdef KD_DOUBLE
static const char DTYPE[] = "float64";
#define REAL_TYPE H5T_NATIVE_DOUBLE
#else
static const char DTYPE[] = "float32";
#define REAL_TYPE H5T_NATIVE_FLOAT
#endif

/* --- the state, field by field -------------------------------------------------------------- */

/* Every field but the name of the metric is 8 bytes; unsigned ones are stored as the signed number
 * of the same bits. */
typedef struct {
    const char *name;
    size_t offset;
    bool is_double;
} field;

#define FIELD(name, member, is_double)                                                             \
    { name, offsetof(kd_progress_state, member), is_double }
static const field FIELDS[] = {
    FIELD("step", step, false),
    FIELD("epoch", epoch, false),
    FIELD("batch", batch, false),
    FIELD("dropout_key", dropout.key, false),
    FIELD("dropout_counter", dropout.counter, false),
    FIELD("optimizer_step", optimizer_step, false),
    FIELD("best_value", best_value, true),
    FIELD("best_epoch", best_epoch, false),
    FIELD("elapsed", elapsed, true),
};
enum { FIELD_COUNT = sizeof FIELDS / sizeof *FIELDS };

static int write_state(hid_t file, const kd_progress_state *state) {
    for (int i = 0; i < FIELD_COUNT; i++) {
        const void *at = (const char *)state + FIELDS[i].offset;
        int status = FIELDS[i].is_double
                         ? kd_h5_set_double(file, FIELDS[i].name, *(const double *)at)
                         : kd_h5_set_int(file, FIELDS[i].name, *(const int64_t *)at);
        if (status < 0) return status;
    }
    return kd_h5_set_string(file, "best_metric", state->best_metric);
}

static int read_state(hid_t file, int64_t version, kd_progress_state *state) {
    *state = (kd_progress_state){0};
    for (int i = 0; i < FIELD_COUNT; i++) {
        void *at = (char *)state + FIELDS[i].offset;
        const bool renamed = version == OLDEST && strcmp(FIELDS[i].name, "best_value") == 0;
        const char *name = renamed ? "best_accuracy" : FIELDS[i].name;
        int status =
            FIELDS[i].is_double ? kd_h5_get_double(file, name, at) : kd_h5_get_int(file, name, at);
        if (status < 0) return status;
    }
    if (version > OLDEST)
        return kd_h5_get_string(file, "best_metric", state->best_metric, KD_METRIC_NAME_MAX);
    snprintf(state->best_metric, KD_METRIC_NAME_MAX, "accuracy");
    return KD_OK;
}

/* --- the hash of a network's values --------------------------------------------------------- */

/* The values of a constant, row by row. */
static int hash_constant(kd_hash *out, const kd_tensor *t) {
    const int64_t rows = kd_rows(t), C = kd_channels(t);
    kd_real *row = malloc(kd_array_bytes(C, sizeof *row));
    kd_hasher *hasher = NULL;
    int status = row ? kd_hasher_create(&hasher) : kd_fail_memory((size_t)C * sizeof *row, "a row");
    for (int64_t i = 0; i < rows && status == KD_OK; i++) {
        kd_tensor_read(t, row, i, 1);
        kd_hasher_add(hasher, row, (size_t)C * sizeof *row);
    }
    if (status == KD_OK) *out = kd_hasher_value(hasher);
    kd_hasher_free(hasher);
    free(row);
    return status;
}

/* A name and values for every parameter. */
int kd_params_hash(kd_hash *out, const kd_params *params) {
    const size_t bytes = 2 * (size_t)params->count * sizeof(kd_hash);
    kd_hash *part = malloc(bytes ? bytes : 1);
    int status = part ? KD_OK : kd_fail_memory(bytes, "the hash of a network");
    for (int i = 0; i < params->count && status == KD_OK; i++) {
        const kd_param *p = params->list[i];
        part[2 * i] = kd_hash_bytes(p->name, strlen(p->name));
        if (p->tensor.constant)
            status = hash_constant(&part[2 * i + 1], &p->tensor);
        else
            part[2 * i + 1] =
                kd_hash_bytes(params->value + p->offset, (size_t)p->tensor.size * sizeof(kd_real));
    }
    if (status == KD_OK) *out = kd_hash_join(part, 2 * params->count);
    free(part);
    return status;
}

/* --- tensors -------------------------------------------------------------------------------- */

/* What is saved: slab −1 is the values, 0 … the moments, which only trained parameters have. */
static bool in_slab(const kd_param *p, int slab) {
    return slab < 0 || (p->flags & KD_PARAM_TRAINED);
}

static void group_name(char out[DATASET_NAME_MAX], int slab) {
    if (slab < 0)
        snprintf(out, DATASET_NAME_MAX, "params");
    else
        snprintf(out, DATASET_NAME_MAX, "moments/%d", slab);
}

static void dataset_name(char out[DATASET_NAME_MAX], int slab, const kd_param *p) {
    if (slab < 0)
        snprintf(out, DATASET_NAME_MAX, "params/%s", p->name);
    else
        snprintf(out, DATASET_NAME_MAX, "moments/%d/%s", slab, p->name);
}

static int write_slab(hid_t file, int slab, const kd_checkpoint *c) {
    char name[DATASET_NAME_MAX];
    group_name(name, slab);
    hid_t group;
    int status = kd_h5_make_group(&group, file, name);
    if (status < 0) return status;
    H5Gclose(group);
    for (int i = 0; i < c->params->count && status == KD_OK; i++) {
        const kd_param *p = c->params->list[i];
        KD_CONTRACT(!strchr(p->name, '/'), "%s: a parameter's name may not hold '/'", p->name);
        if (!in_slab(p, slab)) continue;
        dataset_name(name, slab, p);
        const kd_real *values = slab < 0 ? c->params->value : c->moment[slab];
        status = kd_h5_write(file, name, p->tensor.rank, p->tensor.shape, REAL_TYPE, REAL_TYPE,
                             values + p->offset);
    }
    return status;
}

/* Names one of the file's tensors that the network does not have. */
static int refuse_extra(hid_t file, const char *path, int slab, const kd_params *params) {
    char group[DATASET_NAME_MAX], name[256];
    int64_t found, expected = 0;
    group_name(group, slab);
    for (int i = 0; i < params->count; i++) expected += in_slab(params->list[i], slab);
    int status = kd_h5_count(file, group, &found);
    if (status < 0 || found == expected) return status;
    for (int64_t i = 0; i < found; i++) {
        status = kd_h5_child(file, group, i, name, sizeof name);
        if (status < 0) return status;
        const kd_param *p = kd_params_find(params, name);
        if (!p || !in_slab(p, slab)) break;
    }
    return kd_fail(KD_EDATA, "%s: /%s/%s: this network has no such parameter", path, group, name);
}

static int read_tensor(hid_t file, int slab, const kd_param *p, kd_real *slab_values) {
    char name[DATASET_NAME_MAX];
    dataset_name(name, slab, p);
    return kd_h5_read(file, name, p->tensor.rank, p->tensor.shape, REAL_TYPE,
                      slab_values + p->offset);
}

static int read_slab(hid_t file, const char *path, int slab, const kd_params *params,
                     kd_real *out) {
    for (int i = 0; i < params->count; i++) {
        if (!in_slab(params->list[i], slab)) continue;
        int status = read_tensor(file, slab, params->list[i], out);
        if (status < 0) return status;
    }
    return refuse_extra(file, path, slab, params);
}

/* --- saving --------------------------------------------------------------------------------- */

static int write_origin(hid_t file, const kd_origin *origin) {
    char *text;
    int status = kd_origin_text(&text, origin);
    if (status == KD_OK) status = kd_h5_set_string(file, "origin", text);
    free(text);
    return status;
}

static int write_head(hid_t file, const kd_checkpoint *c) {
    int status = kd_h5_set_string(file, "schema", SCHEMA);
    if (status == KD_OK) status = kd_h5_set_int(file, "version", VERSION);
    if (status == KD_OK) status = kd_h5_set_string(file, "dtype", DTYPE);
    if (status == KD_OK) status = kd_h5_set_string(file, "stage", c->stage ? c->stage : "");
    if (status == KD_OK) status = kd_h5_set_string(file, "key", c->key.hex);
    if (status == KD_OK && c->origin) status = write_origin(file, c->origin);
    if (status == KD_OK)
        status = kd_h5_set_string(file, "config", c->config_json ? c->config_json : "");
    if (status == KD_OK) status = kd_h5_set_int(file, "moments", c->moment_count);
    return status == KD_OK ? write_state(file, &c->state) : status;
}

int kd_checkpoint_save(const char *path, const kd_checkpoint *c) {
    KD_CONTRACT(c->moment_count >= 0 && c->moment_count <= KD_MOMENTS_MAX, "%d moments",
                c->moment_count);
    hid_t file;
    int status = kd_h5_create(&file, path);
    if (status < 0) return status;
    status = write_head(file, c);
    for (int slab = -1; slab < c->moment_count && status == KD_OK; slab++)
        status = write_slab(file, slab, c);
    if (status == KD_OK) return kd_h5_commit(file, path);
    kd_h5_close(file);
    return status;
}

/* --- loading -------------------------------------------------------------------------------- */

static int open_checkpoint(hid_t *out, const char *path) {
    char text[64];
    int64_t version = 0;
    int status = kd_h5_open(out, path);
    if (status < 0) return status;
    status = kd_h5_get_string(*out, "schema", text, sizeof text);
    if (status < 0) return status;
    if (strcmp(text, SCHEMA) != 0)
        return kd_fail(KD_EDATA, "%s: is a '%s', not a checkpoint ('%s')", path, text, SCHEMA);
    status = kd_h5_get_int(*out, "version", &version);
    if (status < 0) return status;
    if (version < OLDEST || version > VERSION)
        return kd_fail(KD_EDATA,
                       "%s: checkpoint of version %lld; this program reads versions %d to %d", path,
                       (long long)version, OLDEST, VERSION);
    if (!kd_h5_is_sealed(*out))
        return kd_fail(
            KD_EDATA,
            "%s: has no seal, as every checkpoint is written with: another program wrote "
            "it anew, or its first 512 bytes were cut off",
            path);
    status = kd_h5_get_string(*out, "dtype", text, sizeof text);
    if (status < 0) return status;
    if (strcmp(text, DTYPE) != 0)
        return kd_fail(KD_EDATA, "%s: holds %s numbers; this build of the program reads %s", path,
                       text, DTYPE);
    return KD_OK;
}

static int read_origin(hid_t file, char **out) {
    *out = NULL;
    if (!kd_h5_has_attribute(file, "origin")) return KD_OK;
    return kd_h5_get_text(file, "origin", ORIGIN_MAX, out);
}

/* Of a file with another key: what differs. */
static int refuse_key(hid_t file, const char *path, const kd_checkpoint *c, const kd_hash *key) {
    char *made;
    int status = read_origin(file, &made);
    if (status == KD_OK && c->origin) status = kd_origin_check(path, made, c->origin);
    free(made);
    if (status < 0) return status;
    return kd_fail(KD_EDATA,
                   "%s: was made from another configuration, data or teacher store (its key is %s, "
                   "this run's %s)",
                   path, key->hex, c->key.hex);
}

/* That the file belongs to this run. */
static int check_key(hid_t file, const char *path, const kd_checkpoint *c) {
    char stage[64];
    kd_hash key;
    int status = kd_h5_get_string(file, "stage", stage, sizeof stage);
    if (status == KD_OK) status = kd_h5_get_string(file, "key", key.hex, sizeof key.hex);
    if (status < 0) return status;
    if (strcmp(key.hex, c->key.hex) != 0) return refuse_key(file, path, c, &key);
    if (strcmp(stage, c->stage ? c->stage : "") != 0)
        return kd_fail(KD_EDATA, "%s: is of the stage '%s', not '%s'", path, stage,
                       c->stage ? c->stage : "");
    return KD_OK;
}

static int check_moments(hid_t file, const char *path, const kd_checkpoint *c) {
    int64_t moments = 0;
    int status = kd_h5_get_int(file, "moments", &moments);
    if (status < 0 || moments == c->moment_count) return status;
    return kd_fail(KD_EDATA, "%s: has %lld moments of the optimizer, this run's has %d", path,
                   (long long)moments, c->moment_count);
}

int kd_checkpoint_check(const char *path, const kd_checkpoint *c) {
    hid_t file;
    int status = open_checkpoint(&file, path);
    if (status == KD_OK) status = check_key(file, path, c);
    kd_h5_close(file);
    return status;
}

int kd_checkpoint_origin(char **out, const char *path) {
    hid_t file;
    *out = NULL;
    int status = open_checkpoint(&file, path);
    if (status == KD_OK) status = read_origin(file, out);
    kd_h5_close(file);
    return status;
}

/* Everything into `staged` (the value slab, then the moments) and `state`, checked. */
static int read_all(hid_t file, const char *path, const kd_checkpoint *c, kd_real *staged,
                    kd_progress_state *state) {
    int64_t version;
    int status = kd_h5_get_int(file, "version", &version);
    if (status == KD_OK) status = read_state(file, version, state);
    for (int slab = -1; slab < c->moment_count && status == KD_OK; slab++) {
        status = read_slab(file, path, slab, c->params, staged);
        staged += slab < 0 ? c->params->slab_size : c->params->trained_size;
    }
    return status;
}

static void restore(const kd_params *params, int slab, kd_real *to, const kd_real *staged) {
    for (int i = 0; i < params->count; i++) {
        const kd_param *p = params->list[i];
        if (in_slab(p, slab))
            memcpy(to + p->offset, staged + p->offset, (size_t)p->tensor.size * sizeof *to);
    }
}

static int stage_create(kd_real **out, int64_t size) {
    size_t bytes = kd_array_bytes(size, sizeof **out);
    *out = malloc(bytes ? bytes : 1);
    return *out ? KD_OK : kd_fail_memory(bytes, "reading a checkpoint");
}

int kd_checkpoint_load(const char *path, kd_checkpoint *c) {
    kd_real *staged = NULL;
    kd_progress_state state;
    hid_t file;
    int status = open_checkpoint(&file, path);
    if (status == KD_OK) status = check_key(file, path, c);
    if (status == KD_OK) status = check_moments(file, path, c);
    if (status == KD_OK)
        status =
            stage_create(&staged, c->params->slab_size + c->moment_count * c->params->trained_size);
    if (status == KD_OK) status = read_all(file, path, c, staged, &state);
    if (status == KD_OK) {
        const kd_real *from = staged + c->params->slab_size;
        restore(c->params, -1, c->params->value, staged);
        for (int i = 0; i < c->moment_count; i++, from += c->params->trained_size)
            restore(c->params, i, c->moment[i], from);
        c->state = state;
        kd_params_touch(c->params);
    }
    free(staged);
    kd_h5_close(file);
    return status;
}

/* What does not fit when parameters are read into a network; the first SHOWN_MAX are listed. */
typedef struct {
    int wrong;
    kd_text list;
} misfits;

enum { SHOWN_MAX = 8 };

static void complain(misfits *m, const char *name, const char *what) {
    if (m->wrong++ < SHOWN_MAX) kd_text_add(&m->list, "\n  %s: %s", name, what);
}

/* That the file has parameter p, of its shape. */
static int look_for_param(hid_t file, const kd_param *p, misfits *m) {
    char name[DATASET_NAME_MAX], a[96], b[96], what[224];
    _Static_assert((int)KD_H5_RANK_MAX <= (int)KD_MAX_RANK, "every shape of a file fits a tensor");
    kd_tensor found = {0};
    dataset_name(name, -1, p);
    if (!kd_h5_has(file, name)) {
        complain(m, p->name, "is missing");
        return KD_OK;
    }
    int status = kd_h5_shape(file, name, &found.rank, found.shape);
    if (status < 0) return status;
    kd_tensor wanted = p->tensor;
    if (found.rank == wanted.rank &&
        memcmp(found.shape, wanted.shape, (size_t)wanted.rank * sizeof *wanted.shape) == 0)
        return KD_OK;
    snprintf(what, sizeof what, "has the shape %s, this network needs %s",
             kd_shape_text(a, sizeof a, &found), kd_shape_text(b, sizeof b, &wanted));
    complain(m, p->name, what);
    return KD_OK;
}

/* The file's parameters that the network does not have. */
static int look_for_strangers(hid_t file, const kd_params *params, bool (*beside)(const char *),
                              misfits *m) {
    char name[256];
    int64_t count;
    int status = kd_h5_count(file, "params", &count);
    for (int64_t i = 0; i < count && status == KD_OK; i++) {
        status = kd_h5_child(file, "params", i, name, sizeof name);
        if (status < 0 || kd_params_find(params, name) || (beside && beside(name))) continue;
        complain(m, name, "this network has no such parameter");
    }
    return status;
}

/* Names everything that is missing, too much or of another shape at once. */
static int check_params(hid_t file, const char *path, const kd_params *params,
                        bool (*beside)(const char *)) {
    misfits m = {0};
    int status = KD_OK;
    for (int i = 0; i < params->count && status == KD_OK; i++)
        status = look_for_param(file, params->list[i], &m);
    if (status == KD_OK) status = look_for_strangers(file, params, beside, &m);
    if (m.wrong > SHOWN_MAX) kd_text_add(&m.list, "\n  … and %d more", m.wrong - SHOWN_MAX);
    if (status == KD_OK && m.wrong > 0) {
        status = kd_text_finish(&m.list, "a message");
        if (status == KD_OK)
            status = kd_fail(KD_EDATA, "%s: its weights are not those of this model:%s", path,
                             m.list.text);
    }
    free(m.list.text);
    return status;
}

static int read_params(hid_t file, const char *path, const kd_params *params, kd_real *staged) {
    int status = KD_OK;
    for (int i = 0; i < params->count && status == KD_OK; i++) {
        const kd_param *p = params->list[i];
        status = read_tensor(file, -1, p, staged);
        if (status == KD_OK) status = kd_param_check(p, staged + p->offset, path);
    }
    return status;
}

int kd_checkpoint_load_params(const char *path, kd_params *params, bool (*beside)(const char *)) {
    kd_real *staged = NULL;
    hid_t file;
    int status = open_checkpoint(&file, path);
    if (status == KD_OK) status = check_params(file, path, params, beside);
    if (status == KD_OK) status = stage_create(&staged, params->slab_size);
    if (status == KD_OK) status = read_params(file, path, params, staged);
    if (status == KD_OK) {
        restore(params, -1, params->value, staged);
        kd_params_touch(params);
    }
    free(staged);
    kd_h5_close(file);
    return status;
}

int kd_checkpoint_config(char **out, char stage[KD_STAGE_MAX], const char *path) {
    hid_t file;
    *out = NULL;
    int status = open_checkpoint(&file, path);
    if (status == KD_OK) status = kd_h5_get_string(file, "stage", stage, KD_STAGE_MAX);
    if (status == KD_OK) status = kd_h5_get_text(file, "config", CONFIG_MAX, out);
    kd_h5_close(file);
    return status;
}
