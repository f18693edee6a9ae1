/* Do two data sets show a network the same thing? */
#include <string.h>

#include "base/error.h"
#include "data/dataset.h"

int kd_class_names_agree(int a_classes, const char (*a)[KD_CLASS_NAME_MAX], const char *a_name,
                         int b_classes, const char (*b)[KD_CLASS_NAME_MAX], const char *b_name) {
    if (a_classes != b_classes)
        return kd_fail(KD_ECONFIG, "%s: %d classes; %s: %d", a_name, a_classes, b_name, b_classes);
    for (int i = 0; i < a_classes; i++)
        if (strcmp(a[i], b[i]) != 0)
            return kd_fail(KD_ECONFIG,
                           "%s: class %d is \"%s\"; %s: it is \"%s\"; both must name the same "
                           "classes in the same order",
                           a_name, i, a[i], b_name, b[i]);
    return KD_OK;
}

int kd_audio_agree(const kd_audio_spec *a, const char *a_name, const kd_audio_spec *b,
                   const char *b_name) {
    const struct {
        const char *key;
        double a, b;
    } number[] = {{"sample_rate", a->sample_rate, b->sample_rate},
                  {"window", a->window, b->window},
                  {"hop", a->hop, b->hop},
                  {"mels", a->mels, b->mels},
                  {"seconds", a->seconds, b->seconds},
                  {"trim", a->trim, b->trim},
                  {"range", a->range, b->range}};
    for (size_t i = 0; i < sizeof number / sizeof *number; i++)
        if (number[i].a != number[i].b)
            return kd_fail(KD_ECONFIG,
                           "%s: data.audio.%s is %g; %s: it is %g; the same sounds would be "
                           "other numbers",
                           a_name, number[i].key, number[i].a, b_name, number[i].b);
    if (a->normalise == b->normalise) return KD_OK;
    return kd_fail(KD_ECONFIG,
                   "%s: data.audio.normalise is \"%s\"; %s: it is \"%s\"; the same sounds would be "
                   "other numbers",
                   a_name, kd_clip_norm_name[a->normalise], b_name,
                   kd_clip_norm_name[b->normalise]);
}

int kd_dataset_agree(const kd_dataset *a, const char *a_name, const kd_dataset *b,
                     const char *b_name) {
    const bool shapes = a->h > 0 && b->h > 0;
    if ((a->audio.sample_rate > 0) != (b->audio.sample_rate > 0))
        return kd_fail(KD_EDATA, "%s: %s; %s: %s", a_name,
                       a->audio.sample_rate > 0 ? "sounds" : "pictures", b_name,
                       b->audio.sample_rate > 0 ? "sounds" : "pictures");
    int status = kd_audio_agree(&a->audio, a_name, &b->audio, b_name);
    if (status < 0) return status;
    if ((shapes && (a->h != b->h || a->w != b->w)) || a->c != b->c)
        return kd_fail(KD_EDATA,
                       "%s: samples of %lldx%lldx%lld; %s: %lldx%lldx%lld; a network takes one "
                       "size: bring all pictures to it",
                       a_name, (long long)a->h, (long long)a->w, (long long)a->c, b_name,
                       (long long)b->h, (long long)b->w, (long long)b->c);
    if (a->classes == 0 || b->classes == 0) return KD_OK;
    return kd_class_names_agree(a->classes, (const char(*)[KD_CLASS_NAME_MAX])a->class_name, a_name,
                                b->classes, (const char(*)[KD_CLASS_NAME_MAX])b->class_name,
                                b_name);
}

bool kd_normaliser_equal(const kd_normaliser *a, const kd_normaliser *b) {
    if (a->unit != b->unit || a->channels != b->channels) return false;
    for (int k = 0; k < a->channels; k++)
        if (a->mean[k] != b->mean[k] || a->deviation[k] != b->deviation[k]) return false;
    return true;
}
