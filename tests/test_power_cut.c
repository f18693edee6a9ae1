/* The power goes while something is written: what is on the disk afterwards is whole, the old or
 * the new, and what had been reported as done is there. Whole runs keep the order that this rests
 * on (write, fsync, rename, fsync of the folder), and go on after any cut to the same bytes.
 *
 * KD_FAULTS=all cuts runs at every call (make check), otherwise some are tried.
 */
#include <fcntl.h>
#include <omp.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#include "asserts.h"
#include "cli/cli.h"
#include "data/store.h"
#include "distill/checkpoint.h"
#include "faults.c"
#include "files/safetensors_write.h"
/* behind what stands in front of the calls */
#include "disk.c"
#include "files/gguf.h"
#include "speech_tiny.h"
#include "store_answers.h"
#include "tiny.h"

enum { TRAINING = 96, TESTING = 40, SECONDS_MAX = 120, BROKEN_ORDER = 98 };

static char root[] = "/tmp/distill-cut-XXXXXX";
static const char *const NO_PROMISE[] = {"log.jsonl", "tensorboard", "lock", NULL};

static int setup(void **state) {
    (void)state;
    return mkdtemp(root) ? chdir(root) : -1;
}

static int teardown(void **state) {
    (void)state;
    return chdir("/") == 0 && nftw(root, test_remove, 16, FTW_DEPTH | FTW_PHYS) == 0 ? 0 : -1;
}

/* A clock that is another second whenever it is asked: no byte of a file may depend on it. */
static time_t seconds = 1000000000;
time_t time(time_t *out) {
    seconds++;
    if (out) *out = seconds;
    return seconds;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    *now = (struct timeval){.tv_sec = ++seconds};
    return 0;
}

#define assert_done(command) assert_int_equal(system(command), 0)

/* --- one file --------------------------------------------------------------------------------- */

/* Each writes disk/it in version 1 or 2. */
static int write_bytes(int version) {
    return kd_file_replace("disk/it", version == 1 ? "old" : "a newer one", version == 1 ? 3 : 11);
}

static int write_checkpoint(int version) {
    kd_params *params;
    assert_ok(kd_params_create(&params));
    kd_params_add(params, "weight", 2, (int64_t[]){9, 5}, KD_INIT_HE_NORMAL, 5, 9,
                  KD_PARAM_TRAINED);
    assert_ok(kd_params_layout(params, (uint64_t)version));
    const kd_checkpoint c = {.params = params, .config_json = "{}", .stage = "train"};
    int status = kd_checkpoint_save("disk/it", &c);
    kd_params_free(params);
    return status;
}

/* Its first version is no store yet. */
static int write_store(int version) {
    const kd_store_header h = {.kind = KD_STORE_DENSE,
                               .dtype = KD_STORE_F16,
                               .classes = 3,
                               .temperature_count = 1,
                               .temperature = {4},
                               .views = 1};
    kd_store_writer *w;
    int64_t done;
    int status = version == 1 ? KD_OK : kd_store_writer_open(&w, "disk/it", &h, 20, &done);
    if (version == 1 || status < 0) return status;
    for (uint64_t id = (uint64_t)done; id < 20 && status == KD_OK; id++)
        status = append_answers(w, &h, 1, 0, &id, &(int32_t){0}, (float[]){1, 2, (float)id});
    if (status == KD_OK) return kd_store_writer_close(w);
    kd_store_writer_abort(w);
    return status;
}

static int number_it(void *context, int64_t index, void *values) {
    (void)index;
    for (int i = 0; i < 6; i++) ((float *)values)[i] = (float)(i * *(int *)context);
    return KD_OK;
}

static int write_safetensors(int version) {
    const kd_safetensors_entry entry = {
        .name = "weight", .dtype = "F32", .rank = 2, .shape = {2, 3}, .count = 6};
    return kd_safetensors_write("disk/it", 1, &entry, number_it, &version);
}

static int write_gguf(int version) {
    kd_gguf_writer *w;
    int status = kd_gguf_writer_create(&w, "distill");
    if (status < 0) return status;
    kd_gguf_add_u32(w, "version", (uint32_t)version);
    status = kd_gguf_write("disk/it", w);
    kd_gguf_writer_free(w);
    return status;
}

