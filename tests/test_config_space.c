/* Any configuration that the tables of keys allow ends in a run or in a refusal, never in a crash:
 * random ones, drawn from the tables themselves, each put through `distill train` in a process of
 * its own, from the config to the exported files and the report.
 *
 * DISTILL_CONFIGS: how many, DISTILL_CONFIG_SEED: from which on; a failure prints both the config
 * and its number. */
#include "speech_tiny.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/text.h"
#include "cli/cli.h"
#include "data/dataset_source.h"
#include "config/keys.h"
#include "tasks/classify/config.h"
#include "tasks/speech/speech_config.h"

enum { CONFIGS = 24, SECONDS = 20, MEMORY_MB = 3000, CLASSES = 4 };

#if defined(__SANITIZE_ADDRESS__)
/* As RLIMIT_AS in the other builds: too large a network is a matter of memory, not of patience. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
    return "allocator_may_return_null=1:max_allocation_size_mb=2000:soft_rss_limit_mb=3000:"
           "detect_leaks=0";
}
#endif

static char root[] = "/tmp/distill-configs-XXXXXX";

/* --- data ----------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int count, h, w;
} SETS[] = {{"square", 40, 8, 8}, {"large", 24, 24, 40}, {"pixel", 12, 1, 1}, {"few", 3, 5, 1}};
enum { SET_COUNT = (int)(sizeof SETS / sizeof *SETS) };

static void write_bytes(const char *folder, const char *name, const void *bytes, size_t length) {
    char path[KD_PATH_MAX];
    assert_int_equal(kd_path_join(path, folder, name), KD_OK);
    assert_int_equal(kd_file_replace(path, bytes, length), KD_OK);
}

static void put_u32(unsigned char *out, uint32_t value) {
    for (int i = 0; i < 4; i++) out[i] = (unsigned char)(value >> (24 - 8 * i));
}

/* Labels and noise around a brightness that tells the label. */
static void make_idx(const char *folder, int count, int h, int w) {
    assert_int_equal(kd_file_make_folders(folder), KD_OK);
    const size_t size = (size_t)(h * w), n = (size_t)count;
    unsigned char *images = calloc(16 + n * size, 1), *labels = calloc(8 + n, 1);
    assert_true(images && labels);
    put_u32(images, 0x803);
    put_u32(images + 4, (uint32_t)count);
    put_u32(images + 8, (uint32_t)h);
    put_u32(images + 12, (uint32_t)w);
    put_u32(labels, 0x801);
    put_u32(labels + 4, (uint32_t)count);
    kd_rng rng = kd_rng_init(7, (uint64_t)size);
    for (size_t i = 0; i < n; i++) {
        labels[8 + i] = (unsigned char)(i % CLASSES);
        for (size_t p = 0; p < size; p++)
            images[16 + i * size + p] =
                (unsigned char)(60 * (i % CLASSES) + kd_rng_below(&rng, 40));
    }
    write_bytes(folder, "train-images-idx3-ubyte", images, 16 + n * size);
    write_bytes(folder, "t10k-images-idx3-ubyte", images, 16 + n * size);
    write_bytes(folder, "train-labels-idx1-ubyte", labels, 8 + n);
    write_bytes(folder, "t10k-labels-idx1-ubyte", labels, 8 + n);
    free(images);
    free(labels);
}

static void make_cifar(const char *folder) {
    enum { RECORDS = 6 };
    static unsigned char bytes[RECORDS * KD_CIFAR_RECORD];
    assert_int_equal(kd_file_make_folders(folder), KD_OK);
    kd_rng rng = kd_rng_init(8, 0);
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)kd_rng_below(&rng, 256);
    for (int r = 0; r < RECORDS; r++) bytes[r * KD_CIFAR_RECORD] = (unsigned char)(r % 10);
    for (int i = 1; i <= 5; i++) {
        char name[32];
        snprintf(name, sizeof name, "data_batch_%d.bin", i);
        write_bytes(folder, name, bytes, sizeof bytes);
    }
    write_bytes(folder, "test_batch.bin", bytes, sizeof bytes);
}

