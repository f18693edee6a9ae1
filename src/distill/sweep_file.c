/* The file of a sweep: its keys, and the checks that need more than one of them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "config/defaults.h"
#include "config/rows.h"
#include "distill/sweep.h"

enum { SWEEP_LIMIT = 1 << 20, SECOND_AXIS_MAX = 8 };

/* --- keys ----------------------------------------------------------------------------------- */

static void finish_variant(kd_config_reader *reader, const cJSON *object, const char *path,
                           void *base);
static void finish_sweep(kd_config_reader *reader, const cJSON *object, const char *path,
                         void *base);

/* clang-format off */
static kd_config_key VARIANT_KEYS[] = {
    {"name", KD_KEY_TEXT, FIELD(kd_sweep_variant, label), .required = true,
     .doc = "what the table calls it; its runs' folders begin with it"},
    {"base", KD_KEY_PATH, FIELD(kd_sweep_variant, base), .depends = "the sweep's",
     .doc = "a config of its own to start from"},
    {"set", KD_KEY_CHANGES, NOWHERE,
     .doc = "keys of the config that differ; null takes one away. Paths are relative to the base's folder"},
};
static const kd_config_table VARIANT_TABLE = {.name = "variants", .key = VARIANT_KEYS,
    .count = COUNT(VARIANT_KEYS), .finish = finish_variant,
    .doc = "One variant of the base config."};
static kd_config_key SWEEP_KEYS[] = {
    {"$schema", KD_KEY_IGNORED, NOWHERE, .doc = "for editors: sweep.schema.json beside it"},
    {"name", KD_KEY_TEXT, FIELD(kd_sweep, name), .depends = "the file's name without .json",
     .doc = "of the sweep and of its folder: letters, digits, dot, dash, underscore"},
    {"base", KD_KEY_PATH, FIELD(kd_sweep, base), .required = true,
     .doc = "the config that all runs start from"},
    {"seeds", KD_KEY_INTEGERS, LIST(kd_sweep, seed, seed_count), .low = 0, .high = KD_KEY_U64_MAX,
     .fallback = "[1, 2, 3]", .doc = "every variant is run once with each"},
    {"teacher_seeds", KD_KEY_SWITCH, FIELD(kd_sweep, teacher_seeds), .fallback = "false",
     .doc = "true: a teacher for each seed, trained with it; false: one with its own seed for all"},
    {"variants", KD_KEY_OBJECTS, LIST(kd_sweep, variant, variant_count), .table = &VARIANT_TABLE,
     .fallback = "[]", .doc = "the variants, in the order of the table"},
    {"grid", KD_KEY_AXES, NOWHERE,
     .doc = "one or two keys of the config with lists of values: further variants, one for every combination"},
};
static const kd_config_table SWEEP_TABLE = {.name = "sweep", .key = SWEEP_KEYS,
    .count = COUNT(SWEEP_KEYS), .finish = finish_sweep, .doc = "A sweep of distill."};
/* clang-format on */

/* The keys that stand for those of configs are told what configs there are. */
const kd_config_table *kd_sweep_keys(const kd_config_table *const *configs, int count) {
    static kd_config_table any;
    any = (kd_config_table){.name = "", .variant = configs, .variant_count = count};
    for (int i = 0; i < COUNT(VARIANT_KEYS); i++)
        if (VARIANT_KEYS[i].type == KD_KEY_CHANGES) VARIANT_KEYS[i].table = &any;
    for (int i = 0; i < COUNT(SWEEP_KEYS); i++)
        if (SWEEP_KEYS[i].type == KD_KEY_AXES) SWEEP_KEYS[i].table = &any;
    return &SWEEP_TABLE;
}

/* --- names ---------------------------------------------------------------------------------- */

static bool is_plain(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("._-", c));
}

/* The label as a folder may be called: other characters become one '_'. */
static void name_folder(kd_sweep_variant *variant) {
    size_t n = 0;
    for (const char *c = variant->label; *c && n + 1 < sizeof variant->folder; c++) {
        if (((unsigned char)*c & 0xC0) == 0x80) continue; /* inside a character */
        char letter = is_plain(*c) && (n > 0 || *c != '.') ? *c : '_';
        if (letter == '_' && n > 0 && variant->folder[n - 1] == '_') continue;
        variant->folder[n++] = letter;
    }
    variant->folder[n] = '\0';
}

const char *kd_sweep_axis_name(const kd_sweep_axis *axis) {
    const char *dot = strrchr(axis->key, '.');
    return dot ? dot + 1 : axis->key;
}

