/* What a result was made from is compared before anything changes: a refused start leaves every
 * byte where it was and says which fact differs, and how to go on. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "asserts.h"
#include "store_answers.h"
#include "test_data.h"
#include "tiny.h"

#include "distill/checkpoint.h"
#include "files/gguf.h"
#include "report/runlog.h"
#include "run_cli.h"

enum { TRAINING = 160, TESTING = 60 };

#define IMAGES "train-images-idx3-ubyte"
#define TRAIN                                                                                      \
    "\"train\": {\"epochs\": 2, \"batch\": 32, \"optimizer\": \"adamw\", \"learning_rate\": 0.01}"
#define MLP "\"model\": {\"type\": \"mlp\", \"hidden\": [8]}, " TRAIN

/* flock as a file system without locks answers it. */
static int lock_error;

int flock(int fd, int operation) {
    if (lock_error == 0) return (int)syscall(SYS_flock, fd, operation);
    errno = lock_error;
    return -1;
}

/* --- the place ------------------------------------------------------------------------------ */

static void write_data(int inverted) {
    kd_dataset d;
    tiny_dataset(&d, TRAINING + TESTING);
    for (int64_t i = 0; inverted && i < d.count * d.h * d.w; i++)
        d.bytes[i] = (uint8_t)(255 - d.bytes[i]);
    tiny_write_idx(".", &d, 0, TRAINING, IMAGES, "train-labels-idx1-ubyte");
    tiny_write_idx(".", &d, TRAINING, TESTING, "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte");
    tiny_dataset_clear(&d);
}

static void write_config(const char *name, const char *rest) {
    char text[2048], file[64];
    const int n = snprintf(text, sizeof text,
                           "{\"name\": \"%s\", \"seed\": 2, \"data\": {\"kind\": \"idx\", "
                           "\"folder\": \".\", \"validation\": 32, \"classes\": [\"a\", \"b\", "
                           "\"c\", \"d\"], \"augment\": {\"shift\": 1}},\n%s}",
                           name, rest);
    assert_true(n > 0 && n < (int)sizeof text);
    snprintf(file, sizeof file, "%s.json", name);
    test_write(file, text, (size_t)n);
}

static int setup(void **state) {
    if (test_setup(state) != 0) return -1;
    test_folder *folder = *state;
    if (chdir(folder->path) != 0) return -1;
    write_data(0);
    write_config("big", MLP);
    write_config("small",
                 "\"teacher\": {\"config\": \"big.json\", \"views\": 2}, " MLP
                 ", \"quantize\": {\"calibration_samples\": 32, \"qat\": {\"epochs\": 1}}");
    return 0;
}

static int teardown(void **state) {
    return chdir("/") == 0 ? test_teardown(state) : -1;
}

/* Every file below `folder` with its content and the time it was written. */
static char *picture_of(const char *folder) {
    char command[512];
    snprintf(
        command, sizeof command,
        "find %s -type d -printf '%%p/\\n' -o -type f -printf '%%p %%T@ ' -exec sha1sum {} \\; "
        "| sort",
        folder);
    FILE *pipe = popen(command, "r");
    char *out = calloc(1, 1 << 16);
    assert_non_null(pipe);
    assert_non_null(out);
    assert_true(fread(out, 1, (1 << 16) - 1, pipe) < (1 << 16) - 1);
    pclose(pipe);
    return out;
}

static void assert_done(int code) {
    if (code != 0) fail_msg("exit code %d: %s", code, complained);
}

/* distill WORDS… is refused with `code` and these words, and nothing below "runs" changes. */
static void assert_nothing_changes(int code, const char *says, const char *const *words) {
    char *before = picture_of("runs");
    const int found = distill(words);
    if (found != code) fail_msg("%s %s: %d, not %d: %s", words[0], says, found, code, complained);
    assert_says(complained, says);
    char *after = picture_of("runs");
    assert_string_equal(after, before);
    free(before);
    free(after);
}
#define REFUSED(code, says, ...)                                                                   \
    assert_nothing_changes(code, says, (const char *const[]){__VA_ARGS__, NULL})