/* Eight clips of 0.1 s at 8 kHz, 16 bits. */
static void make_sounds(const char *folder) {
    enum { SAMPLES = 800 };
    unsigned char wav[44 + 2 * SAMPLES] = "RIFF\0\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0"
                                          "\x80\x3e\0\0\2\0\x10\0data\x40\6\0\0";
    wav[4] = (unsigned char)((sizeof wav - 8) & 255);
    wav[5] = (unsigned char)((sizeof wav - 8) >> 8);
    for (int clip = 0; clip < 8; clip++) {
        char inner[KD_PATH_MAX], name[32];
        snprintf(inner, sizeof inner, "%.500s/%c", folder, 'a' + clip % 2);
        assert_int_equal(kd_file_make_folders(inner), KD_OK);
        for (int i = 0; i < SAMPLES; i++) {
            int value = (int)(9000 * sin(i * (clip % 2 ? 0.9 : 0.2) + clip));
            wav[44 + 2 * i] = (unsigned char)(value & 255);
            wav[45 + 2 * i] = (unsigned char)((value >> 8) & 255);
        }
        snprintf(name, sizeof name, "%d.wav", clip);
        write_bytes(inner, name, wav, sizeof wav);
    }
}

/* --- drawing -------------------------------------------------------------------------------- */

typedef struct {
    kd_rng rng;
    kd_text text;
    int data; /* which of SETS, else CIFAR-10, else sounds */
    int names;
    bool taught, held; /* by a teacher; samples held out */
    bool speech;       /* a config of a recogniser       */
} draw;

static int below(draw *d, int n) {
    return (int)kd_rng_below(&d->rng, (uint32_t)n);
}

static bool chance(draw *d, int percent) {
    return below(d, 100) < percent;
}

/* Mostly small, sometimes of any size, at the ends, or just outside. */
static double draw_number(draw *d, const kd_config_key *key, bool whole) {
    const double low = key->low, high = key->high;
    const int kind = below(d, 100);
    double x;
    if (kind < 85)
        x = low + (whole ? below(d, 6) : fmin(high - low, 10) * kd_rng_uniform(&d->rng));
    else if (kind < 93)
        x = low + exp(log(fmin(high - low, 1e12) + 1) * kd_rng_uniform(&d->rng)) - 1;
    else if (kind < 96)
        x = low;
    else if (kind < 99)
        x = high;
    else
        x = high + 1;
    if (whole) x = floor(x);
    if (key->above && x <= low && kind < 99) x = fmin(high, low + 0.01);
    return x;
}

static void put_number(draw *d, const kd_config_key *key, bool whole) {
    double x = draw_number(d, key, whole);
    if (whole && fabs(x) < 1e15)
        kd_text_add(&d->text, "%.0f", x);
    else
        kd_text_add(&d->text, "%.17g", x);
}

static void put_choice(draw *d, const char *choices) {
    int count = 1;
    for (const char *c = choices; *c; c++) count += *c == '|';
    const char *word = choices;
    for (int skip = below(d, count); skip > 0; skip--) word = strchr(word, '|') + 1;
    kd_text_add(&d->text, "\"%.*s\"", (int)strcspn(word, "|"), word);
}

/* The same of a recogniser's config. */
static bool put_known_speech(draw *d, const char *table, const kd_config_key *key) {
    kd_text *out = &d->text;
    static const struct {
        const char *key, *value;
    } known[] = {{"kind", "\"speech\""},       {"type", "\"whisper\""},
                 {"train", "[\"train.tsv\"]"}, {"test", "[\"held.tsv\"]"},
                 {"language", "\"en\""},       {"validation", "[\"held.tsv\"]"},
                 {"source", "\"elsewhere\""},  {"weights", "\"teacher.bin\""}};
    const bool targets = strcmp(table, "targets") == 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(key->name, known[i].key) == 0 && key->type != KD_KEY_OBJECT && !targets) {
            kd_text_add(out, "%s", known[i].value);
            return true;
        }
    if (strcmp(key->name, "epochs") == 0)
        kd_text_add(out, "1");
    else if (strcmp(key->name, "name") == 0)
        kd_text_add(out, "\"q%d\"", d->names++);
    else if (strcmp(key->name, "warmup_epochs") == 0)
        kd_text_add(out, "%.2f", kd_rng_uniform(&d->rng));
    else if (strcmp(key->name, "wer") == 0)
        kd_text_add(out, "1e6");
    else
        return false;
    return true;
}

