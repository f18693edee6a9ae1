#include "layers/import.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "layers/weights.h"

enum { STEM_MAX = KD_NAME_MAX + 16, SHOWN_MAX = 8 };

typedef struct {
    const kd_net *net;
    int n;
    const kd_foreign_array *array;
    bool *used;      /* (n): some parameter wanted this array */
    bool copying;    /* false: only check                     */
    int wrong;       /* how many complaints there are         */
    kd_text message; /* the first SHOWN_MAX of them           */
} import;

static void complain(import *job, const char *what, const char *name, const char *detail) {
    if (job->wrong++ < SHOWN_MAX) kd_text_add(&job->message, "\n  %s: %s%s", name, what, detail);
}

/* "layer2.0.shortcut" → "layer2.0.downsample.0": `name` with its `tail` replaced; false when it
 * does not end so. */
static bool with_tail(char *out, const char *name, const char *tail, const char *replacement) {
    size_t length = strlen(name), cut = strlen(tail);
    if (length < cut || strcmp(name + length - cut, tail) != 0) return false;
    snprintf(out, STEM_MAX, "%.*s%s", (int)(length - cut), name, replacement);
    return true;
}

/* The `choice`-th name under which others keep a node's weight; false behind the last. */
static bool weight_stem(char *out, const char *node, int choice) {
    bool classifier = strcmp(node, "linear") == 0;
    switch (choice) {
    case 0:
        snprintf(out, STEM_MAX, "%s", node);
        return true;
    case 1:
        if (!classifier) return with_tail(out, node, ".shortcut", ".shortcut.0");
        memcpy(out, "fc", 3);
        return true;
    case 2:
        if (!classifier) return with_tail(out, node, ".shortcut", ".downsample.0");
        memcpy(out, "classifier", 11);
        return true;
    default:
        return false;
    }
}

/* The same for its batch norm. */
static bool norm_stem(char *out, const char *node, int choice) {
    const char *conv = NULL;
    for (const char *p = node; (p = strstr(p, "conv")) != NULL; p++) conv = p;
    switch (choice) {
    case 0:
        snprintf(out, STEM_MAX, "%s.bn", node);
        return true;
    case 1:
        if (!conv) return with_tail(out, node, ".shortcut", ".shortcut.1");
        snprintf(out, STEM_MAX, "%.*sbn%s", (int)(conv - node), node, conv + 4);
        return true;
    case 2:
        return with_tail(out, node, ".shortcut", ".downsample.1");
    default:
        return false;
    }
}

static const char *without_wrapper(const char *name) {
    return strncmp(name, "module.", 7) == 0 ? name + 7 : name;
}

static int find_array(const import *job, const char *stem, const char *suffix) {
    size_t length = strlen(stem);
    for (int i = 0; i < job->n; i++) {
        const char *name = without_wrapper(job->array[i].name);
        if (strncmp(name, stem, length) == 0 && name[length] == '.' &&
            strcmp(name + length + 1, suffix) == 0)
            return i;
    }
    return -1;
}

/* Whether the array has the shape PyTorch gives a parameter of ours: (O,I,KH,KW) for (O,KH,KW,I),
 * otherwise the same. */
static bool fits(const kd_tensor *ours, const kd_foreign_array *theirs) {
    static const int order[4] = {0, 2, 3, 1};
    if (theirs->rank != ours->rank) return false;
    for (int i = 0; i < ours->rank; i++)
        if (ours->shape[i] != theirs->shape[ours->rank == 4 ? order[i] : i]) return false;
    return true;
}

static void complain_shape(import *job, const kd_param *p, const kd_foreign_array *theirs) {
    kd_tensor found = {.rank = theirs->rank}, wanted = {.rank = p->tensor.rank};
    memcpy(found.shape, theirs->shape, sizeof found.shape);
    memcpy(wanted.shape, p->tensor.shape, sizeof wanted.shape);
    if (wanted.rank == 4) { /* say it in the file's order of axes */
        wanted.shape[1] = p->tensor.shape[3];
        wanted.shape[2] = p->tensor.shape[1];
        wanted.shape[3] = p->tensor.shape[2];
    }
    char a[96], b[96], detail[224];
    snprintf(detail, sizeof detail, "%s, the model needs %s", kd_shape_text(a, sizeof a, &found),
             kd_shape_text(b, sizeof b, &wanted));
    complain(job, "has the shape ", theirs->name, detail);
}

