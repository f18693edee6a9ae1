/* A speech recogniser's config, for `distill inspect`. */
#include "base/error.h"
#include "distill/quantize_keys.h"
#include "tasks/speech/speech.h"
#include "tasks/speech/speech_config.h"

static void add_lists(kd_text *out, const char *what, const kd_manifests *lists) {
    for (int i = 0; i < lists->count; i++) kd_text_add(out, "%s: %s\n", what, lists->path[i]);
}

static void add_layers(kd_text *out, const char *side, int layers) {
    if (layers > 0)
        kd_text_add(out, ", %d %s layers", layers, side);
    else
        kd_text_add(out, ", all %s layers", side);
}

int kd_speech_inspect(kd_text *out, const void *context) {
    const kd_speech_config *config = context;
    kd_text_add(out, "%s: configuration of the run %s, hash %s\n", config->path, config->name,
                config->hash.hex);
    add_lists(out, "training recordings", &config->data.train);
    add_lists(out, "validation recordings", &config->data.validation);
    add_lists(out, "test recordings", &config->data.test);
    kd_text_add(out, "teacher: %s\nstudent: as the teacher", config->teacher.weights);
    add_layers(out, "encoder", config->encoder_layers);
    add_layers(out, "decoder", config->decoder_layers);
    kd_text_add(out, "\n");
    for (int i = 0; i < config->quantize_count; i++)
        kd_text_add(out, "student.%s: %s%s\n", config->quantize[i].name,
                    kd_quantize_title(&config->quantize[i].budget, config->quantize[i].format_name,
                                      "formats by a budget"),
                    config->quantize[i].qat ? ", trained with rounded weights" : "");
    return KD_OK;
}