/* Keys whose values mean something in this folder; false for the others. */
static bool put_known(draw *d, const char *table, const kd_config_key *key) {
    if (d->speech) return put_known_speech(d, table, key);
    static const char *const node[] = {"hidden0", "conv0",      "pool1",        "linear0",
                                       "conv1",   "classifier", "layer1.0.add", "nowhere"};
    kd_text *out = &d->text;
    const bool sound = d->data > SET_COUNT;
    if (strcmp(key->name, "epochs") == 0)
        kd_text_add(out, "%d", 1 + below(d, 2));
    else if (strcmp(key->name, "name") == 0)
        kd_text_add(out, "\"q%d\"", d->names++);
    else if (strcmp(key->name, "warmup_epochs") == 0)
        kd_text_add(out, "%.2f", kd_rng_uniform(&d->rng));
    else if (strcmp(key->name, "padding") == 0 && strcmp(table, "conv") != 0)
        kd_text_add(out, "%d", below(d, 2));
    else if (strcmp(key->name, "folder") == 0)
        kd_text_add(out, "\"%s\"", d->data < SET_COUNT ? SETS[d->data].name : "cifar");
    else if (strcmp(table, "data") == 0 &&
             (strcmp(key->name, "train") == 0 || strcmp(key->name, "test") == 0))
        kd_text_add(out, "\"sounds\"");
    else if (strcmp(key->name, "kind") == 0 && strcmp(table, "data") == 0)
        kd_text_add(out, "\"%s\"", d->data < SET_COUNT ? "idx" : sound ? "audio" : "cifar10");
    else if (strcmp(key->name, "mean") == 0 || strcmp(key->name, "deviation") == 0)
        kd_text_add(out, d->data < SET_COUNT ? "[0.4]" : "[0.4, 0.3, 0.2]");
    else if (strcmp(key->name, "classes") == 0)
        kd_text_add(out, "[\"a\", \"b\", \"c\", \"d\"]");
    else if (strcmp(key->name, "validation") == 0 || strcmp(key->name, "train_limit") == 0)
        kd_text_add(out, "%d", below(d, 8) + d->held);
    else if (strcmp(key->name, "exclude") == 0 || strcmp(key->name, "correct_bias") == 0)
        kd_text_add(out, "[%d]", below(d, CLASSES + 1));
    else if (strcmp(key->name, "depth") == 0)
        kd_text_add(out, "%d", 8 + 6 * below(d, 3));
    else if (strcmp(key->name, "seconds") == 0)
        kd_text_add(out, "%g", 0.05 + 0.3 * kd_rng_uniform(&d->rng));
    else if (key->type == KD_KEY_TEXT && strcmp(table, "hints") == 0)
        kd_text_add(out, "\"%s\"", node[below(d, (int)(sizeof node / sizeof *node))]);
    else if (strcmp(key->name, "config") == 0)
        kd_text_add(out, "\"teacher.json\"");
    else
        return false;
    return true;
}

static void put_object(draw *d, const kd_config_table *table);

static void put_value(draw *d, const kd_config_key *key) {
    const int entries = 1 + below(d, 3);
    switch (key->type) {
    case KD_KEY_INTEGER:
        if (key->choices && chance(d, 20))
            put_choice(d, key->choices);
        else
            put_number(d, key, true);
        return;
    case KD_KEY_REAL:
        put_number(d, key, false);
        return;
    case KD_KEY_SWITCH:
        kd_text_add(&d->text, chance(d, 60) ? "true" : "false");
        return;
    case KD_KEY_CHOICE:
        put_choice(d, key->choices);
        return;
    case KD_KEY_PAIR:
        if (key->choices && chance(d, 30)) {
            put_choice(d, key->choices);
        } else if (chance(d, 50)) {
            put_number(d, key, true);
        } else {
            kd_text_add(&d->text, "[");
            put_number(d, key, true);
            kd_text_add(&d->text, ", ");
            put_number(d, key, true);
            kd_text_add(&d->text, "]");
        }
        return;
    case KD_KEY_INTEGERS:
    case KD_KEY_REALS:
        for (int i = 0; i < entries; i++) {
            kd_text_add(&d->text, i ? ", " : "[");
            put_number(d, key, key->type == KD_KEY_INTEGERS);
        }
        kd_text_add(&d->text, "]");
        return;
    case KD_KEY_OBJECT:
        put_object(d, key->table);
        return;
    case KD_KEY_OBJECTS:
        for (int i = 0; i < entries; i++) {
            kd_text_add(&d->text, i ? ", " : "[");
            put_object(d, key->table);
        }
        kd_text_add(&d->text, "]");
        return;
    default:
        kd_text_add(&d->text, "\"\"");
        return;
    }
}

