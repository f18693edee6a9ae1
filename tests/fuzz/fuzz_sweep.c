#include <stdio.h>
#include <stdlib.h>
#include <string.h>
<<<<<<< HEAD
#include <unistd.h>

=======
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
>>>>>>> 1f3e030 (Every cut and 10,000 bits of checkpoints and stores, also without the seal; the known bugs as named tests; a fuzzer for sweeps; the demo under sanitizers; reliability.md says what ran)
#include "distill/sweep.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

<<<<<<< HEAD
/* A folder with a base config, and nobody to read the complaints. */
int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    static char folder[] = "/tmp/distill-fuzz-sweep-XXXXXX";
    static const char base[] =
        "{\"data\": {\"kind\": \"idx\", \"folder\": \".\"}, \"train\": {\"epochs\": 1},"
        " \"model\": {\"type\": \"mlp\", \"hidden\": [4]}}";
    if (!mkdtemp(folder) || chdir(folder) != 0) return -1;
    FILE *file = fopen("c.json", "w");
    if (!file || fputs(base, file) < 0 || fclose(file) != 0) return -1;
=======
static char path[64]; /* of the sweep, beside base.json */

static const char BASE[] =
    "{\"name\": \"b\", \"data\": {\"kind\": \"idx\", \"folder\": \".\"},\n"
    " \"model\": {\"type\": \"mlp\", \"hidden\": [8]}, \"loss\": {\"temperature\": 2},\n"
    " \"train\": {\"epochs\": 1, \"batch\": 8, \"optimizer\": \"sgd\", \"learning_rate\": 0.1}}\n";

/* Nobody reads the complaints. Sanitizers write past the stream. */
int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    char folder[48], base[64];
    snprintf(folder, sizeof folder, "/dev/shm/kd-fuzz-sweep-%d", (int)getpid());
    snprintf(base, sizeof base, "%s/base.json", folder);
    snprintf(path, sizeof path, "%s/sweep.json", folder);
    mkdir(folder, 0700);
    if (kd_file_replace(base, BASE, strlen(BASE)) < 0) return -1;
>>>>>>> 1f3e030 (Every cut and 10,000 bits of checkpoints and stores, also without the seal; the known bugs as named tests; a fuzzer for sweeps; the demo under sanitizers; reliability.md says what ran)
    stderr = fopen("/dev/null", "w");
    return stderr ? 0 : -1;
}

<<<<<<< HEAD
/* Of a sweep that is accepted, every run's config can be made or is refused. */
static void read_sweep(const char *text, size_t length) {
    kd_sweep *sweep;
    if (kd_sweep_parse(&sweep, text, length, "s.json") < 0) return;
    for (int v = 0; v < sweep->variant_count; v++) {
        kd_config *config;
        if (kd_sweep_config(&config, sweep, v, sweep->seed_count - 1) < 0) continue;
        if (strcmp(config->name, sweep->variant[v].folder) == 0) abort(); /* "-s…" is missing */
        kd_config_free(config);
    }
    kd_sweep_free(sweep);
}

/* The input is a whole file, and then what follows the base in one. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    static const char front[] = "{\"base\": \"c.json\", ";
    const size_t n = sizeof front - 1;
    char *text = malloc(n + length + 1);
    if (!text) return 0;
    memcpy(text, front, n);
    if (length > 0) memcpy(text + n, bytes, length);
    text[n + length] = '}';
    read_sweep((const char *)bytes, length);
    read_sweep(text, n + length + 1);
    free(text);
=======
/* Every config that an accepted sweep leads to is one. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    kd_sweep *sweep;
    if (kd_sweep_parse(&sweep, (const char *)bytes, length, path) < 0) return 0;
    for (int variant = 0; variant < sweep->variant_count && variant < 4; variant++) {
        kd_config *config;
        if (kd_sweep_config(&config, sweep, variant, 0) < 0) abort();
        kd_config_free(config);
    }
    kd_sweep_free(sweep);
>>>>>>> 1f3e030 (Every cut and 10,000 bits of checkpoints and stores, also without the seal; the known bugs as named tests; a fuzzer for sweeps; the demo under sanitizers; reliability.md says what ran)
    return 0;
}
