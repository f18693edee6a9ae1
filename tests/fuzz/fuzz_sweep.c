#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "distill/sweep.h"
#include "tasks/registry.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

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
    stderr = fopen("/dev/null", "w");
    return stderr ? 0 : -1;
}

/* Of a sweep that is accepted, every run's config can be made or is refused. */
static void read_sweep(const char *text, size_t length) {
    kd_sweep *sweep;
    if (kd_sweep_parse(&sweep, text, length, "s.json", kd_task_of_config) < 0) return;
    for (int v = 0; v < sweep->variant_count; v++) {
        void *config;
        if (kd_sweep_config(&config, sweep, v, sweep->seed_count - 1) < 0) continue;
        if (strcmp(sweep->task->run_name(config), sweep->variant[v].folder) == 0) abort(); /* "-s…" is missing */
        sweep->task->free_config(config);
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
    return 0;
}