/* --- facts ---------------------------------------------------------------------------------- */

/* As doubles the two are one number. */
static void large_seeds_differ(void **state) {
    (void)state;
    kd_origin now = {0}, other = {0};
    kd_origin_add_config(&now, "{\"seed\": 18446744073709551615}", "seed", KD_ORIGIN_ALL, NULL);
    kd_origin_add_config(&other, "{\"seed\": 18446744073709551614}", "seed", KD_ORIGIN_ALL, NULL);
    assert_string_equal(kd_origin_value(&now, "seed"), "18446744073709551615");
    assert_string_equal(kd_origin_value(&other, "seed"), "18446744073709551614");
    kd_origin_clear(&now);
    kd_origin_clear(&other);
}

static void facts_are_told(void **state) {
    (void)state;
    static const char config[] = "{\"train\": {\"epochs\": 12, \"decay\": 0.5, \"often\": 3},"
                                 " \"list\": [{\"a\": 1}, {\"a\": \"x\", \"b\": [1, 2]}]}";
    static const char *const without[] = {"often", NULL};
    kd_origin now = {0};
    char *text;
    kd_origin_add(&now, "kind", "%s \"quoted\"", "test");
    kd_origin_add_config(&now, config, "train", 0, without);
    kd_origin_add_config(&now, config, "list", 1, without);
    kd_origin_add_config(&now, config, "absent", 0, without);
    kd_origin_add_unknown(&now, "late");
    assert_int_equal(now.count, 6);
    assert_string_equal(kd_origin_value(&now, "list.b"), "[1,2]");
    assert_null(kd_origin_value(&now, "late"));
    assert_ok(kd_origin_known_text(&text, &now));
    assert_string_equal(text, "{\"kind\": \"test \\\"quoted\\\"\",\n \"train.epochs\": \"12\",\n "
                              "\"train.decay\": \"0.5\",\n \"list.a\": \"x\",\n \"list.b\": "
                              "\"[1,2]\"}");
    assert_ok(kd_origin_check("file", text, &now));
    free(text);
    assert_ok(kd_origin_check("file",
                              "{\"late\": \"any\", \"list.b\": \"[1,2]\", \"list.a\": \"x\", "
                              "\"kind\": \"test \\\"quoted\\\"\", \"train.decay\": \"0.5\", "
                              "\"train.epochs\": \"12\"}",
                              &now));
    assert_refused(
        kd_origin_check("file",
                        "{\"kind\": \"test \\\"quoted\\\"\", \"train.epochs\": \"8\", "
                        "\"train.decay\": \"0.5\", \"list.a\": \"x\", \"list.b\": "
                        "\"[1,2]\"}",
                        &now),
        KD_EDATA,
        "file: was made with train.epochs = 8, this config says 12; use --fresh to start "
        "over, or another name");
    assert_refused(kd_origin_check("file", "{\"kind\": \"other\", \"gone\": \"1\"}", &now),
                   KD_EDATA,
                   "file: was made with kind = other, now it is test \"quoted\"; no train.epochs, "
                   "this config says 12; no train.decay, this config says 0.5; 3 more differ; use");
    now.remedy = "do that";
    assert_refused(kd_origin_check("file", NULL, &now), KD_EDATA,
                   "file: was made by an earlier version, which did not record what it was made "
                   "from; do that");
    assert_refused(kd_origin_check("file", "{\"kind\": 3}", &now), KD_EDATA, "is not a text");
    assert_refused(kd_origin_check("file", "[]", &now), KD_EDATA, "not a JSON object");
    assert_refused(kd_origin_check("file", "{\"kind\": ", &now), KD_EDATA, "file:1:");
    kd_origin_clear(&now);
}

/* --- a run ---------------------------------------------------------------------------------- */