static void check_numbers(import *job, const kd_foreign_array *theirs, bool variance) {
    int64_t size = 1;
    for (int i = 0; i < theirs->rank; i++) size *= theirs->shape[i];
    const int64_t bad = kd_find_bad_number(theirs->values, size, variance);
    if (bad < 0) return;
    char detail[64];
    snprintf(detail, sizeof detail, "%lld is %g", (long long)bad, (double)theirs->values[bad]);
    complain(job, variance ? "its variance number " : "its number ", theirs->name, detail);
}

/* Rows of (C, positions) become rows of (positions, C). For a convolution a row is one output
 * channel's kernel; for a linear layer one unit's weights over the flattened (H,W,C). */
static void copy_channels_last(kd_real *out, const float *in, int64_t rows, int64_t channels,
                               int64_t positions) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < channels; c++)
            for (int64_t s = 0; s < positions; s++)
                out[(r * positions + s) * channels + c] =
                    (kd_real)in[(r * channels + c) * positions + s];
}

static void copy_values(const import *job, const kd_net_node *node, kd_param *p,
                        const kd_foreign_array *theirs) {
    kd_tensor *t = &p->tensor;
    int64_t rows = t->shape[0], channels = 1;
    if (p == node->weight && node->kind == KD_NODE_CONV) channels = t->shape[3];
    if (p == node->weight && node->kind == KD_NODE_LINEAR)
        channels = job->net->node[node->in[0]].out.c;
    copy_channels_last(t->value, theirs->values, rows, channels, t->size / rows / channels);
}

static void import_param(import *job, const kd_net_node *node, kd_param *p, const char *suffix,
                         bool (*stem_of)(char *, const char *, int)) {
    if (!p) return;
    char stem[STEM_MAX];
    for (int choice = 0; stem_of(stem, node->name, choice); choice++) {
        int i = find_array(job, stem, suffix);
        if (i < 0) continue;
        job->used[i] = true;
        if (job->copying)
            copy_values(job, node, p, &job->array[i]);
        else if (!fits(&p->tensor, &job->array[i]))
            complain_shape(job, p, &job->array[i]);
        else
            check_numbers(job, &job->array[i], p == node->var);
        return;
    }
    complain(job, "is missing", p->name, "");
}

static void walk(import *job) {
    for (int i = 1; i < job->net->count; i++) {
        const kd_net_node *node = &job->net->node[i];
        import_param(job, node, node->weight, "weight", weight_stem);
        import_param(job, node, node->bias, "bias", weight_stem);
        import_param(job, node, node->gamma, "weight", norm_stem);
        import_param(job, node, node->beta, "bias", norm_stem);
        import_param(job, node, node->mean, "running_mean", norm_stem);
        import_param(job, node, node->var, "running_var", norm_stem);
    }
}

static void complain_about_strangers(import *job) {
    for (int i = 0; i < job->n; i++) {
        const char *name = job->array[i].name, *dot = strrchr(name, '.');
        if (job->used[i] || (dot && strcmp(dot, ".num_batches_tracked") == 0)) continue;
        complain(job, "belongs to no layer of the model", name, "");
    }
}

int kd_import_params(kd_net *net, int n, const kd_foreign_array *array, const char *source) {
    KD_CONTRACT(net->params->laid_out, "import before the layout");
    bool *used = calloc((size_t)n + 1, sizeof *used);
    if (!used) return kd_fail_memory((unsigned long long)n, "an import");
import job = {.net = net, .n = n, .array = array, .used = used };
    int status = KD_OK;
    walk(&job);
    complain_about_strangers(&job);
    if (job.wrong > 0) {
        if (job.wrong > SHOWN_MAX)
            kd_text_add(&job.message, "\n  … and %d more", job.wrong - SHOWN_MAX);
        status = kd_text_finish(&job.message, "a message");
        if (status == KD_OK)
            status = kd_fail(KD_EDATA, "%s: its weights are not those of this model:%s", source,
                             job.message.text);
        goto done;
    }
    job.copying = true;
    walk(&job);
    kd_params_touch(net->params);
done:
    free(job.message.text);
    free(used);
    return status;
}