const cJSON *kd_sweep_value(const kd_sweep *sweep, const kd_sweep_variant *variant, int axis) {
    return cJSON_GetArrayItem(sweep->axis[axis].values, variant->point[axis]);
}

void kd_sweep_value_text(char *out, size_t capacity, const cJSON *value) {
    size_t used = 0;
    out[0] = '\0';
    for (const cJSON *m = cJSON_IsObject(value) ? value->child : NULL; m; m = m->next) {
        char inner[48];
        kd_sweep_value_text(inner, sizeof inner, m);
        int n =
            snprintf(out + used, capacity - used, "%s%s %s", used ? ", " : "", m->string, inner);
        used += n > 0 && (size_t)n < capacity - used ? (size_t)n : 0;
    }
    if (cJSON_IsObject(value)) return;
    char *text = cJSON_IsString(value) ? NULL : kd_json_print(value, false);
    snprintf(out, capacity, "%s", text ? text : cJSON_IsString(value) ? value->valuestring : "");
    cJSON_free(text);
}

/* "temperature 4, kl 0.5" */
static void label_point(const kd_sweep *sweep, kd_sweep_variant *variant) {
    size_t used = 0, capacity = sizeof variant->label;
    for (int a = 0; a < sweep->axis_count; a++) {
        const cJSON *value = kd_sweep_value(sweep, variant, a);
        bool object = cJSON_IsObject(value);
        char text[64];
        kd_sweep_value_text(text, sizeof text, value);
        int n =
            snprintf(variant->label + used, capacity - used, "%s%s%s%s", a ? ", " : "",
                     object ? "" : kd_sweep_axis_name(&sweep->axis[a]), object ? "" : " ", text);
        used += n > 0 && (size_t)n < capacity - used ? (size_t)n : 0;
    }
}

/* --- checks --------------------------------------------------------------------------------- */

static void finish_variant(kd_config_reader *reader, const cJSON *object, const char *path,
                           void *base) {
    (void)reader, (void)path;
    kd_sweep_variant *variant = base;
    variant->item = object;
    variant->set = kd_json_get(object, "set");
    for (int a = 0; a < KD_SWEEP_AXES_MAX; a++) variant->point[a] = -1;
    name_folder(variant);
}

static bool read_axes(kd_config_reader *reader, const cJSON *grid, kd_sweep *sweep) {
    for (const cJSON *item = grid ? grid->child : NULL; item; item = item->next) {
        int n = cJSON_GetArraySize(item);
        char path[KD_CONFIG_PATH_MAX];
        snprintf(path, sizeof path, "$.grid.%s", item->string);
        if (sweep->axis_count == KD_SWEEP_AXES_MAX)
            kd_config_complain(reader, item, true, path, "a grid has at most %d axes",
                               KD_SWEEP_AXES_MAX);
        else if (!cJSON_IsArray(item) || n == 0)
            kd_config_complain(reader, item, false, path, "expected a list of values");
        else if (sweep->axis_count == 1 && n > SECOND_AXIS_MAX)
            kd_config_complain(reader, item, false, path,
                               "%d values, but the second axis has at most %d: one line each", n,
                               SECOND_AXIS_MAX);
        else
            sweep->axis[sweep->axis_count++] =
                (kd_sweep_axis){.key = item->string, .count = n, .values = item};
    }
    return reader->error_count == 0;
}

static void add_points(kd_config_reader *reader, const cJSON *grid, kd_sweep *sweep) {
    int second = sweep->axis_count > 1 ? sweep->axis[1].count : 1;
    for (int i = 0; i < sweep->axis[0].count * second; i++) {
        if (sweep->variant_count == KD_SWEEP_VARIANTS_MAX) {
            kd_config_complain(reader, grid, false, "$.grid", "more than %d variants",
                               KD_SWEEP_VARIANTS_MAX);
            return;
        }
        kd_sweep_variant *v = &sweep->variant[sweep->variant_count++];
        *v = (kd_sweep_variant){.item = grid, .set = grid};
        v->point[0] = i / second;
        v->point[1] = sweep->axis_count > 1 ? i % second : -1;
        label_point(sweep, v);
        name_folder(v);
    }
}

