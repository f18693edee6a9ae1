/* Sweeps: the statistics, what a file may say, the runs carried out and taken up again. */
#include <math.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "asserts.h"
#include "base/log.h"
#include "config/schema.h"
#include "report/plot.h"
#include "report/runlog.h"
#include "distill/sweep_parts.h"
#include "tasks/classify/report.h"
#include "tasks/registry.h"
#include "tiny_run.h"

#define TRAIN      " \"train\": {\"epochs\": 2, \"batch\": 32, \"learning_rate\": 0.05}"
#define MLP(units) " \"model\": {\"type\": \"mlp\", \"hidden\": [" #units "]},\n"

static const char PLAN[] =
    "{\"base\": \"small.json\", \"seeds\": [3, 5],\n"
    " \"variants\": [{\"name\": \"student alone\", \"set\": {\"teacher\": null, \"loss\": null}},\n"
    "              {\"name\": \"τ = 2\", \"set\": {\"loss.temperature\": 2}}],\n"
    " \"grid\": {\"loss.temperature\": [1, 16], \"loss.kl\": [0.5, 0.9]}}\n";

static int setup(void **state) {
    (void)state;
    if (enter_folder() != 0) return -1;
    write_config("big", MLP(32) TRAIN);
    write_config("small", MLP(8) " \"teacher\": {\"config\": \"big.json\"},\n" TRAIN);
    write_file("plan.json", PLAN, strlen(PLAN));
    return 0;
}

/* --- statistics ----------------------------------------------------------------------------- */