static void another_config_changes_nothing(void **state) {
    (void)state;
    assert_done(DISTILL("train", "small.json"));
    char *before = picture_of("runs");
    assert_done(DISTILL("train", "small.json", "--set", "train.checkpoint_seconds=5"));
    free(before);
    REFUSED(65,
            "runs/small/store: was made with seed = 2, this config says 7; use --fresh to start "
            "over, or another name",
            "train", "small.json", "--set", "seed=7");
    REFUSED(65,
            "runs/small/train.last.h5: was made with train.epochs = 2, this config says 3; use "
            "--fresh to start over, or another name",
            "train", "small.json", "--set", "train.epochs=3", "--set", "quantize.qat.epochs=1");
    REFUSED(65, "loss.kl = 0.9, this config says 0.5; loss.hard = 0.1, this config says 0.5",
            "export", "small.json", "--set", "loss.kl=0.5", "--set", "loss.hard=0.5");
    REFUSED(65, "data.augment.shift = 1, this config says 2", "teach", "small.json", "--set",
            "data.augment.shift=2");
    REFUSED(65, "teacher.views = 2, this config says 3", "train", "small.json", "--set",
            "teacher.views=3");
    REFUSED(65, "data.validation = 32, this config says 40", "train", "big.json", "--set",
            "data.validation=40");
    REFUSED(65, "data.mean = [], this config says [0.5]", "train", "big.json", "--set",
            "data.mean=[0.5]", "--set", "data.deviation=[1]");
    REFUSED(65, "samples.classes", "train", "big.json", "--set",
            "data.classes=[\"b\",\"a\",\"c\",\"d\"]");
    REFUSED(65, "products = float32, now it is bfloat16", "train", "big.json", "--set",
            "precision=bfloat16");
    REFUSED(65, "train.max_norm", "train", "big.json", "--set", "train.max_norm=2");
    REFUSED(65,
            "student.int8.ptq.gguf: was made with quantize.calibration_samples = 32, this "
            "config says 64",
            "quantize", "small.json", "--set", "quantize.calibration_samples=64");
    REFUSED(65, "student.int8.ptq.gguf: was made with correct_bias = [], this config says [1]",
            "train", "small.json", "--set", "correct_bias=[1]");
    /* What the teacher is trained with belongs to its own run, which is looked at first. */
    write_config("big", "\"model\": {\"type\": \"mlp\", \"hidden\": [9]}, " TRAIN);
    REFUSED(65,
            "runs/big/train.last.h5: was made with model.hidden = [8], this config says [9]; "
            "remove the folder to have this teacher made again, or give big.json another name",
            "train", "small.json");
    REFUSED(65, "runs/big/train.last.h5", "train", "small.json", "--fresh");
}

/* Everything that a new run needs is looked at while the old one is still there. */
static void fresh_keeps_what_cannot_be_replaced(void **state) {
    (void)state;
    write_config("weighed", "\"teacher\": {\"weights\": \"big.h5\", \"model\": {\"type\": \"mlp\", "
                            "\"hidden\": [8]}}, " MLP);
    write_config("foreign", "\"teacher\": {\"store\": \"store\"}, " MLP);
    assert_done(DISTILL("train", "small.json"));
    assert_int_equal(rename("runs/big/train.best.h5", "big.h5"), 0);
    assert_int_equal(system("rm -r runs/big && cp -r runs/small/store store"), 0);
    assert_done(DISTILL("train", "weighed.json"));
    assert_done(DISTILL("train", "foreign.json", "--set", "teacher.views=2"));
    assert_int_equal(system("mv big.json away.json && mv big.h5 away.h5 && mv store away"), 0);
    REFUSED(66, "big.json", "train", "small.json", "--fresh");
    REFUSED(66, "big.h5", "train", "weighed.json", "--fresh");
    REFUSED(66, "store", "train", "foreign.json", "--fresh", "--set", "teacher.views=2");
    assert_int_equal(system("mv away.json big.json && mv away.h5 big.h5"), 0);
    REFUSED(78, "conv9", "train", "weighed.json", "--fresh", "--set",
            "loss.hints=[{\"kind\":\"mse\",\"student\":\"conv9\",\"teacher\":\"conv1\"}]");
    REFUSED(78, "weighed/train.best.h5: is a result of this very run", "train", "weighed.json",
            "--fresh", "--set", "teacher.weights=./runs/../runs/weighed/train.best.h5");
    REFUSED(78, "runs/small/store: is a result of this very run", "train", "foreign.json",
            "--fresh", "--set", "name=small", "--set", "teacher.store=runs/small/store", "--set",
            "teacher.views=2");
    REFUSED(78, "has no \"quantize\"", "quantize", "weighed.json", "--fresh");
    REFUSED(78, "has no \"quantize.qat\"", "export", "small.json", "--fresh", "--set",
            "quantize={\"calibration_samples\":8}");
    REFUSED(78, "has no \"teacher\"", "teach", "weighed.json", "--fresh", "--set", "teacher=null");
    REFUSED(78, "shift", "train", "weighed.json", "--fresh", "--set", "data.augment.shift=20");
    REFUSED(66, "nowhere", "train", "weighed.json", "--fresh", "--set", "data.folder=nowhere");
    REFUSED(78, "name other than", "train", "small.json", "--fresh", "--set", "name=big");
    /* An ensemble whose two teachers would share a folder. */
    write_config("other", MLP);
    char *text;
    size_t length;
    assert_ok(kd_file_read(&text, &length, "other.json", 1 << 20));
    memcpy(strstr(text, "\"other\""), "\"big\"  ", 7);
    test_write("other.json", text, length);
    free(text);
    REFUSED(78, "give one of the two teachers another", "train", "small.json", "--fresh", "--set",
            "teacher={\"ensemble\":[{\"config\":\"big.json\"},{\"config\":\"other.json\"}]}");
    assert_done(DISTILL("train", "small.json", "--fresh", "--set", "seed=3"));
}

