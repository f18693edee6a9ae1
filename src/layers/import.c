#include "layers/import.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "layers/weights.h"

enum { STEM_MAX = KD_NAME_MAX + 16, SHOWN_MAX = 8 };

/* What can be wrong, in the order in which it is told. */
typedef enum { MISSING, OTHER_SHAPE, NO_NUMBER, LEFT_OVER, COMPLAINTS } complaint;

typedef struct {
    const kd_net *net;
    int n;
    const kd_foreign_array *array;
    int wrapped;              /* components in front of every name that wrap the model       */
    bool *used;               /* (n): some parameter wanted this array                       */
    bool copying;             /* false: only check                                           */
    int wrong[COMPLAINTS];    /* how many there are                                          */
    kd_text told[COMPLAINTS]; /* the first SHOWN_MAX of each                                 */
} import;

static void complain(import *job, complaint what, const char *name, const char *detail) {
    static const char *const says[] = {"is missing", "has the shape ", "",
                                       "belongs to no layer of the model"};
    if (job->wrong[what]++ < SHOWN_MAX)
        kd_text_add(&job->told[what], "\n  %s: %s%s", name, says[what], detail);
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

/* The first component of `name` that is no wrapper's. */
static const char *skip_wrappers(const char *name) {
    static const char *const wrapper[] = {"module.", "_orig_mod."};
    for (int i = 0; i < 2; i++) {
        const size_t length = strlen(wrapper[i]);
        if (strncmp(name, wrapper[i], length) != 0) continue;
        name += length;
        i = -1;
    }
    return name;
}

/* Behind the next component; NULL when it is the last. */
static const char *next_component(const char *name) {
    const char *dot = strchr(name, '.');
    return dot ? skip_wrappers(dot + 1) : NULL;
}

/* Whether `name`, without what wraps the model, is "stem.suffix". */
static bool is_named(const import *job, const char *name, const char *stem, const char *suffix) {
    char wanted[STEM_MAX + 32];
    snprintf(wanted, sizeof wanted, "%s.%s", stem, suffix);
    name = skip_wrappers(name);
    for (int i = 0; i < job->wrapped && name; i++) name = next_component(name);
    for (const char *part = wanted; name; name = next_component(name)) {
        const size_t length = strcspn(name, ".");
        if (strncmp(name, part, length) != 0 || part[length] != name[length]) return false;
        if (name[length] == '\0') return true;
        part += length + 1;
    }
    return false;
}

static int find_array(const import *job, const char *stem, const char *suffix) {
    for (int i = 0; i < job->n; i++)
        if (is_named(job, job->array[i].name, stem, suffix)) return i;
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
    complain(job, OTHER_SHAPE, theirs->name, detail);
}

static void check_numbers(import *job, const kd_foreign_array *theirs, bool variance) {
    int64_t size = 1;
    for (int i = 0; i < theirs->rank; i++) size *= theirs->shape[i];
    const int64_t bad = kd_find_bad_number(theirs->values, size, variance);
    if (bad < 0) return;
    char detail[96];
    snprintf(detail, sizeof detail, "its %snumber %lld is %g", variance ? "variance " : "",
             (long long)bad, (double)theirs->values[bad]);
    complain(job, NO_NUMBER, theirs->name, detail);
}

/* Rows of (C, positions) become rows of (positions, C). Of four axes, a row is one output channel's
 * kernel; of two, one unit's weights over the flattened (H,W,C). */
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
    if (t->rank == 4) channels = t->shape[3];
    if (t->rank == 2) channels = job->net->node[node->in[0]].out.c;
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
    complain(job, MISSING, p->name, "");
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

/* PyTorch's counters of batches and of averaged models, which are no weights. */
static bool is_counter(const char *name) {
    const char *dot = strrchr(name, '.');
    return strcmp(dot ? dot + 1 : name, "num_batches_tracked") == 0 ||
           strcmp(name, "n_averaged") == 0;
}

static void complain_about_strangers(import *job) {
    for (int i = 0; i < job->n; i++)
        if (!job->used[i] && !is_counter(job->array[i].name))
            complain(job, LEFT_OVER, job->array[i].name, "");
}

static void forget_complaints(import *job) {
    for (int what = 0; what < COMPLAINTS; what++) {
        free(job->told[what].text);
        job->told[what] = (kd_text){0};
        job->wrong[what] = 0;
    }
    memset(job->used, 0, (size_t)job->n * sizeof *job->used);
}

/* How many components in front all arrays share, one at least being left. */
static int shared_components(const import *job) {
    const char *first = NULL;
    int shared = 0;
    for (int i = 0; i < job->n; i++) {
        const char *name = skip_wrappers(job->array[i].name);
        if (is_counter(name)) continue;
        int alike = 0;
        const char *of_first = first ? first : name, *at = name;
        for (;; alike++) {
            const size_t length = strcspn(at, ".");
            const char *behind = next_component(at), *next = next_component(of_first);
            if (!behind || !next || strncmp(at, of_first, length + 1) != 0) break;
            at = behind;
            of_first = next;
        }
        if (!first || alike < shared) shared = alike;
        if (!first) first = name;
    }
    return shared;
}

/* Checks with as many components taken away as leave the fewest parameters without an array. */
static void check(import *job) {
    const int shared = shared_components(job);
    int best = 0, fewest = INT_MAX;
    for (int wrapped = 0; wrapped <= shared && fewest > 0; wrapped++) {
        job->wrapped = wrapped;
        forget_complaints(job);
        walk(job);
        if (job->wrong[MISSING] < fewest) {
            fewest = job->wrong[MISSING];
            best = wrapped;
        }
    }
    job->wrapped = best;
    forget_complaints(job);
    walk(job);
    complain_about_strangers(job);
}

/* KD_OK when nothing is wrong; else everything in one message. */
static int report(import *job, const char *source) {
    static const char *const more[] = {"are missing", "have another shape",
                                       "hold what is no number", "belong to no layer"};
    kd_text all = {0};
    int wrong = 0;
    for (int what = 0; what < COMPLAINTS; what++) {
        const int hidden = job->wrong[what] - SHOWN_MAX;
        wrong += job->wrong[what];
        if (job->wrong[what] > 0) kd_text_add(&all, "%s", job->told[what].text);
        if (hidden > 0) kd_text_add(&all, "\n  … and %d more %s", hidden, more[what]);
    }
    if (wrong == 0) return KD_OK;
    int status = kd_text_finish(&all, "a message");
    if (status == KD_OK)
        status =
            kd_fail(KD_EDATA, "%s: its weights are not those of this model:%s", source, all.text);
    free(all.text);
    return status;
}

int kd_import_params(kd_net *net, int n, const kd_foreign_array *array, const char *source) {
    KD_CONTRACT(net->params->laid_out, "import before the layout");
    bool *used = calloc((size_t)n + 1, sizeof *used);
    if (!used) return kd_fail_memory((unsigned long long)n, "an import");
import job = {.net = net, .n = n, .array = array, .used = used };
    check(&job);
    int status = report(&job, source);
    if (status == KD_OK) {
        job.copying = true;
        walk(&job);
        kd_params_touch(net->params);
    }
    forget_complaints(&job);
    free(used);
    return status;
}
