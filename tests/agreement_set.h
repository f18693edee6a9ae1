/* Small data sets as idx files whose sizes, order and brightness a test chooses, and configs for
 * them. Include after test_data.h and run_cli.h. */
#ifndef KD_TESTS_AGREEMENT_SET_H
#define KD_TESTS_AGREEMENT_SET_H

#include "base/rng.h"

enum { SET_CLASSES = 4 };

typedef struct {
    int count, h, w;
    bool sorted;   /* by class                                           */
    bool brighter; /* a class's square is the brighter the higher its label */
    bool flat;     /* all pictures are the same even dark                */
    uint64_t seed;
} set_spec;

static inline void put_u32(unsigned char *out, uint32_t value) {
    for (int i = 0; i < 4; i++) out[i] = (unsigned char)(value >> (24 - 8 * i));
}

/* A bright square in one of four corners, on noise. */
static inline void write_set(test_folder *folder, const char *part, set_spec s) {
    const size_t size = (size_t)s.h * (size_t)s.w, n = (size_t)s.count;
    unsigned char *images = calloc(16 + n * size, 1), *labels = calloc(8 + n, 1);
    char name[64];
    kd_rng rng = kd_rng_init(s.seed, 1);
    put_u32(images, 0x803);
    put_u32(images + 4, (uint32_t)s.count);
    put_u32(images + 8, (uint32_t)s.h);
    put_u32(images + 12, (uint32_t)s.w);
    put_u32(labels, 0x801);
    put_u32(labels + 4, (uint32_t)s.count);
    for (int i = 0; i < s.count; i++) {
        const int label =
            s.sorted ? i * SET_CLASSES / s.count : (int)kd_rng_below(&rng, SET_CLASSES);
        const int light = s.brighter ? 20 + 60 * label : 150;
        labels[8 + i] = (unsigned char)label;
        for (int p = 0; p < s.h * s.w; p++) {
            const bool inside =
                (p / s.w >= s.h / 2) == (label / 2) && (p % s.w >= s.w / 2) == (label % 2);
            images[16 + (size_t)i * size + (size_t)p] =
                s.flat ? 10
                       : (unsigned char)(kd_rng_below(&rng, 20) + (uint64_t)(inside ? light : 0));
        }
    }
    snprintf(name, sizeof name, "%s-images-idx3-ubyte", part);
    test_write(test_path(folder, name), images, 16 + n * size);
    snprintf(name, sizeof name, "%s-labels-idx1-ubyte", part);
    test_write(test_path(folder, name), labels, 8 + n);
    free(images);
    free(labels);
}

static inline void write_sets(test_folder *folder) {
    write_set(folder, "train", (set_spec){.count = 400, .h = 8, .w = 8, .seed = 1});
    write_set(folder, "t10k", (set_spec){.count = 120, .h = 8, .w = 8, .seed = 2});
}

#define ABCD "\"classes\": [\"a\", \"b\", \"c\", \"d\"]"
#define TRAIN_BRIEFLY                                                                              \
    "\"train\": {\"epochs\": 3, \"batch\": 32, \"optimizer\": \"adamw\", \"learning_rate\": 0.01}"
#define MLP(hidden) "\"model\": {\"type\": \"mlp\", \"hidden\": [" hidden "]}"

/* <name>.json; `data` and `rest` are members behind others. */
static inline void write_run(test_folder *folder, const char *name, const char *data,
                             const char *rest) {
    char text[4096], file[80];
    int n = snprintf(text, sizeof text,
                     "{\"name\": \"%s\", \"seed\": 2, \"data\": {\"kind\": \"idx\", \"folder\": "
                     "\".\"%s%s},\n%s}\n",
                     name, *data ? ", " : "", data, rest);
    assert_true(n > 0 && n < (int)sizeof text);
    snprintf(file, sizeof file, "%s.json", name);
    test_write(test_path(folder, file), text, (size_t)n);
}

/* A path in the folder that lives until the test ends. */
static inline char *kept_path(test_folder *folder, const char *name) {
    static char path[32][128];
    static int used;
    char *out = path[used++ % 32];
    snprintf(out, sizeof path[0], "%s/%s", folder->path, name);
    return out;
}

static inline int train(test_folder *folder, const char *config) {
    return DISTILL("train", kept_path(folder, config), "--runs", kept_path(folder, "runs"));
}

static inline int train_dry(test_folder *folder, const char *config) {
    return DISTILL("train", kept_path(folder, config), "--runs", kept_path(folder, "runs"),
                   "--dry-run");
}

static inline int eval(test_folder *folder, const char *config, const char *model) {
    return DISTILL("eval", kept_path(folder, config), kept_path(folder, model));
}

/* The first percentage of the second line that was printed: what a model gets right. */
static inline double first_accuracy(void) {
    const char *line = strchr(printed, '\n'), *percent = line ? strstr(line, " %") : NULL;
    assert_non_null(percent);
    while (percent > line && strchr("0123456789.", percent[-1])) percent--;
    return atof(percent);
}

static inline void assert_no_run(test_folder *folder, const char *name) {
    char path[64];
    snprintf(path, sizeof path, "runs/%s", name);
    assert_false(kd_file_exists(kept_path(folder, path)));
}

#endif