/* Keys that this folder has nothing for, or that another key excludes. */
static bool is_left_out(const draw *d, const char *table, const kd_config_key *key) {
    if (d->speech) return strcmp(key->name, "$schema") == 0;
    const bool sound = d->data > SET_COUNT, idx = d->data < SET_COUNT;
    static const char *const never[] = {"$schema", "weights", "store", "ensemble"};
    static const char *const of_teachers[] = {"teacher", "kl", "hints", "baseline"};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        if (strcmp(key->name, never[i]) == 0) return true;
    if (strcmp(table, "teacher") == 0) return strcmp(key->name, "model") == 0;
    if (strcmp(table, "augment") == 0)
        return sound ? strcmp(key->name, "flip") == 0
                     : strcmp(key->name, "shift") != 0 && strcmp(key->name, "flip") != 0;
    if (!d->held && strcmp(key->name, "correct_bias") == 0) return true;
    if (!d->taught)
        for (size_t i = 0; i < sizeof of_teachers / sizeof *of_teachers; i++)
            if (strcmp(key->name, of_teachers[i]) == 0) return true;
    if (strcmp(table, "data") != 0) return false;
    static const char *const of_sound[] = {"train", "test", "audio"};
    static const char *const of_pictures[] = {"folder", "mean", "deviation"};
    for (int i = 0; i < 3; i++)
        if (strcmp(key->name, (sound ? of_pictures : of_sound)[i]) == 0) return true;
    return !idx && strcmp(key->name, "classes") == 0;
}

static bool is_needed(const draw *d, const char *table, const kd_config_key *key) {
    if (key->required || strcmp(key->name, "config") == 0) return true;
    if (d->speech) return strcmp(key->name, "wer") == 0;
    if (*table == '\0' && strcmp(key->name, "teacher") == 0) return true;
    if (strcmp(table, "quantize") == 0) return strcmp(key->name, "name") == 0;
    if (strcmp(table, "data") != 0) return strcmp(key->name, "quantize") == 0;
    if (strcmp(key->name, "validation") == 0) return d->held;
    return strcmp(key->name, "folder") == 0 || strcmp(key->name, "train") == 0 ||
           strcmp(key->name, "test") == 0 || strcmp(key->name, "audio") == 0 ||
           (d->data < SET_COUNT && strcmp(key->name, "classes") == 0);
}

/* An object of the table: what is required, and of the rest what chance takes. */
static void put_object(draw *d, const kd_config_table *table) {
    const kd_config_table *of = table;
    if (table->variant_count > 0) of = table->variant[below(d, table->variant_count)];
    const bool means = chance(d, 30);
    const char *between = "{";
    for (int i = 0; i < of->count; i++) {
        const kd_config_key *key = &of->key[i];
        const bool mean = strcmp(key->name, "mean") == 0 || strcmp(key->name, "deviation") == 0;
        if (is_left_out(d, of->name, key)) continue;
        if (mean ? !means : !is_needed(d, of->name, key) && !chance(d, 15)) continue;
        kd_text_add(&d->text, "%s\"%s\": ", between, key->name);
        between = ", ";
        if (table->tag && strcmp(key->name, table->tag) == 0)
            kd_text_add(&d->text, "\"%s\"", of->name);
        else if (!put_known(d, of->name, key))
            put_value(d, key);
    }
    kd_text_add(&d->text, *between == '{' ? "{}" : "}");
}

/* --- running -------------------------------------------------------------------------------- */

static const char TEACHER[] =
    "{\"name\": \"teacher\", \"data\": {\"kind\": \"idx\", \"folder\": \"%s\", \"classes\": "
    "[\"a\", \"b\", \"c\", \"d\"]}, \"model\": {\"type\": \"mlp\", \"hidden\": [6]}, \"train\": "
    "{\"epochs\": 1}}";

