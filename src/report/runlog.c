#include "report/runlog.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/size.h"

enum { LINE_MAX_BYTES = 2048 };
static const size_t LOG_LIMIT = (size_t)1 << 31;

struct kd_runlog {
    int fd;
    char path[KD_PATH_MAX];
};

static int fail_write(const kd_runlog *log) {
    return kd_fail(KD_EIO, "%s: cannot write: %s", log->path, strerror(errno));
}

/* Closes a line that a kill left torn. */
static int close_torn_line(const kd_runlog *log) {
    struct stat info;
    char last = '\n';
    if (fstat(log->fd, &info) < 0) return fail_write(log);
    if (info.st_size > 0 && pread(log->fd, &last, 1, info.st_size - 1) != 1) return fail_write(log);
    if (last != '\n' && write(log->fd, "\n", 1) != 1) return fail_write(log);
    return KD_OK;
}

int kd_runlog_open(kd_runlog **out, const char *path, int fresh) {
    *out = NULL;
    kd_runlog *log = calloc(1, sizeof *log);
    if (!log) return kd_fail_memory(sizeof *log, path);
    snprintf(log->path, sizeof log->path, "%s", path);
    log->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | (fresh ? O_TRUNC : 0), 0644);
    int status = log->fd < 0 ? kd_fail(KD_EIO, "%s: cannot open: %s", path, strerror(errno))
                             : close_torn_line(log);
    if (status < 0) {
        kd_runlog_close(log);
        return status;
    }
    *out = log;
    return KD_OK;
}

void kd_runlog_close(kd_runlog *log) {
    if (!log) return;
    if (log->fd >= 0) close(log->fd);
    free(log);
}

/* A line under construction. */
typedef struct {
    char text[LINE_MAX_BYTES];
    size_t length;
} line;

static void add_text(line *l, const char *key, const char *value) {
    if (l->length >= sizeof l->text) return;
    size_t room = sizeof l->text - l->length;
    l->length +=
        (size_t)snprintf(l->text + l->length, room, "%s\"%s\":", l->length ? "," : "{", key);
    if (l->length >= sizeof l->text) return;
    l->length += kd_json_quote(l->text + l->length, sizeof l->text - l->length, value);
}

static void add_number(line *l, const char *key, double value, int digits) {
    if (l->length >= sizeof l->text) return;
    char number[40] = "null";
    if (isfinite(value)) snprintf(number, sizeof number, "%.*g", digits, value);
    l->length += (size_t)snprintf(l->text + l->length, sizeof l->text - l->length, ",\"%s\":%s",
                                  key, number);
}

static void begin_line(line *l, const char *event, const char *stage, int64_t step) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    l->length = 0;
    add_text(l, "event", event);
    add_number(l, "time", round(((double)now.tv_sec + (double)now.tv_nsec * 1e-9) * 1e3) / 1e3, 13);
    add_text(l, "stage", stage);
    add_number(l, "step", (double)step, 15);
}