static void quantiles_are_those_of_the_tables(void **state) {
    (void)state;
    static const struct {
        int freedom;
        double value;
    } table[] = {{1, 12.706205}, {2, 4.302653},  {3, 3.182446},  {4, 2.776445},
                 {9, 2.262157},  {30, 2.042272}, {63, 1.998341}, {1000, 1.962339}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        assert_true(fabs(kd_student_quantile(table[i].freedom) - table[i].value) < 1e-5);
}

static void statistics_of_few(void **state) {
    (void)state;
    kd_statistics s = kd_statistics_of(4, (const double[]){1, NAN, 2, 6});
    assert_int_equal(s.n, 3);
    assert_true(fabs(s.mean - 3) < 1e-12 && fabs(s.deviation - sqrt(7)) < 1e-12);
    assert_true(fabs(s.reach - 4.302653 * sqrt(7.0 / 3)) < 1e-5);
    s = kd_statistics_of(1, (const double[]){5});
    assert_true(isnan(s.low) && isnan(s.high));
    assert_true(s.n == 1 && s.mean > 4.9 && isnan(s.deviation) && isnan(s.reach));
    assert_true(kd_statistics_of(0, NULL).n == 0);
}

/* --- the file ------------------------------------------------------------------------------- */

static kd_sweep *parse(const char *text) {
    kd_sweep *sweep;
    if (kd_sweep_parse(&sweep, text, strlen(text), "plan.json", kd_task_of_config) < 0) fail_msg("%s", kd_error());
    return sweep;
}

static void a_file_is_read(void **state) {
    (void)state;
    kd_sweep *sweep = parse(PLAN);
    assert_string_equal(sweep->name, "plan");
    assert_int_equal(sweep->seed_count, 2);
    assert_int_equal(sweep->variant_count, 6);
    assert_string_equal(sweep->variant[0].folder, "student_alone");
    assert_string_equal(sweep->variant[1].folder, "_2");
    assert_string_equal(sweep->variant[4].label, "temperature 16, kl 0.5");
    assert_string_equal(sweep->variant[4].folder, "temperature_16_kl_0.5");
    kd_config *config;
    assert_int_equal(kd_sweep_config((void **)&config, sweep, 0, 1), KD_OK);
    assert_string_equal(config->name, "student_alone-s5");
    assert_true(config->seed == 5 && !config->teacher.present && config->loss.kl <= 0);
    kd_config_free(config);
    assert_int_equal(kd_sweep_config((void **)&config, sweep, 4, 0), KD_OK);
    assert_true(config->loss.temperature > 15 && config->loss.kl < 0.6 && config->teacher.present);
    kd_config_free(config);
    kd_sweep_free(sweep);
    sweep = parse("{\"base\": \"small.json\", \"grid\": {\"loss.temperature\": [2],"
                  " \"loss\": [{\"kl\": 0.5, \"hard\": 0.25}]}}");
    assert_string_equal(sweep->variant[0].label, "temperature 2, kl 0.5, hard 0.25");
    assert_int_equal(kd_sweep_config((void **)&config, sweep, 0, 2), KD_OK);
    assert_true(config->loss.temperature < 2.1 && config->loss.hard < 0.3); /* "loss" came first */
    kd_config_free(config);
    kd_sweep_free(sweep);
    sweep = parse("\xef\xbb\xbf{\"base\": \"small.json\", \"seeds\": [9007199254740992, "
                  "9007199254740993, 18446744073709551615], \"variants\": [{\"name\": \"a\"}]}");
    assert_int_equal(kd_sweep_config((void **)&config, sweep, 0, 1), KD_OK);
    assert_true(config->seed == 9007199254740993u);
    assert_string_equal(config->name, "a-s9007199254740993");
    kd_config_free(config);
    assert_int_equal(kd_sweep_config((void **)&config, sweep, 0, 2), KD_OK);
    assert_true(config->seed == UINT64_MAX);
    kd_config_free(config);
    kd_sweep_free(sweep);
}

/* What stderr gets while `text` is read, and that it is refused. */
static void refused(const char *text, int expected, const char *const *said) {
    char words[8192];
    fflush(stderr);
    int keep = dup(2);
    assert_non_null(freopen("complaints", "w+", stderr));
    kd_sweep *sweep;
    int status = kd_sweep_parse(&sweep, text, strlen(text), "s.json", kd_task_of_config);
    fprintf(stderr, "%s\n", kd_error());
    rewind(stderr);
    words[fread(words, 1, sizeof words - 1, stderr)] = '\0';
    fflush(stderr);
    dup2(keep, 2);
    close(keep);
    assert_int_equal(status, expected);
    for (; *said; said++)
        if (!strstr(words, *said)) fail_msg("'%s' was not said in:\n%s", *said, words);
}
#define REFUSED(text, ...) refused(text, KD_ECONFIG, (const char *const[]){__VA_ARGS__, NULL})

static void mistakes_are_named_with_their_places(void **state) {
    (void)state;
    REFUSED("{\"base\": \"small.json\", \"sedes\": [1],\n \"variants\": [{\"nam\": \"a\"}]}",
            "s.json:1:24: $.sedes: unknown key; did you mean \"seeds\"?",
            "s.json:2:16: $.variants[0].nam: unknown key; did you mean \"name\"?",
            "$.variants[0].name: missing");
    REFUSED("{\"base\": \"small.json\", \"variants\": [{\"name\": \"a\", \"set\": "
            "{\"loss.temprature\": 3,\n \"train.epochs\": -1}}],\n"
            " \"grid\": {\"loss.kl\": [0.5, -0.5]}}",
            "s.json:1:78: $.loss.temprature: unknown key; did you mean \"temperature\"?",
            "s.json:2:18: $.train.epochs: expected a whole number from 1 to 1000000000, found -1",
            "s.json:3:28: $.loss.kl: expected a number from 0 to 1000000, found -0.5",
            "2 variants cannot be run");
    REFUSED("{\"base\": \"small.json\", \"grid\": {\"loss.kl\": 3}}", "expected a list of values");
    REFUSED("{\"base\": \"small.json\", \"grid\": {\"a\": [1], \"b\": [1], \"c\": [1]}}",
            "s.json:1:53: $.grid.c: a grid has at most 2 axes");
    REFUSED("{\"base\": \"small.json\"}", "expected \"variants\" or a \"grid\"");
    REFUSED("{\"base\": \"small.json\", \"seeds\": [4, 4], \"variants\": [{\"name\": \"a b\"}, "
            "{\"name\": \"a_b\"}]}",
            "4 is there twice", "\"a b\" and \"a_b\" would have the same folder, a_b");
    REFUSED(
        "{\"base\": \"small.json\", \"variants\": [{\"name\": \"a\", \"set\": {\"name.x\": 1}}]}",
        "there is nothing below 'name' to change");
    REFUSED("{\"base\": 3,}", "s.json:1:12");
    refused("{\"base\": \"nowhere.json\", \"variants\": [{\"name\": \"a\"}]}", KD_ENOINPUT,
            (const char *const[]){"nowhere.json", NULL});
}

/* A grid of `first` temperatures and `second` weights, behind a variant of its own when `more`. */
static const char *grid_of(int first, int second, bool more) {
    static char text[2048];
    char *at = text;
    at += sprintf(at, "{\"base\": \"small.json\", %s\"grid\": {\"loss.temperature\": [",
                  more ? "\"variants\": [{\"name\": \"own\"}], " : "");
    for (int i = 0; i < first; i++) at += sprintf(at, "%s%d", i ? ", " : "", i + 1);
    at += sprintf(at, "], \"loss.kl\": [");
    for (int i = 0; i < second; i++) at += sprintf(at, "%s0.%d", i ? ", " : "", i + 1);
    sprintf(at, "]}}");
    return text;
}

static void sweeps_have_bounds(void **state) {
    (void)state;
    kd_sweep *sweep = parse(grid_of(16, 8, false));
    assert_int_equal(sweep->variant_count, 128);
    assert_int_equal(sweep->axis_count, 2);
    assert_true(sweep->variant[127].point[0] == 15 && sweep->variant[127].point[1] == 7);
    assert_string_equal(sweep->variant[127].label, "temperature 16, kl 0.8");
    kd_sweep_free(sweep);
    REFUSED(grid_of(16, 8, true), "$.grid: more than 128 variants");
    REFUSED(grid_of(2, 9, false), "9 values, but the second axis has at most 8");
    sweep = parse(grid_of(9, 2, true)); /* of the first there may be more */
    assert_int_equal(sweep->variant_count, 19);
    assert_true(sweep->variant[0].point[0] == -1 && sweep->variant[0].point[1] == -1);
    kd_sweep_free(sweep);
    REFUSED("{\"base\": \"small.json\", \"seeds\": [], \"variants\": [{\"name\": \"a\"}]}",
            "$.seeds: expected at least one");
    REFUSED("{\"base\": \"small.json\", \"grid\": {\"loss.kl\": []}}", "expected a list of values");
}

static void schema_and_documentation_agree(void **state) {
    (void)state;
    char path[KD_PATH_MAX], *file;
    size_t length;
    kd_text schema = {0}, tables = {0};
    const kd_config_table *configs[8];
    int tasks = 0;
    for (const kd_task *task; (task = kd_task_at(tasks));) configs[tasks++] = task->keys;
    kd_config_add_schema(&schema, kd_sweep_keys(configs, tasks));
    kd_config_add_markdown(&tables, kd_sweep_keys(configs, tasks));
    assert_int_equal(kd_text_finish(&schema, "test"), KD_OK);
    assert_int_equal(kd_text_finish(&tables, "test"), KD_OK);
    kd_json *json;
    if (kd_json_parse(&json, schema.text, schema.length, "schema") < 0) fail_msg("%s", kd_error());
    kd_json_free(json);
    assert_int_equal(kd_path_join(path, source_folder, "configs/sweep.schema.json"), KD_OK);
    assert_int_equal(kd_file_read(&file, &length, path, 1 << 20), KD_OK);
    if (strcmp(file, schema.text) != 0)
        fail_msg("stale: distill schema --sweep > configs/sweep.schema.json");
    free(file);
    assert_int_equal(kd_path_join(path, source_folder, "docs/sweep.md"), KD_OK);
    assert_int_equal(kd_file_read(&file, &length, path, 1 << 20), KD_OK);
    while (tables.length > 0 && tables.text[tables.length - 1] == '\n')
        tables.text[--tables.length] = '\0';
    if (!strstr(file, tables.text))
        fail_msg("docs/sweep.md is stale: put in what distill schema --sweep --markdown prints");
    free(file);
    free(schema.text);
    free(tables.text);
}

/* --- the runs ------------------------------------------------------------------------------- */

static char *read_text(const char *path) {
    char *text;
    size_t length;
    if (kd_file_read(&text, &length, path, 1 << 24) < 0) fail_msg("%s", kd_error());
    return text;
}

static cJSON *read_tree(const char *path) {
    char *text = read_text(path);
    cJSON *tree = cJSON_Parse(text);
    free(text);
    assert_non_null(tree);
    return tree;
}

static int count_of(const char *pattern) {
    char command[256];
    snprintf(command, sizeof command, "ls -d %s 2>/dev/null | wc -l", pattern);
    FILE *pipe = popen(command, "r");
    int count = -1;
    assert_non_null(pipe);
    assert_int_equal(fscanf(pipe, "%d", &count), 1);
    pclose(pipe);
    return count;
}

/* The rows of a sweep.json, which hold no times, as text. */
static char *rows_text(const char *path) {
    cJSON *tree = read_tree(path);
    char *text = cJSON_Print(cJSON_GetObjectItem(tree, "rows"));
    cJSON_Delete(tree);
    assert_non_null(text);
    return text;
}

static void every_run_is_made_once(void **state) {
    (void)state;
    assert_int_equal(DISTILL("sweep", "plan.json", "--dry-run"), 0);
    assert_int_equal(count_of("runs/plan"), 0);
    assert_int_equal(DISTILL("sweep", "plan.json"), 0);
    assert_int_equal(count_of("runs/plan/*-s[35]"), 12);
    assert_int_equal(count_of("runs/plan/big*"), 1);
    assert_int_equal(count_of("runs/plan/store-*"), 1); /* dense targets serve every temperature */
    assert_int_equal(count_of("runs/plan/*-s[35]/store"), 0);
    assert_int_equal(count_of("runs/plan/sweep-*.svg"), 3);

    cJSON *sweep = read_tree("runs/plan/sweep.json");
    cJSON *report = read_tree("runs/plan/temperature_16_kl_0.9-s5/report.json");
    double wanted = -1, found = -2;
    const cJSON *item;
    cJSON_ArrayForEach(item, cJSON_GetObjectItem(report, "models")) {
        if (strcmp(cJSON_GetObjectItem(item, "kind")->valuestring, "student") == 0)
            wanted = cJSON_GetObjectItem(item, "correct")->valuedouble;
    }
    cJSON_ArrayForEach(item, cJSON_GetObjectItem(sweep, "runs")) {
        if (strcmp(cJSON_GetObjectItem(item, "folder")->valuestring, "temperature_16_kl_0.9-s5"))
            continue;
        const cJSON *models = cJSON_GetObjectItem(item, "models");
        assert_true(cJSON_GetObjectItem(item, "seconds")->valuedouble > 0);
        assert_int_equal(cJSON_GetArraySize(models), 1); /* the teacher is measured once */
        const cJSON *model = cJSON_GetArrayItem(models, 0);
        found = cJSON_GetObjectItem(model, "correct")->valuedouble;
        kd_runlog_curves curves; /* what its weights had on the validation split: the best */
        double best = 0;
        assert_int_equal(kd_runlog_read(&curves, "runs/plan/temperature_16_kl_0.9-s5/log.jsonl"),
                         KD_OK);
        for (int64_t k = 0; k < curves.eval_count; k++)
            best = fmax(best, kd_runlog_value(&curves, &curves.eval[k], "accuracy"));
        assert_true(best > 0);
        assert_true(fabs(cJSON_GetObjectItem(model, "validation")->valuedouble - best) < 1e-7);
        kd_runlog_free(&curves);
    }
    assert_int_equal((int)found, (int)wanted);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(sweep, "rows")), 7);
    cJSON_Delete(sweep);
    cJSON_Delete(report);

    char *log = read_text("runs/plan/_2-s3/log.jsonl"), *before = rows_text("runs/plan/sweep.json");
    assert_int_equal(DISTILL("sweep", "plan.json"), 0);
    assert_int_equal(unlink("runs/plan/sweep.json"), 0); /* is made anew from the runs */
    assert_int_equal(DISTILL("sweep", "plan.json"), 0);
    char *again = read_text("runs/plan/_2-s3/log.jsonl"),
         *after = rows_text("runs/plan/sweep.json");
    assert_string_equal(before, after);
    assert_int_equal(strncmp(log, again, strlen(log)), 0);
    assert_null(strstr(again + strlen(log), "\"step\",")); /* nothing was trained */
    free(log);
    free(again);
    free(before);
    free(after);
}