/* A checkpoint like those of version 0.1, which said nothing. */
static void old_and_foreign_results_are_refused(void **state) {
    (void)state;
    char *origin;
    assert_done(DISTILL("train", "big.json"));
    assert_ok(kd_checkpoint_origin(&origin, "runs/big/train.last.h5"));
    assert_says(origin, "\"train.epochs\": \"2\"");
    assert_says(origin, "\"samples.train\": \"");
    free(origin);
    kd_model_spec model = {.kind = KD_MODEL_MLP, .hidden_count = 1, .hidden = {8}};
    kd_learner *learner = tiny_learner(&model, 2);
    kd_checkpoint old = {.params = learner->params, .key = {"0123"}, .stage = "train"};
    assert_ok(kd_checkpoint_save("old.h5", &old));
    kd_learner_free(learner);
    assert_int_equal(system("mv runs/big/train.best.h5 best && cp old.h5 runs/big/train.best.h5"),
                     0);
    REFUSED(65, "runs/big/train.best.h5: was made by an earlier version, which did not record",
            "train", "big.json");
    assert_int_equal(system("cp best runs/big/train.best.h5 && cp -r runs/big runs/like"), 0);
    write_config("like", "\"model\": {\"type\": \"mlp\", \"hidden\": [4]}, " TRAIN);
    REFUSED(65, "model.hidden = [8], this config says [4]", "train", "like.json");
    /* A folder of another kind of run. */
    assert_int_equal(mkdir("runs/talk", 0755), 0);
    static const char talk[] = "{\"data\": {\"kind\": \"speech\"}}";
    test_write("runs/talk/config.json", talk, strlen(talk));
    REFUSED(65, "is of a run on data of the kind \"speech\"", "train", "big.json", "--set",
            "name=talk");
}

static void blobs_and_stores_state_their_origin(void **state) {
    (void)state;
    char *text;
    kd_origin origin;
    assert_done(DISTILL("train", "small.json"));
    assert_ok(kd_gguf_read_text(&text, "runs/small/student.int8.gguf", "distill.origin"));
    assert_ok(kd_origin_parse(&origin, text, "blob"));
    assert_string_equal(kd_origin_value(&origin, "stage"), "qat");
    assert_string_equal(kd_origin_value(&origin, "quantize.qat.epochs"), "1");
    assert_int_equal(strlen(kd_origin_value(&origin, "student")), 32);
    kd_origin_clear(&origin);
    free(text);
    assert_ok(kd_store_origin(&text, "runs/small/store"));
    assert_ok(kd_origin_parse(&origin, text, "store"));
    assert_string_equal(kd_origin_value(&origin, "teacher.network.model.hidden"), "[8]");
    assert_string_equal(kd_origin_value(&origin, "data.augment.shift"), "1");
    kd_origin_clear(&origin);
    free(text);
    assert_ok(kd_gguf_read_text(&text, "runs/small/student.int8.gguf", "distill.nothing"));
    assert_null(text);
}

