#include "tasks/classify/bias_option.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"

static int find_class(const kd_dataset *dataset, const char *name) {
    kd_guess guess = kd_guess_begin(name);
    for (int v = 0; v < dataset->classes; v++) {
        if (strcmp(dataset->class_name[v], name) == 0) return v;
        kd_guess_offer(&guess, dataset->class_name[v]);
    }
    if (guess.best)
        return kd_fail(KD_EUSAGE, "--bias: there is no class '%s'; did you mean '%s'?", name,
                       guess.best);
    return kd_fail(KD_EUSAGE, "--bias: there is no class '%s'; there are '%s' … '%s'", name,
                   dataset->class_name[0], dataset->class_name[dataset->classes - 1]);
}

static bool has_label(const kd_class_bias *bias, int label) {
    for (int k = 0; k < bias->count; k++)
        if (bias->label[k] == label) return true;
    return false;
}

/* The names between the commas of `length` bytes. */
static int parse_classes(kd_class_bias *out, const char *text, size_t length,
                         const kd_dataset *dataset) {
    for (size_t at = 0; at <= length;) {
        char name[KD_CLASS_NAME_MAX];
        size_t n = strcspn(text + at, ",");
        if (n > length - at) n = length - at;
        snprintf(name, sizeof name, "%.*s", (int)n, text + at);
        int label = find_class(dataset, name);
        if (label < 0) return label;
        if (has_label(out, label))
            return kd_fail(KD_EUSAGE, "--bias %s: class '%s' twice", text, name);
        if (out->count == KD_BIAS_LABELS_MAX || out->count + 1 == dataset->classes)
            return kd_fail(KD_EUSAGE,
                           "--bias %s: the same shift for so many classes; at most %d of %d", text,
                           out->count, dataset->classes);
        out->label[out->count++] = label;
        at += n + 1;
    }
    return KD_OK;
}

static int parse_option(kd_class_bias *out, bool *chosen, const char *text,
                        const kd_dataset *dataset) {
    const char *equals = strrchr(text, '=');
    char *end = NULL;
    if (equals) {
        *chosen = strcmp(equals + 1, "auto") == 0;
        out->shift = *chosen ? 0 : strtod(equals + 1, &end);
    }
    if (!equals || (!*chosen && (end == equals + 1 || *end || !isfinite(out->shift))))
        return kd_fail(KD_EUSAGE,
                       "--bias %s: expected CLASS=SHIFT with a number or auto, as in 3=+3.5", text);
    return parse_classes(out, text, (size_t)(equals - text), dataset);
}

int kd_bias_options_parse(kd_bias_options *out, int count, const char *const *values,
                          const kd_dataset *dataset) {
    *out = (kd_bias_options){0};
    if (count > KD_BIAS_OPTIONS_MAX)
        return kd_fail(KD_EUSAGE, "more than %d times --bias", KD_BIAS_OPTIONS_MAX);
    for (; out->count < count; out->count++) {
        int i = out->count;
        int status = parse_option(&out->bias[i], &out->chosen[i], values[i], dataset);
        if (status < 0) return status;
    }
    return KD_OK;
}

bool kd_bias_options_auto(const kd_bias_options *options) {
    for (int i = 0; i < options->count; i++)
        if (options->chosen[i]) return true;
    return false;
}

/* Without samples of a class the best bias is minus infinity. */
static int check_classes(const kd_class_bias *bias, const kd_result *result,
                         const kd_dataset *held) {
    for (int k = 0; k < bias->count; k++)
        if (result->class_samples[bias->label[k]] == 0)
            return kd_fail(KD_ECONFIG,
                           "--bias auto: none of the %lld validation samples is of class '%s'",
                           (long long)held->count, held->class_name[bias->label[k]]);
    return KD_OK;
}

int kd_bias_options_choose(kd_bias_options *options, const kd_result *result,
                           const kd_dataset *held, float *logits) {
    for (int i = 0; i < options->count; i++) {
        kd_class_bias *bias = &options->bias[i];
        int status = options->chosen[i] ? check_classes(bias, result, held) : KD_OK;
        if (status == KD_OK && options->chosen[i])
            status = kd_class_bias_choose(bias, held->count, held->classes, logits, held->label);
        if (status < 0) return status;
        kd_class_bias_add(bias, held->count, held->classes, logits);
    }
    kd_result after;
    int status = kd_evaluate_logits(&after, held, logits);
    if (status < 0) return status;
    char name[64];
    kd_bias_options_name(options, held, name, sizeof name);
    kd_log("%s: errors on the %lld validation samples from %lld to %lld", name,
           (long long)held->count, (long long)(result->samples - result->correct),
           (long long)(after.samples - after.correct));
    kd_result_free_counts(&after);
    return KD_OK;
}

void kd_bias_options_name(const kd_bias_options *options, const kd_dataset *dataset, char *out,
                          size_t capacity) {
    size_t used = (size_t)snprintf(out, capacity, "bias");
    for (int i = 0; i < options->count && used < capacity; i++) {
        const kd_class_bias *bias = &options->bias[i];
        for (int k = 0; k < bias->count && used < capacity; k++)
            used += (size_t)snprintf(out + used, capacity - used, "%s%s",
                                     k   ? ","
                                     : i ? ", "
                                         : " ",
                                     dataset->class_name[bias->label[k]]);
        if (used < capacity)
            used += (size_t)snprintf(out + used, capacity - used, " %s%.2f",
                                     bias->shift < 0 ? "−" : "+", fabs(bias->shift));
    }
}