/* `distill train` in a child; what it printed is in said.txt. */
static int run_child(void) {
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child > 0) {
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        return status;
    }
    int said = open("said.txt", O_CREAT | O_TRUNC | O_WRONLY, 0644);
    dup2(said, STDOUT_FILENO);
    dup2(said, STDERR_FILENO);
    const struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
#if !defined(__SANITIZE_ADDRESS__)
    const rlim_t most = (rlim_t)MEMORY_MB << 20;
    const struct rlimit memory = {most, most};
    setrlimit(RLIMIT_AS, &memory);
#endif
    signal(SIGALRM, SIG_DFL);
    alarm(SECONDS);
    char words[][16] = {"distill", "train", "config.json", "--fresh"};
    char *argv[] = {words[0], words[1], words[2], words[3], NULL};
    _exit(kd_cli_main(4, argv));
}

static void print_file(const char *name, size_t most) {
    char *text;
    size_t length;
    if (kd_file_read(&text, &length, name, (size_t)1 << 24) < 0) return;
    size_t from = length > most ? length - most : 0;
    fprintf(stderr, "%s\n", text + from);
    free(text);
}

static bool says(const char *part) {
    char *text;
    size_t length;
    if (kd_file_read(&text, &length, "said.txt", (size_t)1 << 24) < 0) return false;
    bool found = strstr(text, part) != NULL;
    free(text);
    return found;
}

/* A run, a refusal, too little memory, or numbers that grew without bound. */
static bool ended_well(int status) {
    if (WIFSIGNALED(status)) return WTERMSIG(status) == SIGALRM;
    const int code = WEXITSTATUS(status);
    return code == 0 || code == -KD_ECONFIG || (code == -KD_EINTERNAL && says("out of memory")) ||
           (code == -KD_EDATA && (says("finite") || says("never observed") || says("2^31")));
}

static int64_t setting(const char *name, int64_t otherwise) {
    const char *text = getenv(name);
    return text ? atoll(text) : otherwise;
}

static void every_config_ends_well(void **state) {
    (void)state;
    const int64_t first = setting("DISTILL_CONFIG_SEED", 0),
                  count = setting("DISTILL_CONFIGS", CONFIGS);
    int64_t ran = 0, refused = 0, bad = 0;
    for (int64_t i = first; i < first + count; i++) {
        draw d = {.rng = kd_rng_init(1, (uint64_t)i)};
        d.data = below(&d, SET_COUNT + 2);
        d.held = chance(&d, 30);
        d.taught = d.data < SET_COUNT && chance(&d, 40); /* the teacher sees idx files */
        d.speech = chance(&d, 12);
        put_object(&d, d.speech ? &kd_speech_config_root : &kd_config_root);
        assert_int_equal(kd_text_finish(&d.text, "a config"), KD_OK);
        write_bytes(root, "config.json", d.text.text, d.text.length);
        char teacher[sizeof TEACHER + 16];
        snprintf(teacher, sizeof teacher, TEACHER, d.data < SET_COUNT ? SETS[d.data].name : "");
        write_bytes(root, "teacher.json", teacher, strlen(teacher));
        int status = run_child();
        ran += status == 0;
        refused += WIFEXITED(status) && WEXITSTATUS(status) == -KD_ECONFIG;
        if (getenv("SHOW")) print_file("said.txt", 700);
        if (!ended_well(status)) {
            bad++;
            fprintf(stderr, "config %lld (status %#x):\n%s\n", (long long)i, (unsigned)status,
                    d.text.text);
            print_file("said.txt", 1500);
        }
        free(d.text.text);
        assert_int_equal(system("rm -rf runs"), 0);
    }
    printf("%lld configs: %lld ran, %lld were refused\n", (long long)count, (long long)ran,
           (long long)refused);
    assert_int_equal(bad, 0);
    assert_true(count < CONFIGS || ran >= count / 5); /* else the draws say nothing */
}