/* --- stores made elsewhere ------------------------------------------------------------------ */

/* A store for the training samples: what `header` says, and logits that like a class. */
static void write_store(const char *path, kd_store_header header, float liking) {
    kd_dataset d;
    kd_store_writer *w;
    int64_t done;
    char command[256];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    assert_int_equal(system(command), 0);
    tiny_dataset(&d, TRAINING);
    if (header.classes == 0) header.classes = TINY_CLASSES;
    float *logits = calloc((size_t)(TRAINING * header.classes), sizeof *logits);
    assert_non_null(logits);
    for (int i = 0; i < TRAINING; i++) logits[i * header.classes + d.label[i]] = liking;
    assert_ok(kd_store_writer_open(&w, path, &header, header.views * TRAINING, &done));
    for (int64_t v = 0; v < header.views; v++)
        assert_ok(append_answers(w, &header, TRAINING, v, d.id, d.label, logits));
    assert_ok(kd_store_writer_close(w));
    free(logits);
    tiny_dataset_clear(&d);
}

static const kd_store_header PLAIN = {.kind = KD_STORE_DENSE, .dtype = KD_STORE_F32, .views = 1};

static void a_replaced_store_is_noticed(void **state) {
    (void)state;
    write_config("foreign", "\"teacher\": {\"store\": \"store\"}, " MLP);
    write_store("store", PLAIN, 5);
    kd_train_request_stop();
    assert_int_equal(DISTILL("train", "foreign.json"), 75);
    write_store("store", PLAIN, -5);
    REFUSED(65, "runs/foreign/train.last.h5: was made with teacher.store = ", "train",
            "foreign.json");
    write_store("store", PLAIN, 5);
    assert_done(DISTILL("train", "foreign.json"));
    assert_says(complained, "going on from update 1");
    assert_says(complained, "store: does not state its samples (/data)");
    assert_says(complained, "store: does not state its classes");
    write_store("store", PLAIN, -5);
    REFUSED(65, "was made with teacher.store = ", "train", "foreign.json");
    assert_done(DISTILL("train", "foreign.json", "--fresh"));
}

/* The program as float32 has the temperature, as stores from NumPy do. */
static void temperatures_of_float32_are_found(void **state) {
    (void)state;
    kd_store_header topk = {.kind = KD_STORE_TOPK,
                            .dtype = KD_STORE_F32,
                            .views = 1,
                            .k = 2,
                            .temperature_count = 2,
                            .temperature = {4, (double)1.2f}};
    write_config("foreign", "\"teacher\": {\"store\": \"store\"}, " MLP);
    write_store("store", topk, 5);
    assert_done(DISTILL("train", "foreign.json", "--set", "loss.temperature=1.2"));
    REFUSED(78, "loss.temperature = 1.3", "train", "foreign.json", "--set", "loss.temperature=1.3");
}