static int write_whisper(int version, int (*write)(const char *, const kd_whisper_file *,
                                                   const kd_number_format *)) {
    kd_whisper_file *file = tiny_whisper_file();
    file->model->params->value[0] = (kd_real)version;
    int status = write("disk/it", file, &kd_format_f16);
    kd_whisper_file_free(file);
    return status;
}

static int write_whisper_bin(int version) {
    return write_whisper(version, kd_whisper_bin_write);
}
static int write_whisper_gguf(int version) {
    return write_whisper(version, kd_whisper_gguf_write);
}
static int write_whisper_folder(int version) {
    return write_whisper(version, kd_whisper_folder_write);
}

/* Of nftw: the file or folder is as in "old" (or not there), or as in "new"; a finished one as in
 * "new". */
static bool only_new;

static bool is_as_in(const char *version, const char *inside) {
    char path[KD_PATH_MAX], left[KD_PATH_MAX], *bytes[2];
    size_t length[2];
    snprintf(path, sizeof path, "%s/%s", version, inside);
    snprintf(left, sizeof left, "left/%s", inside);
    if (!kd_file_exists(path)) return false;
    read_all(path, &bytes[0], &length[0]);
    read_all(left, &bytes[1], &length[1]);
    bool same = length[0] == length[1] && memcmp(bytes[0], bytes[1], length[0]) == 0;
    free(bytes[0]);
    free(bytes[1]);
    return same;
}

static int look_at_left(const char *path, const struct stat *info, int kind, struct FTW *place) {
    (void)info, (void)place;
    const char *inside = path + strlen("left/"), *end = strrchr(path, '.');
    if (kind != FTW_F || (end && strcmp(end, ".part") == 0)) return 0;
    if (!is_as_in("new", inside) && (only_new || !is_as_in("old", inside)))
        fail_msg("%s is neither the old nor the new", path);
    return 0;
}

static int look_for_new(const char *path, const struct stat *info, int kind, struct FTW *place) {
    (void)info, (void)place;
    if (kind == FTW_F && !is_as_in("new", path + strlen("new/"))) fail_msg("%s was lost", path);
    return 0;
}

/* In a child: version 2 is written over version 1, and the power goes at call n, or at once when it
 * is done. */
static int write_and_cut(int (*write)(int version), long n, kd_cut how) {
    fflush(NULL);
    pid_t child = fork();
    int result;
    assert_true(child >= 0);
    if (child == 0) {
        kd_disk_watch("disk");
        kd_disk_cut_at(n, how, "left");
        int status = write(2);
        const char *broken = kd_disk_breach(NO_PROMISE);
        if (broken[0]) fprintf(stderr, "%s\n", broken);
        kd_disk_cut(how, "left");
        _exit(status < 0 ? 1 : broken[0] ? BROKEN_ORDER : 0);
    }
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result));
    return WEXITSTATUS(result);
}

static void cut_everywhere(const char *name, int (*write)(int version)) {
    long cuts = 0;
    assert_done("rm -rf disk old new left && mkdir disk");
    assert_ok(write(1));
    assert_done("cp -r disk old");
    assert_ok(write(2));
    assert_done("mv disk new");
    for (kd_cut how = 0; how < KD_CUTS; how++) {
        int result = KD_DISK_CUT;
        for (long n = 1; result == KD_DISK_CUT; n++) {
            assert_done("rm -rf disk left && cp -r old disk");
            result = write_and_cut(write, n, how);
            if (result != 0 && result != KD_DISK_CUT) fail_msg("%s, call %ld: %d", name, n, result);
            only_new = result == 0;
            assert_int_equal(nftw("left", look_at_left, 16, FTW_PHYS), 0);
            cuts++;
        }
        assert_int_equal(nftw("new", look_for_new, 16, FTW_PHYS), 0);
    }
    print_message("%s: %ld cuts\n", name, cuts);
    assert_true(cuts > 6);
}