static int end_line(const kd_runlog *log, line *l) {
    if (l->length + 2 >= sizeof l->text)
        return kd_fail(KD_EINTERNAL, "%s: a line of more than %d bytes", log->path, LINE_MAX_BYTES);
    l->text[l->length++] = '}';
    l->text[l->length++] = '\n';
    for (size_t done = 0; done < l->length;) {
        ssize_t n = write(log->fd, l->text + done, l->length - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_write(log);
        done += (size_t)n;
    }
    return KD_OK;
}

static void begin_numbers(line *l, const char *event, const kd_runlog_place *at) {
    begin_line(l, event, at->stage, at->step);
    add_number(l, "epoch", at->epoch, 7);
}

int kd_runlog_write_step(kd_runlog *log, const kd_runlog_place *at, int count,
                         const kd_scalar *number) {
    line l;
    begin_numbers(&l, "step", at);
    for (int i = 0; i < count; i++) add_number(&l, number[i].name, number[i].value, 7);
    return end_line(log, &l);
}

int kd_runlog_write_eval(kd_runlog *log, const kd_runlog_place *at, int count,
                         const kd_metric *metric, const kd_estimate *value) {
    line l;
    begin_numbers(&l, "eval", at);
    for (int i = 0; i < count; i++) {
        char end[KD_RUNLOG_NAME_MAX];
        add_number(&l, metric[i].name, value[i].value, 9);
        if (isnan(value[i].low)) continue;
        snprintf(end, sizeof end, "%s_low", metric[i].name);
        add_number(&l, end, value[i].low, 7);
        snprintf(end, sizeof end, "%s_high", metric[i].name);
        add_number(&l, end, value[i].high, 7);
    }
    return end_line(log, &l);
}

int kd_runlog_write_note(kd_runlog *log, const char *event, const char *stage, int64_t step,
                         const char *text) {
    line l;
    begin_line(&l, event, stage, step);
    add_number(&l, "peak_rss", (double)kd_peak_rss(), 15);
    add_text(&l, "text", text);
    return end_line(log, &l);
}

/* --- reading -------------------------------------------------------------------------------- */

static double number_of(const cJSON *object, const char *key) {
    const cJSON *item = kd_json_get(object, key);
    return cJSON_IsNumber(item) ? item->valuedouble : NAN;
}

static int64_t integer_of(const cJSON *object, const char *key) {
    const cJSON *item = kd_json_get(object, key);
    return item && kd_json_is_integer(item) ? (int64_t)item->valuedouble : 0;
}

static void text_of(char *out, size_t capacity, const cJSON *object, const char *key) {
    const cJSON *item = kd_json_get(object, key);
    snprintf(out, capacity, "%s", cJSON_IsString(item) ? item->valuestring : "");
}

/* Room for one more element behind `count`, doubling at powers of two. */
static void *grow(void *array, int64_t count, size_t size) {
    if (count > 0 && (count & (count - 1))) return array;
    size_t bytes = kd_array_bytes(count > 0 ? 2 * count : 1, size);
    void *grown = realloc(array, bytes);
    if (!grown) kd_fail_memory(bytes, "the run's log");
    return grown;
}

/* The place of a name among those of the log; −1 when there is no more room. */
static int place_of(kd_runlog_curves *out, const char *name) {
    for (int i = 0; i < out->name_count; i++)
        if (strcmp(out->name[i], name) == 0) return i;
    if (out->name_count == KD_RUNLOG_NAMES_MAX || strlen(name) >= KD_RUNLOG_NAME_MAX) return -1;
    snprintf(out->name[out->name_count], KD_RUNLOG_NAME_MAX, "%s", name);
    return out->name_count++;
}

/* Members of a line that are no numbers by name. */
static bool is_place(const char *key) {
    static const char *const known[] = {"event", "time", "stage", "step", "epoch"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(key, known[i]) == 0) return true;
    return false;
}

/* A number that is not finite stands as null. */
static int keep_values(kd_runlog_curves *out, kd_runlog_point *point, const cJSON *object) {
    double value[KD_RUNLOG_NAMES_MAX];
    for (int i = 0; i < KD_RUNLOG_NAMES_MAX; i++) value[i] = NAN;
    for (const cJSON *m = object->child; m; m = m->next) {
        if (is_place(m->string)) continue;
        const int at = cJSON_IsNumber(m) || cJSON_IsNull(m) ? place_of(out, m->string) : -1;
        if (at >= 0 && cJSON_IsNumber(m)) value[at] = m->valuedouble;
        out->skipped += at < 0;
    }
    point->values = out->name_count;
    const size_t bytes = (size_t)(point->values + 1) * sizeof *value;
    point->value = malloc(bytes);
    if (!point->value) return kd_fail_memory(bytes, "the run's log");
    memcpy(point->value, value, (size_t)point->values * sizeof *value);
    return KD_OK;
}

static int keep_point(kd_runlog_curves *out, kd_runlog_point **list, int64_t *count,
                      const cJSON *object) {
    kd_runlog_point *grown = grow(*list, *count, sizeof *grown);
    if (!grown) return KD_EINTERNAL;
    *list = grown;
    kd_runlog_point *point = &grown[*count];
    *point =
        (kd_runlog_point){.step = integer_of(object, "step"), .epoch = number_of(object, "epoch")};
    text_of(point->stage, sizeof point->stage, object, "stage");
    int status = keep_values(out, point, object);
    if (status == KD_OK) ++*count;
    return status;
}

double kd_runlog_value(const kd_runlog_curves *curves, const kd_runlog_point *point,
                       const char *name) {
    for (int i = 0; i < point->values; i++)
        if (strcmp(curves->name[i], name) == 0) return point->value[i];
    return NAN;
}

double kd_runlog_best(const kd_runlog_curves *curves, const char *stage, const kd_metric *metric) {
    double best = NAN;
    for (int64_t k = 0; k < curves->eval_count; k++) {
        if (strcmp(curves->eval[k].stage, stage) != 0) continue;
        const double value = kd_runlog_value(curves, &curves->eval[k], metric->name);
        if (kd_metric_is_better(metric, value, best)) best = value;
    }
    return best;
}

/* Keeps the points that are of other stages or not behind `step`. */
static int64_t drop_behind(kd_runlog_point *list, int64_t count, const char *stage, int64_t step) {
    int64_t kept = 0;
    for (int64_t i = 0; i < count; i++) {
        if (strcmp(list[i].stage, stage) != 0 || list[i].step <= step)
            list[kept++] = list[i];
        else
            free(list[i].value);
    }
    return kept;
}

/* A stage that starts again at `step` takes back what it had logged behind it. */
static void take_back(kd_runlog_curves *out, const char *stage, int64_t step) {
    out->step_count = drop_behind(out->step, out->step_count, stage, step);
    out->eval_count = drop_behind(out->eval, out->eval_count, stage, step);
}

static int read_line(kd_runlog_curves *out, const char *text, size_t length) {
    kd_json *json;
    if (kd_json_parse(&json, text, length, "log") < 0) {
        out->skipped++;
        return KD_OK;
    }
    const cJSON *object = kd_json_root(json);
    int status = KD_OK;
    text_of(out->last_event, sizeof out->last_event, object, "event");
    text_of(out->last_stage, sizeof out->last_stage, object, "stage");
    out->last_step = integer_of(object, "step");
    out->last_time = number_of(object, "time");
    int64_t peak = integer_of(object, "peak_rss");
    if (peak > out->peak_rss) out->peak_rss = peak;
    if (strcmp(out->last_event, "step") == 0)
        status = keep_point(out, &out->step, &out->step_count, object);
    else if (strcmp(out->last_event, "eval") == 0)
        status = keep_point(out, &out->eval, &out->eval_count, object);
    else if (strcmp(out->last_event, "start") == 0)
        take_back(out, out->last_stage, out->last_step);
    kd_json_free(json);
    return status;
}

int kd_runlog_read(kd_runlog_curves *out, const char *path) {
    *out = (kd_runlog_curves){0};
    if (!kd_file_exists(path)) return KD_OK;
    char *text;
    size_t length;
    int status = kd_file_read(&text, &length, path, LOG_LIMIT);
    for (size_t at = 0; status == KD_OK && at < length;) {
        const char *end = memchr(text + at, '\n', length - at);
        size_t n = end ? (size_t)(end - (text + at)) : length - at;
        if (n > 0) status = read_line(out, text + at, n);
        at += n + 1;
    }
    free(text);
    if (status < 0) kd_runlog_free(out);
    return status;
}

void kd_runlog_free(kd_runlog_curves *curves) {
    for (int64_t i = 0; i < curves->step_count; i++) free(curves->step[i].value);
    for (int64_t i = 0; i < curves->eval_count; i++) free(curves->eval[i].value);
    free(curves->step);
    free(curves->eval);
    *curves = (kd_runlog_curves){0};
}

/* --- taking back ---------------------------------------------------------------------------- */

/* Whether a line goes: it is of the stage and behind `step`, or a kill left it `torn`. */
static int is_behind(bool *out, const char *text, size_t length, bool torn, const char *stage,
                     int64_t step) {
    kd_json *json;
    int status = kd_json_parse(&json, text, length, "log");
    *out = torn;
    if (status < 0) return status == KD_EDATA ? KD_OK : status;
    char event[KD_RUNLOG_EVENT_MAX], of[KD_RUNLOG_STAGE_MAX];
    const cJSON *object = kd_json_root(json);
    text_of(event, sizeof event, object, "event");
    text_of(of, sizeof of, object, "stage");
    const bool logged = strcmp(event, "step") == 0 || strcmp(event, "eval") == 0;
    *out = logged && strcmp(of, stage) == 0 && integer_of(object, "step") > step;
    kd_json_free(json);
    return KD_OK;
}

int kd_runlog_take_back(const char *path, const char *stage, int64_t step) {
    char *text;
    size_t length, kept = 0;
    if (!kd_file_exists(path)) return KD_OK;
    int status = kd_file_read(&text, &length, path, LOG_LIMIT);
    for (size_t at = 0; status == KD_OK && at < length;) {
        const char *end = memchr(text + at, '\n', length - at);
        const size_t n = end ? (size_t)(end - (text + at)) : length - at, whole = n + (end != NULL);
        bool behind;
        status = is_behind(&behind, text + at, n, !end, stage, step);
        if (!behind) memmove(text + kept, text + at, whole);
        if (!behind) kept += whole;
        at += whole;
    }
    if (status == KD_OK && kept < length) status = kd_file_replace(path, text, kept);
    free(text);
    return status;
}