static void what_a_store_states_is_checked(void **state) {
    (void)state;
    assert_done(DISTILL("teach", "small.json"));
    assert_done(DISTILL("teach", "small.json", "--set", "name=clean", "--set", "teacher.views=0"));
    write_config("views", "\"teacher\": {\"store\": \"runs/small/store\", \"views\": 2}, " MLP);
    write_config("plain", "\"teacher\": {\"store\": \"runs/clean/store\"}, " MLP);
    REFUSED(65,
            "runs/small/store: was made with seed = 2, this config says 3; a store is made for "
            "the samples and views of its own run",
            "train", "views.json", "--set", "seed=3");
    REFUSED(65, "holds answers for 2 augmented views of each sample, teacher.views is 0", "train",
            "views.json", "--set", "teacher.views=0");
    REFUSED(65, "teacher.views is 4", "train", "views.json", "--set", "teacher.views=4");
    REFUSED(65, "data.augment.shift = 1, this config says 2", "train", "views.json", "--set",
            "data.augment.shift=2");
    REFUSED(65, "data.augment.flip = false, this config says true", "train", "views.json", "--set",
            "data.augment.flip=true");
    REFUSED(65, "data.mean", "train", "plain.json", "--set", "data.mean=[0.5]", "--set",
            "data.deviation=[1]");
    REFUSED(65, "data.validation", "train", "plain.json", "--set", "data.validation=16");
    REFUSED(65, "/augmented is 0", "train", "plain.json", "--set", "teacher.views=2");
    assert_done(DISTILL("train", "views.json"));
    assert_done(DISTILL("train", "plain.json", "--set", "seed=9")); /* the seed is not in it */
    write_data(1);
    REFUSED(65, "runs/clean/store: was made with samples.train = ", "train", "plain.json", "--set",
            "name=inverted");
    write_data(0);
    /* Of other programs, which state less. */
    kd_store_header header = PLAIN;
    header.views = 2;
    header.augmented = true;
    write_store("store", header, 5);
    REFUSED(65, "store: is augmented but states no /data", "train", "views.json", "--set",
            "teacher.store=store", "--set", "name=other");
    header = PLAIN;
    header.data = kd_hash_bytes("others", 6);
    write_store("store", header, 5);
    REFUSED(65, "store: was made for other samples", "train", "plain.json", "--set",
            "teacher.store=store", "--set", "name=other");
    header = PLAIN;
    header.class_list = kd_hash_bytes("others", 6);
    write_store("store", header, 5);
    REFUSED(65, "store: made for another class list", "train", "plain.json", "--set",
            "teacher.store=store", "--set", "name=other");
    header = PLAIN;
    header.classes = TINY_CLASSES + 1;
    write_store("store", header, 5);
    REFUSED(65, "store: made for 5 classes, the data have 4", "train", "plain.json", "--set",
            "teacher.store=store", "--set", "name=other");
    static const float matrix[TINY_CLASSES * TINY_CLASSES] = {1};
    header = PLAIN;
    header.kind = KD_STORE_HIDDEN;
    header.width = TINY_CLASSES;
    header.output = matrix;
    write_store("store", header, 5);
    REFUSED(65, "store: holds hidden states", "train", "plain.json", "--set", "teacher.store=store",
            "--set", "name=other");
    assert_false(kd_file_exists("runs/other"));
    assert_false(kd_file_exists("runs/inverted"));
}

/* --- sweeps --------------------------------------------------------------------------------- */

static void write_sweep(const char *base) {
    char text[512];
    const int n = snprintf(text, sizeof text,
                           "{\"base\": \"%s\", \"name\": \"sweep\", \"seeds\": [2, 3], "
                           "\"variants\": [{\"name\": \"a\"}, {\"name\": \"b\", \"set\": "
                           "{\"train.epochs\": 1}}]}",
                           base);
    test_write("sweep.json", text, (size_t)n);
}

/* Changes one byte of a file behind its header and gives it its old time. */
static void change_byte(const char *path, long at) {
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    fseek(file, at, SEEK_SET);
    const int byte = fgetc(file);
    fseek(file, at, SEEK_SET);
    fputc(byte ^ 1, file);
    fclose(file);
    assert_int_equal(utimensat(AT_FDCWD, path, (struct timespec[]){info.st_atim, info.st_mtim}, 0),
                     0);
}