static void check_folders(kd_config_reader *reader, kd_sweep *sweep) {
    for (int i = 0; i < sweep->variant_count; i++)
        for (int k = 0; k < i; k++) {
            kd_sweep_variant *v = &sweep->variant[i], *other = &sweep->variant[k];
            if (strcmp(v->folder, other->folder) != 0) continue;
            kd_config_complain(reader, v->item, false, v->point[0] < 0 ? "$.variants" : "$.grid",
                               "\"%s\" and \"%s\" would have the same folder, %s", other->label,
                               v->label, v->folder);
        }
}

static void finish_sweep(kd_config_reader *reader, const cJSON *object, const char *path,
                         void *base) {
    kd_sweep *sweep = base;
    kd_config_check_name(reader, object, path);
    const cJSON *grid = kd_json_get(object, "grid");
    bool good = read_axes(reader, grid, sweep);
    if (good && sweep->axis_count > 0) add_points(reader, grid, sweep);
    if (good && sweep->variant_count == 0)
        kd_config_complain(reader, object, false, path, "expected \"variants\" or a \"grid\"");
    if (sweep->seed_count == 0)
        kd_config_complain_key(reader, object, path, "seeds", "expected at least one");
    for (int i = 0; i < sweep->seed_count; i++)
        for (int k = 0; k < i; k++)
            if (sweep->seed[i] == sweep->seed[k])
                kd_config_complain_key(reader, object, path, "seeds", "%llu is there twice",
                                       (unsigned long long)sweep->seed[i]);
    check_folders(reader, sweep);
}

/* --- the configs of the runs ---------------------------------------------------------------- */

/* The changes that make a run's config of its base. */
typedef struct {
    int count;
    kd_config_change change[KD_JSON_SETS_MAX];
    char place[KD_JSON_SETS_MAX][256];
} changes;

static int dots_of(const char *key) {
    int dots = 0;
    for (; *key; key++) dots += *key == '.';
    return dots;
}

/* Adds a change, behind those of keys with fewer dots: "loss" is set before "loss.kl". */
static int add_change(const kd_sweep *sweep, changes *c, const cJSON *at, const char *key,
                      const cJSON *value) {
    char *place = c->place[c->count];
    kd_json_place(place, sizeof *c->place, sweep->json, at, at != value);
    if (c->count == KD_JSON_SETS_MAX - 1)
        return kd_fail(KD_EUSAGE, "%s: more than %d changes", place, c->count - 2);
    int n = c->count++;
    for (; n > 0 && dots_of(c->change[n - 1].key) > dots_of(key); n--)
        c->change[n] = c->change[n - 1];
    c->change[n] = (kd_config_change){key, value, place};
    return KD_OK;
}

static int load_variant(void **out, const kd_sweep *sweep, const kd_sweep_variant *variant,
                        const cJSON *seed, const cJSON *name) {
    *out = NULL;
    changes *c = calloc(1, sizeof *c);
    if (!c) return kd_fail_memory(sizeof *c, "a sweep's changes");
    int status = KD_OK;
    bool of_grid = variant->point[0] >= 0;
    const cJSON *set = variant->set && !of_grid ? variant->set->child : NULL;
    for (; set && status == KD_OK; set = set->next)
        status = add_change(sweep, c, set, set->string, set);
    for (int a = 0; a < sweep->axis_count && of_grid && status == KD_OK; a++) {
        const cJSON *value = kd_sweep_value(sweep, variant, a);
        status = add_change(sweep, c, value, sweep->axis[a].key, value);
    }
    if (status == KD_OK) status = add_change(sweep, c, variant->item, "seed", seed);
    if (status == KD_OK) status = add_change(sweep, c, variant->item, "name", name);
    if (status == KD_OK)
        status = sweep->task->sweep->load(out, *variant->base ? variant->base : sweep->base,
                                          c->count, c->change);
    free(c);
    return status;
}

int kd_sweep_config(void **out, const kd_sweep *sweep, int variant, int seed) {
    const kd_sweep_variant *v = &sweep->variant[variant];
    char name[80];
    *out = NULL;
    snprintf(name, sizeof name, "%s-s%llu", v->folder, (unsigned long long)sweep->seed[seed]);
    cJSON *number = kd_json_create_unsigned(sweep->seed[seed]);
    cJSON *text = cJSON_CreateString(name);
    int status = number && text ? load_variant(out, sweep, v, number, text)
                                : kd_fail_memory(sizeof *number, "a sweep's config");
    cJSON_Delete(number);
    cJSON_Delete(text);
    return status;
}