/* Networks at the ends of what the tables allow, and whether they can be trained and exported. */
static void the_ends_of_the_ranges(void **state) {
    (void)state;
    static const struct {
        const char *model;
        int code;
    } edge[] = {
        {"{\"type\": \"cnn\", \"layers\": [{\"max_pool\": [17, 40], \"stride\": 1}]}", 0},
        {"{\"type\": \"cnn\", \"layers\": [{\"max_pool\": 25}]}", 78}, /* more than 24 rows */
        {"{\"type\": \"cnn\", \"layers\": [{\"conv\": 1, \"kernel\": 1, \"padding\": 60},"
         " {\"max_pool\": 128, \"stride\": 8}]}",
         0},
        {"{\"type\": \"cnn\", \"layers\": [{\"conv\": 2, \"stride\": 4096}, {\"avg_pool\": 1,"
         " \"stride\": 4096}]}",
         0},
        {"{\"type\": \"cnn\", \"layers\": [{\"conv\": 65536, \"kernel\": 4095, \"padding\": "
         "4096}]}",
         78},
        {"{\"type\": \"cnn\", \"layers\": [{\"conv\": 4, \"kernel\": 1, \"padding\": 4096},"
         " {\"linear\": 65536}]}",
         78},
        {"{\"type\": \"cnn\", \"layers\": [{\"conv\": 3, \"groups\": 2}]}", 78},
        {"{\"type\": \"mlp\", \"hidden\": [65536, 65536]}", 78},
        {"{\"type\": \"mlp\", \"hidden\": [1, 1, 1], \"dropout\": 0.999999}", 0},
        {"{\"type\": \"resnet\", \"depth\": 1202, \"width\": 4096}", 78},
    };
    for (size_t i = 0; i < sizeof edge / sizeof *edge; i++) {
        char text[1024];
        int n =
            snprintf(text, sizeof text,
                     "{\"data\": {\"kind\": \"idx\", \"folder\": \"large\"}, \"train\": "
                     "{\"epochs\": 1}, \"quantize\": {\"qat\": {\"epochs\": 1}}, \"model\": %s}",
                     edge[i].model);
        write_bytes(root, "config.json", text, (size_t)n);
        int status = run_child();
        if (WIFEXITED(status) && WEXITSTATUS(status) == edge[i].code) continue;
        print_file("said.txt", 1500);
        fail_msg("%s\n  ended with %#x, not %d", text, (unsigned)status, edge[i].code);
    }
}

/* A tiny Whisper that likes to end, and what it hears. Made in a child: a process that has started
 * OpenMP's threads cannot fork one that uses them. */
static void make_speech(void) {
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child > 0) {
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        return;
    }
    char list[1024] = "audio\ttext\tspeaker\n", *at = list + strlen(list);
    for (int k = 0; k < 4; k++) {
        char name[32];
        snprintf(name, sizeof name, "k%d.wav", k);
        tiny_sound(name, 2000 + 1300 * k, k);
        at += sprintf(at, "%s\tnumber %d\tann\n", name, k);
    }
    write_bytes(root, "train.tsv", list, strlen(list));
    write_bytes(root, "held.tsv", list, strlen(list));
    kd_whisper_file *teacher = tiny_whisper_file();
    const kd_real *end = teacher->model->tokens.table->tensor.value +
                         (int64_t)kd_tokenizer_ids(teacher->tokenizer)->end * TINY_WIDTH;
    for (int i = 0; i < TINY_WIDTH; i++)
        teacher->model->text_norm.beta->tensor.value[i] += 25 * end[i];
    assert_int_equal(kd_whisper_bin_write("teacher.bin", teacher, &kd_format_f32), KD_OK);
    _exit(0);
}

static int enter(void **state) {
    (void)state;
    if (!mkdtemp(root) || chdir(root) < 0) return -1;
    for (int i = 0; i < SET_COUNT; i++) make_idx(SETS[i].name, SETS[i].count, SETS[i].h, SETS[i].w);
    make_cifar("cifar");
    make_sounds("sounds");
    make_speech();
    return 0;
}

static int leave(void **state) {
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return chdir("/") == 0 && system(command) == 0 ? 0 : -1;
}

int main(void) {
    setenv("OMP_NUM_THREADS", "2", 0);
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_ends_of_the_ranges),
                                       cmocka_unit_test(every_config_ends_well)};
    return cmocka_run_group_tests(tests, enter, leave);
}