static void a_sweep_knows_its_data_by_content(void **state) {
    (void)state;
    write_config("weighed", "\"teacher\": {\"weights\": \"big.h5\", \"model\": {\"type\": \"mlp\", "
                            "\"hidden\": [8]}}, " MLP);
    assert_done(DISTILL("train", "big.json"));
    assert_int_equal(system("cp runs/big/train.best.h5 big.h5"), 0);
    write_sweep("weighed.json");
    assert_done(DISTILL("sweep", "sweep.json"));
    assert_done(DISTILL("sweep", "sweep.json"));
    assert_says(complained, "4 of 4 runs are finished");
    /* Other pixels: every run was trained on others. */
    change_byte(IMAGES, 16 + 64 * 40 + 7);
    REFUSED(65, "was made with samples.", "sweep", "sweep.json");
    change_byte(IMAGES, 16 + 64 * 40 + 7);
    /* Another test set: what is trained stays, what it is worth is measured again. */
    change_byte("t10k-images-idx3-ubyte", 16 + 64 * 4 + 7);
    assert_done(DISTILL("sweep", "sweep.json"));
    assert_says(complained, "train: already trained");
    assert_false(strstr(complained, "runs are finished"));
    assert_done(DISTILL("sweep", "sweep.json"));
    assert_says(complained, "4 of 4 runs are finished");
    /* Another teacher under the same name, of the same size and time. */
    assert_done(DISTILL("train", "big.json", "--set", "name=twin", "--set", "seed=8"));
    assert_int_equal(system("cp runs/twin/train.best.h5 twin.h5 && touch -r big.h5 twin.h5 && mv "
                            "twin.h5 big.h5"),
                     0);
    REFUSED(65, "teacher.network.weights", "sweep", "sweep.json");
    /* --fresh needs all it will need, for the last of the runs too, before the first is removed. */
    assert_int_equal(unlink("big.h5"), 0);
    REFUSED(66, "big.h5", "sweep", "sweep.json", "--fresh");
}

/* One augmented store cannot be that of two seeds. */
static void a_sweep_over_seeds_refuses_a_store_of_one(void **state) {
    (void)state;
    assert_done(DISTILL("teach", "small.json"));
    write_config("views", "\"teacher\": {\"store\": \"runs/small/store\", \"views\": 2}, " MLP);
    write_sweep("views.json");
    REFUSED(65, "was made with seed = 2, this config says 3", "sweep", "sweep.json");
    assert_false(kd_file_exists("runs/sweep"));
}

static void a_foreign_run_in_a_sweep_is_refused_first(void **state) {
    (void)state;
    write_sweep("big.json");
    assert_done(DISTILL("train", "big.json", "--runs", "runs/sweep", "--set", "name=b-s3"));
    REFUSED(65, "runs/sweep/b-s3/train.last.h5", "sweep", "sweep.json");
    assert_done(DISTILL("sweep", "sweep.json", "--fresh"));
}

/* The teachers of two variants would be trained in one folder. */
static void teachers_of_one_name_are_refused(void **state) {
    (void)state;
    static const char sweep[] =
        "{\"base\": \"small.json\", \"name\": \"sweep\", \"seeds\": [1], \"variants\": "
        "[{\"name\": \"a\"}, {\"name\": \"b\", \"set\": {\"teacher.config\": "
        "\"there/big.json\"}}]}";
    char *text;
    size_t length;
    assert_int_equal(system("mkdir there && sed 's/\\[8\\]/[9]/; s/\"folder\": \"\\.\"/"
                            "\"folder\": \"..\"/' big.json > there/big.json"),
                     0);
    assert_ok(kd_file_read(&text, &length, "there/big.json", 1 << 20));
    assert_says(text, "[9]");
    assert_says(text, "..");
    free(text);
    test_write("sweep.json", sweep, strlen(sweep));
    assert_int_equal(DISTILL("sweep", "sweep.json"), 78);
    assert_says(complained, "would be trained in the folder \"big\"");
    assert_false(kd_file_exists("runs"));
}

/* --- locks and logs ------------------------------------------------------------------------- */

static void errors_of_locks_are_told_apart(void **state) {
    (void)state;
    int lock, other;
    assert_ok(kd_file_lock(&lock, "."));
    assert_refused(kd_file_lock(&other, "."), KD_EIO, "another distill process is at work");
    assert_refused(kd_file_lock_existing(&other, "."), KD_EIO, "another distill process");
    close(lock);
    lock_error = ENOLCK;
    assert_refused(kd_file_lock(&lock, "."), KD_EIO, "./lock: cannot lock: No locks available");
    lock_error = 0;
    assert_int_equal(lock, -1);
    assert_ok(kd_file_lock(&lock, "."));
    close(lock);
    assert_int_equal(mkdir("empty", 0755), 0);
    assert_ok(kd_file_lock_existing(&lock, "empty"));
    assert_int_equal(lock, -1);
    assert_int_equal(rmdir("empty"), 0); /* it stayed so */
}

