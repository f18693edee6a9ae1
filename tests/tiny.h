/* A small learnable data set and job, for tests of whatever trains. */
#ifndef KD_TESTS_TINY_H
#define KD_TESTS_TINY_H

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "tasks/classify/classifier.h"

enum { TINY_CLASSES = 4, TINY_SIDE = 8 };

/* Noise, with a bright square whose corner tells the class. */
static inline void tiny_dataset(kd_dataset *d, int64_t count) {
    const int64_t size = TINY_SIDE * TINY_SIDE;
    *d = (kd_dataset){.count = count,
                      .h = TINY_SIDE,
                      .w = TINY_SIDE,
                      .c = 1,
                      .classes = TINY_CLASSES,
                      .normaliser = {.unit = 1 / 255.0f}};
    d->class_name = calloc(TINY_CLASSES, sizeof *d->class_name);
    d->bytes = malloc((size_t)(count * size));
    d->label = malloc((size_t)count * sizeof *d->label);
    d->id = malloc((size_t)count * sizeof *d->id);
    kd_rng rng = kd_rng_init(5, 6);
    for (int64_t i = 0; i < count; i++) {
        int label = (int)kd_rng_below(&rng, TINY_CLASSES);
        d->label[i] = label;
        d->id[i] = (uint64_t)i;
        for (int64_t p = 0; p < size; p++) {
            int64_t row = p / TINY_SIDE, column = p % TINY_SIDE;
            bool inside =
                (row >= TINY_SIDE / 2) == (label / 2) && (column >= TINY_SIDE / 2) == (label % 2);
            d->bytes[i * size + p] = (uint8_t)(kd_rng_below(&rng, 100) + (inside ? 90 : 0));
        }
    }
    for (int c = 0; c < TINY_CLASSES; c++) d->class_name[c][0] = (char)('a' + c);
    d->hash = kd_hash_bytes(d->bytes, (size_t)(count * size));
}

static inline void tiny_dataset_clear(kd_dataset *d) {
    free(d->class_name);
    free(d->bytes);
    free(d->label);
    free(d->id);
}

static inline kd_learner *tiny_learner(const kd_model_spec *model, uint64_t seed) {
    kd_learner *learner = NULL;
    kd_learner_spec spec = {
        .model = model, .input = {TINY_SIDE, TINY_SIDE, 1}, .classes = TINY_CLASSES, .seed = seed};
    return kd_learner_create(&learner, &spec) < 0 ? NULL : learner;
}

/* A cnn with batch norm and dropout: everything whose state a checkpoint must carry. */
static inline kd_model_spec tiny_cnn(void) {
    kd_model_spec model = {.kind = KD_MODEL_CNN, .layer_count = 3};
    model.layer[0] = (kd_node_spec){.kind = KD_NODE_CONV,
                                     .channels = 6,
                                     .kernel = {3, 3},
                                     .stride = {1, 1},
                                     .padding = {1, 1},
                                     .groups = 1,
                                     .batch_norm = true,
                                     .relu = true};
    model.layer[1] = (kd_node_spec){.kind = KD_NODE_MAX_POOL, .kernel = {2, 2}, .stride = {2, 2}};
    model.layer[2] = (kd_node_spec){.kind = KD_NODE_DROPOUT, .drop = 0.2};
    return model;
}

static inline kd_train_spec tiny_train(void) {
    return (kd_train_spec){.epochs = 3,
                           .batch = 16,
                           .accumulate = 1,
                           .optimizer = KD_OPTIMIZER_ADAMW,
                           .learning_rate = 0.01,
                           .beta1 = 0.9,
                           .beta2 = 0.999,
                           .epsilon = 1e-8,
                           .weight_decay = 0.01,
                           .schedule = KD_SCHEDULE_COSINE,
                           .warmup_epochs = 0.5,
                           .clip = 1,
                           .evaluate_every = 1,
                           .checkpoint_seconds = 60};
}

static const kd_loss_config TINY_LOSS = {.hard = 1, .temperature = 1, .label_smoothing = 0.1};

static inline kd_classifier_job tiny_job(const char *folder, const kd_train_spec *spec,
                                         const kd_dataset *train, const kd_dataset *validation) {
    return (kd_classifier_job){.loop = {.stage = "train",
                                        .folder = folder,
                                        .spec = spec,
                                        .seed = 3,
                                        .key = {"0123"},
                                        .config_json = "{}"},
                               .loss = &TINY_LOSS,
                               .mode = KD_RUN_FLOAT,
                               .train = train,
                               .validation = validation,
                               .augment = {.shift_h = 1, .shift_w = 1, .flip = false}};
}

static inline void tiny_put_u32(unsigned char *out, uint32_t value) {
    for (int i = 0; i < 4; i++) out[i] = (unsigned char)(value >> (24 - 8 * i));
}

/* The idx pair of samples [first, first + n), in `folder`. */
static inline void tiny_write_idx(const char *folder, const kd_dataset *d, int64_t first, int64_t n,
                                  const char *images, const char *labels) {
    const size_t size = TINY_SIDE * TINY_SIDE;
    char path[KD_PATH_MAX];
    unsigned char *file = calloc(16 + (size_t)n * size, 1);
    assert_non_null(file);
    tiny_put_u32(file, 0x803);
    tiny_put_u32(file + 4, (uint32_t)n);
    tiny_put_u32(file + 8, TINY_SIDE);
    tiny_put_u32(file + 12, TINY_SIDE);
    memcpy(file + 16, d->bytes + (size_t)first * size, (size_t)n * size);
    assert_int_equal(kd_path_join(path, folder, images), 0);
    assert_int_equal(kd_file_replace(path, file, 16 + (size_t)n * size), 0);
    tiny_put_u32(file, 0x801);
    for (int64_t i = 0; i < n; i++) file[8 + i] = (unsigned char)d->label[first + i];
    assert_int_equal(kd_path_join(path, folder, labels), 0);
    assert_int_equal(kd_file_replace(path, file, 8 + (size_t)n), 0);
    free(file);
}

#endif