static void a_teacher_for_each_seed(void **state) {
    (void)state;
    static const char plan[] =
        "{\"base\": \"small.json\", \"seeds\": [3, 4, 5], \"teacher_seeds\": true,\n"
        " \"variants\": [{\"name\": \"a\"}, {\"name\": \"b\", \"set\": {\"loss.kl\": 0.5}}]}";
    write_file("seeded.json", plan, strlen(plan));
    assert_int_equal(DISTILL("sweep", "seeded.json"), 0);
    assert_int_equal(count_of("runs/seeded/big-s*"), 3);
    assert_int_equal(count_of("runs/seeded/store-*"), 3);
    cJSON *config = read_tree("runs/seeded/big-s4/config.json");
    assert_int_equal(cJSON_GetObjectItem(config, "seed")->valueint, 4);
    cJSON_Delete(config);
}

/* Killed again and again, a sweep ends with the same table. */
static void kills_change_nothing(void **state) {
    (void)state;
    if (count_of("runs/plan/sweep.json") == 0) assert_int_equal(DISTILL("sweep", "plan.json"), 0);
    struct timespec moment = {0};
    int kills = 0, code = -1;
    while (code != 0) {
        pid_t child = fork();
        if (child == 0) {
            if (!freopen("/dev/null", "w", stdout) || !freopen("killed.log", "a", stderr)) _exit(1);
            execl("/proc/self/exe", "distill", "--as-distill", "sweep", "plan.json", "--runs",
                  "killed", (char *)NULL);
            _exit(127);
        }
        assert_true(child > 0);
        int status;
        moment.tv_nsec = (long)(20 + 37 * kills % 400) * 1000000;
        if (kills < 25) {
            nanosleep(&moment, NULL);
            kill(child, SIGKILL);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        assert_true(code == 0 || code == -1);
        kills++;
    }
    char *whole = rows_text("runs/plan/sweep.json"), *pieces = rows_text("killed/plan/sweep.json");
    assert_string_equal(whole, pieces);
    free(whole);
    free(pieces);
}

static void a_changed_variant_is_run_anew_or_refused(void **state) {
    (void)state;
    static const char first[] =
        "{\"base\": \"small.json\", \"name\": \"changed\", \"seeds\": [1],\n"
        " \"variants\": [{\"name\": \"a\"}]}";
    static const char other[] =
        "{\"base\": \"small.json\", \"name\": \"changed\", \"seeds\": [1],\n"
        " \"variants\": [{\"name\": \"a\", \"set\": {\"loss.kl\": 0.5}}]}";
    write_file("changed.json", first, strlen(first));
    assert_int_equal(DISTILL("sweep", "changed.json"), 0);
    write_file("changed.json", other, strlen(other));
    assert_int_equal(DISTILL("sweep", "changed.json"), 65);
    assert_int_equal(DISTILL("sweep", "changed.json", "--fresh"), 0);
    assert_int_equal(DISTILL("sweep", "changed.json"), 0);
}

int main(int argc, char **argv) {
    if (argc > 2 && strcmp(argv[1], "--as-distill") == 0) return kd_cli_main(argc - 1, argv + 1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(quantiles_are_those_of_the_tables),
                                       cmocka_unit_test(statistics_of_few),
                                       cmocka_unit_test(a_file_is_read),
                                       cmocka_unit_test(mistakes_are_named_with_their_places),
                                       cmocka_unit_test(sweeps_have_bounds),
                                       cmocka_unit_test(schema_and_documentation_agree),
                                       cmocka_unit_test(every_run_is_made_once),
                                       cmocka_unit_test(a_teacher_for_each_seed),
                                       cmocka_unit_test(kills_change_nothing),
                                       cmocka_unit_test(a_changed_variant_is_run_anew_or_refused)};

    return cmocka_run_group_tests(tests, setup, teardown);
}
