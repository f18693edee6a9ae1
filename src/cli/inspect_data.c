/* Files of numbers: checkpoints, teacher stores, safetensors. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "cli/inspect.h"
#include "data/h5.h"
#include "data/store.h"
#include "files/safetensors.h"
#include "report/metric.h"

/* --- checkpoint ----------------------------------------------------------------------------- */

static int add_parameters(kd_text *out, hid_t file) {
    int64_t tensors, total = 0;
    kd_text rows = {0};
    int status = kd_h5_count(file, "params", &tensors);
    kd_text_add(&rows, "parameter\tshape\tnumbers\n");
    for (int64_t i = 0; i < tensors && status == KD_OK; i++) {
        char name[128], set[160], count[32];
        int rank;
        int64_t shape[KD_H5_RANK_MAX], size = 1;
        status = kd_h5_child(file, "params", i, name, sizeof name);
        snprintf(set, sizeof set, "params/%s", name);
        if (status == KD_OK) status = kd_h5_shape(file, set, &rank, shape);
        if (status < 0) break;
        for (int d = 0; d < rank; d++) size *= shape[d];
        total += size;
        kd_format_count(count, sizeof count, size);
        kd_text_add_plain(&rows, name, strlen(name));
        kd_text_add(&rows, "\t");
        kd_inspect_add_shape(&rows, rank, shape);
        kd_text_add(&rows, "\t%s\n", count);
    }
    if (status < 0) {
        free(rows.text);
        return status;
    }
    char count[32];
    kd_format_count(count, sizeof count, total);
    kd_text_add(&rows, "all %lld\t\t%s\n", (long long)tensors, count);
    return kd_text_add_rows(out, "lrr", &rows);
}

int kd_inspect_checkpoint(kd_text *out, const char *path) {
    hid_t file;
    int status = kd_h5_open(&file, path);
    if (status < 0) return status;
    char stage[64] = "", key[64] = "", dtype[32] = "", duration[32];
    char metric[KD_METRIC_NAME_MAX] = "accuracy"; /* of a file of version 1 */
    int64_t step = 0, epoch = 0, best_epoch = 0;
    double best = NAN, elapsed = 0;
    status = kd_h5_get_string(file, "stage", stage, sizeof stage);
    if (status == KD_OK) status = kd_h5_get_string(file, "key", key, sizeof key);
    if (status == KD_OK) status = kd_h5_get_string(file, "dtype", dtype, sizeof dtype);
    if (status == KD_OK) status = kd_h5_get_int(file, "step", &step);
    if (status == KD_OK) status = kd_h5_get_int(file, "epoch", &epoch);
    const bool named = kd_h5_has_attribute(file, "best_metric");
    if (status == KD_OK && named)
        status = kd_h5_get_string(file, "best_metric", metric, sizeof metric);
    if (status == KD_OK)
        status = kd_h5_get_double(file, named ? "best_value" : "best_accuracy", &best);
    if (status == KD_OK) status = kd_h5_get_int(file, "best_epoch", &best_epoch);
    if (status == KD_OK) status = kd_h5_get_double(file, "elapsed", &elapsed);
    if (status == KD_OK) {
        kd_format_duration(duration, sizeof duration, elapsed);
        kd_text_add(out, "%s: checkpoint of the stage %s, %s, key %s\n", path, stage, dtype, key);
        kd_text_add(out, "after %lld updates, %lld whole epochs, %s of training\n", (long long)step,
                    (long long)epoch, duration);
        if (best_epoch > 0)
            kd_text_add(out, "best on the validation split: %s %.6g after epoch %lld\n", metric,
                        best, (long long)best_epoch);
        kd_text_add(out, "\n");
        status = add_parameters(out, file);
    }
    kd_h5_close(file);
    return status < 0 ? kd_fail_in(status, "%s", path) : KD_OK;
}

/* --- teacher store -------------------------------------------------------------------------- */

int kd_inspect_store(kd_text *out, const char *path) {
    kd_store *store;
    int status = kd_store_open(&store, path);
    if (status < 0) return status;
    const kd_store_header *h = kd_store_describe(store);
    const char *dtype = h->dtype == KD_STORE_F16 ? "float16" : "float32";
    char rows[32];
    kd_format_count(rows, sizeof rows, kd_store_rows(store));
    kd_text_add(out, "%s: teacher store, whole\n%s\n\n", path, h->description);
    kd_text_add(out, "rows       %s (%lld view%s of each sample%s)\n", rows, (long long)h->views,
                h->views == 1 ? "" : "s", h->augmented ? ", augmented" : "");
    if (h->sequences) {
        kd_format_count(rows, sizeof rows, kd_store_positions(store));
        kd_text_add(out, "positions  %s in sequences, one row each\n", rows);
    }
    if (h->kind == KD_STORE_DENSE)
        kd_text_add(out, "targets    all %d logits, %s\n", h->classes, dtype);
    else if (h->kind == KD_STORE_HIDDEN)
        kd_text_add(out,
                    "targets    the last hidden state, %d wide, %s; with the output matrix all %d "
                    "logits\n",
                    h->width, dtype, h->classes);
    else if (h->kind == KD_STORE_SAMPLED)
        kd_text_add(out, "targets    %d draws out of %d classes, %.1f different ones a position\n",
                    h->draws, h->classes,
                    (double)kd_store_drawn(store) / (double)kd_store_positions(store));
    else
        kd_text_add(out, "targets    the largest %d of %d logits, %s\n", h->k, h->classes, dtype);
    const char *what = h->kind == KD_STORE_SAMPLED ? "drawn at τ = " : "tails at τ = ";
    for (int i = 0; i < h->temperature_count; i++)
        kd_text_add(out, "%s%g%s", i ? ", " : what, h->temperature[i],
                    i + 1 == h->temperature_count ? "\n" : "");
    kd_text_add(out, "teacher    %s\nclasses    %s\ndata       %s\n", h->teacher.hex,
                h->class_list.hex, h->data.hex);
    kd_store_free(store);
    return KD_OK;
}

/* --- safetensors ---------------------------------------------------------------------------- */

int kd_inspect_safetensors(kd_text *out, const char *path) {
    kd_safetensors *file;
    int status = kd_safetensors_open(&file, path);
    if (status < 0) return status;
    kd_text rows = {0};
    int64_t tensors = kd_safetensors_count(file), numbers = 0;
    double bytes = 0;
    kd_text_add(&rows, "tensor\ttype\tshape\tnumbers\tsize\n");
    for (int64_t i = 0; i < tensors; i++) {
        const kd_safetensors_entry *e = kd_safetensors_at(file, i);
        char count[32], size[32];
        kd_format_count(count, sizeof count, e->count);
        kd_format_bytes(size, sizeof size, (double)(e->end - e->begin));
        kd_text_add_plain(&rows, e->name, strlen(e->name));
        kd_text_add(&rows, "\t%s\t", e->dtype);
        kd_inspect_add_shape(&rows, e->rank, e->shape);
        kd_text_add(&rows, "\t%s\t%s\n", count, size);
        numbers += e->count;
        bytes += (double)(e->end - e->begin);
    }
    kd_inspect_add_total(&rows, tensors, numbers, bytes);
    kd_text_add(out, "%s: safetensors\n\n", path);
    kd_safetensors_close(file);
    return kd_text_add_rows(out, "llrrr", &rows);
}