/* The task of the base, which must be that of every base. */
static int find_tasks(kd_sweep *sweep, kd_find_task find) {
    int status = find(&sweep->task, sweep->base);
    if (status == KD_OK && !sweep->task->sweep)
        status = kd_fail(KD_ECONFIG, "%s: configs of this kind (%s) cannot be swept", sweep->base,
                         sweep->task->kinds);
    for (int i = 0; i < sweep->variant_count && status == KD_OK; i++) {
        const kd_task *other;
        if (!*sweep->variant[i].base) continue;
        status = find(&other, sweep->variant[i].base);
        if (status == KD_OK && other != sweep->task)
            status = kd_fail(KD_ECONFIG,
                             "%s: \"%s\" has a base of another kind (%s, %s) than the sweep's (%s)",
                             sweep->path, sweep->variant[i].label, sweep->variant[i].base,
                             other->kinds, sweep->task->kinds);
    }
    return status;
}

/* Every variant's config once; of the grid, whatever its other values, each value once. Their
 * mistakes are logged; gives their number. */
static int check_configs(const kd_sweep *sweep, int *wrong) {
    void *config;
    *wrong = 0;
    int status = sweep->task->load(&config, sweep->base, 0, NULL); /* its mistakes only once */
    if (status < 0) return status;
    sweep->task->free_config(config);
    for (int i = 0; i < sweep->variant_count; i++) {
        const int *point = sweep->variant[i].point;
        if (point[0] > 0 && point[1] > 0) continue;
        status = kd_sweep_config(&config, sweep, i, 0);
        if (config) sweep->task->free_config(config);
        if (status == KD_OK) continue;
        if (status != KD_ECONFIG && status != KD_EUSAGE) return status;
        if (status == KD_EUSAGE) kd_log("%s", kd_error());
        kd_log("%s: so \"%s\" cannot be run", sweep->path, sweep->variant[i].label);
        ++*wrong;
    }
    return KD_OK;
}

static int fill(kd_sweep *sweep) {
    char folder[KD_PATH_MAX];
    kd_config_folder(folder, sweep->path);
    kd_config_default_name(sweep->name, sizeof sweep->name, sweep->path);
    cJSON *resolved = cJSON_CreateObject();
    if (!resolved) return kd_fail_memory(sizeof *resolved, "the sweep");
    kd_config_reader reader = {.json = sweep->json,
                               .path = sweep->path,
                               .folder = folder,
                               .manual = "docs/sweep.md",
                               .whole = sweep,
                               .resolved = resolved};
    kd_config_read_object(&reader, kd_json_root(sweep->json), "$", &SWEEP_TABLE, sweep, resolved);
    cJSON_Delete(resolved);
    int errors = kd_config_report_errors(&reader);
    if (reader.failed < 0) return reader.failed;
    if (errors > 0)
        return kd_fail(KD_ECONFIG, "%s: %d error%s in the sweep", sweep->path, errors,
                       errors > 1 ? "s" : "");
    return KD_OK;
}

int kd_sweep_parse(kd_sweep **out, const char *text, size_t length, const char *path,
                   kd_find_task find) {
    *out = NULL;
    if (strlen(path) >= KD_PATH_MAX) return kd_fail(KD_EIO, "%s: path too long", path);
    kd_sweep *sweep = calloc(1, sizeof *sweep);
    if (!sweep) return kd_fail_memory(sizeof *sweep, path);
    memcpy(sweep->path, path, strlen(path) + 1);
    int wrong = 0, status = kd_json_parse(&sweep->json, text, length, sweep->path);
    if (status == KD_EDATA) status = KD_ECONFIG;
    if (status == KD_OK) status = fill(sweep);
    if (status == KD_OK) status = find_tasks(sweep, find);
    if (status == KD_OK) status = check_configs(sweep, &wrong);
    if (status == KD_OK && wrong > 0)
        status = kd_fail(KD_ECONFIG, "%s: %d variant%s cannot be run", path, wrong,
                         wrong > 1 ? "s" : "");
    if (status < 0) {
        kd_sweep_free(sweep);
        return status;
    }
    *out = sweep;
    return KD_OK;
}

int kd_sweep_load(kd_sweep **out, const char *path, kd_find_task find) {
    *out = NULL;
    char *text;
    size_t length;
    int status = kd_file_read(&text, &length, path, SWEEP_LIMIT);
    if (status == KD_OK) status = kd_sweep_parse(out, text, length, path, find);
    free(text);
    return status;
}

void kd_sweep_free(kd_sweep *sweep) {
    if (!sweep) return;
    kd_json_free(sweep->json);
    free(sweep);
}