static void files_are_the_old_or_the_new(void **state) {
    (void)state;
    cut_everywhere("a file", write_bytes);
    cut_everywhere("a checkpoint", write_checkpoint);
    cut_everywhere("a store", write_store);
    cut_everywhere("safetensors", write_safetensors);
    cut_everywhere("GGUF", write_gguf);
    cut_everywhere("whisper.cpp's", write_whisper_bin);
    cut_everywhere("Whisper as GGUF", write_whisper_gguf);
    cut_everywhere("a Hugging Face folder", write_whisper_folder);
}

/* A folder made is there after a cut, with those above it. */
static int make_folders(int version) {
    int status = version == 1 ? KD_OK : kd_file_make_folders("disk/a/b");
    return version == 1 ? status : kd_file_replace("disk/a/b/it", "new", 3);
}

static void folders_stay(void **state) {
    (void)state;
    cut_everywhere("a folder", make_folders);
}

/* --- runs ------------------------------------------------------------------------------------- */

#define DATA                                                                                       \
    "\"data\": {\"kind\": \"idx\", \"folder\": \".\", \"validation\": 32,"                         \
    " \"classes\": [\"a\", \"b\", \"c\", \"d\"]}, "
#define TRAIN                                                                                      \
    "\"train\": {\"epochs\": 1, \"batch\": 32, \"optimizer\": \"adamw\", \"learning_rate\": 0.01," \
    " \"checkpoint_seconds\": 0}"

static void write_text(const char *path, const char *text) {
    test_write(path, text, strlen(text));
}

static void make_pictures(void) {
    kd_dataset d;
    tiny_dataset(&d, TRAINING + TESTING);
    tiny_write_idx(".", &d, 0, TRAINING, "train-images-idx3-ubyte", "train-labels-idx1-ubyte");
    tiny_write_idx(".", &d, TRAINING, TESTING, "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte");
    tiny_dataset_clear(&d);
    write_text("large.json", "{\"name\": \"large\", " DATA
                             "\"model\": {\"type\": \"mlp\", \"hidden\": [10]}, " TRAIN "}");
    write_text("small.json",
               "{\"name\": \"small\", " DATA
               "\"model\": {\"type\": \"cnn\", \"layers\": [{\"conv\": 4, \"kernel\": 3}, "
               "{\"max_pool\": 2}]}, \"teacher\": {\"config\": \"large.json\"},"
               " \"loss\": {\"kl\": 0.8, \"hard\": 0.2}, " TRAIN
               ", \"quantize\": {\"calibration_samples\": 32, \"qat\": {\"epochs\": 1, "
               "\"learning_rate\": 0.001, \"checkpoint_seconds\": 0}}}");
    write_text("many.json",
               "{\"name\": \"many\", \"base\": \"large.json\", \"seeds\": [1, 2], \"variants\": "
               "[{\"name\": \"a\"}, {\"name\": \"b\", \"set\": {\"train.learning_rate\": 0.02}}]}");
}

static void make_speech(void) {
    char list[512] = "audio\ttext\tspeaker\n", name[32];
    kd_whisper_file *teacher = tiny_whisper_file();
    assert_ok(kd_whisper_bin_write("teacher.bin", teacher, &kd_format_f32));
    kd_whisper_file_free(teacher);
    for (int k = 0; k < 4; k++) {
        snprintf(name, sizeof name, "k%d.wav", k);
        tiny_sound(name, 2000 + 1300 * k, k);
        sprintf(list + strlen(list), "%s\tnumber %d\tann\n", name, k);
    }
    write_text("list.tsv", list);
    write_text("speech.json",
               "{\"data\": {\"kind\": \"speech\", \"train\": [\"list.tsv\"], \"validation\": "
               "[\"list.tsv\"]}, \"model\": {\"type\": \"whisper\", \"decoder_layers\": 2},"
               " \"teacher\": {\"weights\": \"teacher.bin\", \"wer\": 1e6},"
               " \"train\": {\"epochs\": 1, \"batch\": 2, \"checkpoint_seconds\": 0}}");
}

/* In a child: distill COMMAND CONFIG --runs disk/runs, with a cut at call n unless that is 0. The
 * program's exit code, KD_DISK_CUT, or BROKEN_ORDER. */
