#include "distill/train_keys.h"

#include <string.h>

#include "config/defaults.h"

void kd_config_check_train(kd_config_reader *reader, const cJSON *object, const char *path,
                           const kd_train_spec *train) {
    if (train->warmup_epochs > (double)train->epochs)
        kd_config_complain_key(reader, object, path, "warmup_epochs",
                               "%g epochs of warm-up in a training of %lld", train->warmup_epochs,
                               (long long)train->epochs);
    if (train->nesterov && train->optimizer == KD_OPTIMIZER_SGD && train->momentum <= 0)
        kd_config_complain_key(reader, object, path, "nesterov", "needs a momentum above 0");
}

void kd_config_train_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                            void *base) {
    kd_config_check_train(reader, object, path, base);
}

void kd_config_qat_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out) {
    (void)object;
    static const char *const own[] = {"epochs", "learning_rate", "warmup_epochs"};
    const cJSON *train = kd_json_get(reader->resolved, "train");
    for (const cJSON *item = train ? train->child : NULL; item; item = item->next) {
        bool inherited = true;
        for (int i = 0; i < 3; i++) inherited = inherited && strcmp(item->string, own[i]) != 0;
        if (inherited) kd_default_copy(reader, out, item->string, item);
    }
    const cJSON *rate = kd_json_get(train, "learning_rate");
    kd_default_number(reader, out, "learning_rate", rate ? rate->valuedouble / 10 : 0.01);
}

/* 0: the divergence has no mixture. */
static double usual_skew(const cJSON *loss) {
    const cJSON *divergence = kd_json_get(loss, "divergence");
    const char *name = cJSON_IsString(divergence) ? divergence->valuestring : "";
    if (strcmp(name, "jensen_shannon") == 0) return 0.5;
    return strncmp(name, "skewed_", 7) == 0 ? 0.1 : 0;
}

void kd_config_divergence_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out) {
    if (usual_skew(object) > 0) kd_default_number(reader, out, "skew", usual_skew(object));
}

void kd_config_check_divergence(kd_config_reader *reader, const cJSON *object, const char *path) {
    if (kd_json_get(object, "skew") && usual_skew(object) <= 0)
        kd_config_complain_key(reader, object, path, "skew",
                               "goes with jensen_shannon, skewed_kl and skewed_reverse_kl only");
}