/* No step of a stage stands twice in the file. */
static void assert_no_step_twice(const char *path, int64_t last) {
    char *text, *at;
    size_t length;
    int64_t before = 0;
    assert_ok(kd_file_read(&text, &length, path, 1 << 24));
    for (at = text; (at = strstr(at, "{\"event\":\"step\"")); at++) {
        const int64_t step = atoll(strstr(at, "\"step\":") + 7);
        if (step <= before) fail_msg("step %lld behind %lld", (long long)step, (long long)before);
        before = step;
    }
    assert_int_equal(before, last);
    free(text);
}

static void a_killed_run_logs_every_step_once(void **state) {
    (void)state;
    static const char log[] = "runs/big/log.jsonl";
    const int64_t steps = 400 * ((TRAINING - 32 + 15) / 16);
    for (int kills = 0; kills < 3; kills++) {
        const pid_t child = fork();
        if (child == 0) {
            if (!freopen("/dev/null", "w", stderr)) _exit(1);
            execl("/proc/self/exe", "distill", "--as-distill", "train", "big.json", "--set",
                  "train.epochs=400", "--set", "train.batch=16", "--set",
                  "train.checkpoint_seconds=0.05", (char *)NULL);
            _exit(127);
        }
        assert_true(child > 0);
        int status;
        nanosleep(&(struct timespec){.tv_nsec = 150000000 + 70000000 * kills}, NULL);
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &status, 0), child);
    }
    assert_done(
        DISTILL("train", "big.json", "--set", "train.epochs=400", "--set", "train.batch=16"));
    assert_no_step_twice(log, steps);
}

static void a_log_is_taken_back(void **state) {
    (void)state;
    static const char kept[] = "{\"event\":\"start\",\"stage\":\"train\",\"step\":0}\n"
                               "{\"event\":\"step\",\"stage\":\"train\",\"step\":1}\n"
                               "not JSON\n"
                               "{\"event\":\"step\",\"stage\":\"baseline\",\"step\":9}\n";
    static const char gone[] = "{\"event\":\"step\",\"stage\":\"train\",\"step\":2}\n"
                               "{\"event\":\"eval\",\"stage\":\"train\",\"step\":2}\n"
                               "{\"event\":\"step\",\"stage\":\"train\",\"st";
    char text[1024], *found;
    size_t length;
    assert_ok(kd_runlog_take_back("log", "train", 1)); /* none is there */
    assert_false(kd_file_exists("log"));
    snprintf(text, sizeof text, "%s%s", kept, gone);
    test_write("log", text, strlen(text));
    assert_ok(kd_runlog_take_back("log", "train", 1));
    assert_ok(kd_file_read(&found, &length, "log", 1 << 20));
    assert_string_equal(found, kept);
    free(found);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(int argc, char **argv) {
    if (argc > 2 && strcmp(argv[1], "--as-distill") == 0) return kd_cli_main(argc - 1, argv + 1);
    const struct CMUnitTest tests[] = {
        TEST(facts_are_told),
        TEST(large_seeds_differ),
        TEST(another_config_changes_nothing),
        TEST(fresh_keeps_what_cannot_be_replaced),
        TEST(old_and_foreign_results_are_refused),
        TEST(blobs_and_stores_state_their_origin),
        TEST(a_replaced_store_is_noticed),
        TEST(temperatures_of_float32_are_found),
        TEST(what_a_store_states_is_checked),
        TEST(a_sweep_knows_its_data_by_content),
        TEST(a_sweep_over_seeds_refuses_a_store_of_one),
        TEST(a_foreign_run_in_a_sweep_is_refused_first),
        TEST(teachers_of_one_name_are_refused),
        TEST(errors_of_locks_are_told_apart),
        TEST(a_killed_run_logs_every_step_once),
        TEST(a_log_is_taken_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