static int start(const char *command, const char *config, long n, kd_cut how) {
    int result;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char words[3][32] = {"distill"}, runs[] = "--runs", folder[] = "disk/runs";
        snprintf(words[1], sizeof words[1], "%s", command);
        snprintf(words[2], sizeof words[2], "%s", config);
        char *argv[] = {words[0], words[1], words[2], runs, folder, NULL};
        if (!freopen("messages", "w", stderr) || !freopen("/dev/null", "w", stdout)) _exit(1);
        omp_set_num_threads(1);
        alarm(SECONDS_MAX);
        kd_disk_watch("disk");
        if (n) kd_disk_cut_at(n, how, "left");
        int code = kd_cli_main(5, argv);
        const char *broken = kd_disk_breach(NO_PROMISE);
        if (broken[0]) fprintf(stderr, "%s\n", broken);
        fflush(stderr);
        _exit(code != 0 || !broken[0] ? code : BROKEN_ORDER);
    }
    assert_int_equal(waitpid(child, &result, 0), child);
    if (!WIFEXITED(result)) fail_msg("%s: signal %d", config, WTERMSIG(result));
    return WEXITSTATUS(result);
}

#define assert_runs(command, config)                                                               \
    do {                                                                                           \
        int code_ = start(command, config, 0, 0);                                                  \
        if (code_ != 0) {                                                                          \
            (void)!system("cat messages >&2");                                                     \
            fail_msg("%s: %d", config, code_);                                                     \
        }                                                                                          \
    } while (0)

/* Whatever a command leaves, log, curves and lock aside, is promised when it ends, and in order. */
static void runs_keep_the_order(void **state) {
    (void)state;
    make_pictures();
    make_speech();
    assert_done("rm -rf disk && mkdir disk");
    assert_runs("train", "small.json");
    assert_runs("train", "small.json"); /* once more: the report alone */
    assert_runs("sweep", "many.json");
    assert_runs("label", "speech.json");
    assert_runs("train", "speech.json");
}

/* One start with a cut and one without; false when there was no call n. */
static bool go_on_after(const char *config, const char *const *results, long n, kd_cut how) {
    assert_done("rm -rf disk left && mkdir disk");
    int code = start("train", config, n, how);
    if (code == 0) return false;
    assert_int_equal(code, KD_DISK_CUT);
    assert_done("rm -rf disk && mv left disk");
    assert_runs("train", config);
    for (; *results; results++) {
        char command[256];
        snprintf(command, sizeof command, "cmp whole/%s disk/%s", *results, *results);
        if (system(command) != 0) fail_msg("cut at call %ld, %d: %s differs", n, how, *results);
    }
    return true;
}

/* Cuts ever further on, the first of them close together. */
static void cut_run(const char *config, const char *const *results) {
    int tries = 0;
    assert_done("rm -rf disk whole left && mkdir disk");
    assert_runs("train", config);
    assert_done("mv disk whole");
    for (long n = 1;; n += thoroughly() ? 1 : 1 + n / 2) {
        const kd_cut how = (kd_cut)(tries % KD_CUTS);
        if (!go_on_after(config, results, n, how)) break;
        if (thoroughly()) go_on_after(config, results, n, 1 - how);
        tries++;
    }
    print_message("%s: %d cuts\n", config, tries);
    assert_true(tries > 8);
}

static void pictures_go_on_after_a_cut(void **state) {
    (void)state;
    make_pictures();
    cut_run("small.json", (const char *const[]){"runs/small/student.int8.ptq.gguf",
                                                "runs/small/student.int8.gguf", NULL});
}

static void speech_goes_on_after_a_cut(void **state) {
    (void)state;
    make_speech();
    cut_run("speech.json", (const char *const[]){"runs/speech/student.bin", NULL});
}

int main(void) {
    omp_set_num_threads(1); /* children of fork have none of libgomp's threads */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_the_old_or_the_new),
        cmocka_unit_test(folders_stay),
        cmocka_unit_test(runs_keep_the_order),
        cmocka_unit_test(pictures_go_on_after_a_cut),
        cmocka_unit_test(speech_goes_on_after_a_cut),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
