/* What a teacher store states about itself: every attribute is read, taken at its bounds and
 * refused beyond them, and shards that state different things are not one store. */
#include <math.h>

#include "hdf5_folder.h"

#include "data/half.h"
#include "data/store.h"

static int setup(void **state) {
    (void)state;
    return make_folder("store");
}

enum { ROWS = 3, CLASSES = 5, K = 2, TEMPERATURES = 2 };

/* One attribute with another value than usual, or none: `text`, else `count` numbers. */
typedef struct {
    const char *name, *text;
    int count;
    double number[9];
    bool whole; /* an integer */
} change;

#define WHOLE(name, value)                                                                         \
    { name, NULL, 1, {value}, true }
#define TEXT(name, text)                                                                           \
    { name, text, 0, {0}, false }
#define NONE(name)                                                                                 \
    { name, NULL, 0, {0}, false }
#define NUMBERS(name, count, ...)                                                                  \
    { name, NULL, count, {__VA_ARGS__}, false }

static const char HEX[] = "0123456789abcdef0123456789abcdef";

static const change USUAL[] = {TEXT("schema", "distill-teacher-store"),
                               WHOLE("version", 2),
                               TEXT("kind", "topk"),
                               TEXT("dtype", "float16"),
                               WHOLE("classes", CLASSES),
                               WHOLE("k", K),
                               NUMBERS("temperatures", TEMPERATURES, 1, 4),
                               WHOLE("sequences", 1),
                               WHOLE("positions", ROWS + 1),
                               WHOLE("views", 2),
                               WHOLE("augmented", 1),
                               TEXT("teacher", HEX),
                               TEXT("class_list", HEX),
                               TEXT("data", HEX),
                               TEXT("description", "made by hand"),
                               TEXT("origin", "{\"teacher\": 1}"),
                               WHOLE("first_row", 0),
                               WHOLE("rows", ROWS),
                               WHOLE("total_rows", ROWS)};

static void put_attribute(hid_t file, const change *c) {
    if (c->text)
        assert_ok(kd_h5_set_string(file, c->name, c->text));
    else if (c->whole)
        assert_ok(kd_h5_set_int(file, c->name, (int64_t)c->number[0]));
    else if (c->count > 0)
        assert_ok(kd_h5_set_doubles(file, c->name, c->count, c->number));
}

/* The numbers of the columns; a test may change them. */
static int32_t class_of[(ROWS + 1) * K];
static float tail_of[(ROWS + 1) * TEMPERATURES];
static uint16_t kept_of[(ROWS + 1) * K];
static uint64_t id_of[ROWS];

static void usual_columns(void) {
    for (int i = 0; i < ROWS; i++) id_of[i] = (uint64_t)(10 + i);
    for (int i = 0; i < (ROWS + 1) * K; i++) {
        class_of[i] = i % K ? CLASSES - 1 : i / K;
        kept_of[i] = kd_half_from_float((float)i);
    }
    for (int i = 0; i < (ROWS + 1) * TEMPERATURES; i++) tail_of[i] = 0.5f * (float)i;
}

/* A file of the usual attributes and columns but for `n` changes. */
static void make(const char *name, int n, const change *changes) {
    static const int32_t view[ROWS] = {0, 0, 1}, length[ROWS] = {1, 2, 1};
    static const uint32_t tokens[ROWS] = {0, 0, 0};
    hid_t file, half = kd_h5_half();
    assert_ok(kd_h5_create(&file, name));
    for (size_t i = 0; i < sizeof USUAL / sizeof *USUAL; i++) {
        const change *c = &USUAL[i];
        for (int k = 0; k < n; k++)
            if (strcmp(changes[k].name, c->name) == 0) c = &changes[k];
        put_attribute(file, c);
    }
    for (int k = 0; k < n; k++)
        if (strcmp(changes[k].name, "class_names") == 0) put_attribute(file, &changes[k]);
    put_set(file, "id", 1, ROWS, 1, H5T_NATIVE_UINT64, id_of, sizeof id_of, 0);
    put_set(file, "view", 1, ROWS, 1, H5T_NATIVE_INT32, view, sizeof view, 0);
    put_set(file, "length", 1, ROWS, 1, H5T_NATIVE_INT32, length, sizeof length, 0);
    put_set(file, "label_crc32", 1, ROWS, 1, H5T_NATIVE_UINT32, tokens, sizeof tokens, 0);
    put_set(file, "index", 2, ROWS + 1, K, H5T_NATIVE_INT32, class_of, sizeof class_of, 0);
    put_set(file, "kept", 2, ROWS + 1, K, half, kept_of, sizeof kept_of, 0);
    put_set(file, "tail", 2, ROWS + 1, TEMPERATURES, H5T_NATIVE_FLOAT, tail_of, sizeof tail_of, 0);
    H5Tclose(half);
    assert_ok(kd_h5_commit(file, name));
}

static void every_attribute_is_read(void **state) {
    (void)state;
    kd_store *s;
    char *origin;
    usual_columns();
    make(path, 0, NULL);
    assert_ok(kd_store_open(&s, path));
    const kd_store_header *h = kd_store_describe(s);
    assert_int_equal(h->kind, KD_STORE_TOPK);
    assert_int_equal(h->dtype, KD_STORE_F16);
    assert_true(h->sequences && h->augmented);
    assert_int_equal(h->classes, CLASSES);
    assert_int_equal(h->k, K);
    assert_int_equal(h->temperature_count, TEMPERATURES);
    assert_true(h->temperature[0] == 1 && h->temperature[1] == 4);
    assert_int_equal(h->width, 0);
    assert_null(h->output);
    assert_int_equal(h->views, 2);
    assert_string_equal(h->teacher.hex, HEX);
    assert_string_equal(h->class_list.hex, HEX);
    assert_string_equal(h->data.hex, HEX);
    assert_string_equal(h->description, "made by hand");
    assert_string_equal(h->origin, "{\"teacher\": 1}");
    assert_int_equal(kd_store_rows(s), ROWS);
    assert_int_equal(kd_store_positions(s), ROWS + 1);
    assert_int_equal(kd_store_length(s, 0, 11), 2);
    assert_int_equal(kd_store_length(s, 1, 12), 1);
    assert_true(kd_store_length(s, 1, 11) < 0);
    assert_int_equal(kd_store_temperature_index(kd_store_describe(s), 4), 1);
    assert_int_equal(kd_store_temperature_index(kd_store_describe(s), 2), -1);
    int32_t index[2 * K];
    float kept[2 * K], tail[2];
    assert_ok(kd_store_read_topk_run(s, 0, 11, 2, 1, index, kept, tail));
    assert_memory_equal(index, class_of + K, sizeof index);
    for (int i = 0; i < 2 * K; i++) assert_true(kept[i] == (float)(K + i));
    assert_true(tail[0] == tail_of[TEMPERATURES + 1] && tail[1] == tail_of[2 * TEMPERATURES + 1]);
    kd_store_free(s);
    assert_ok(kd_store_origin(&origin, path));
    assert_string_equal(origin, "{\"teacher\": 1}");
    free(origin);
}

/* What may be left out, and what stands for it then. */
static void some_need_not_be_there(void **state) {
    (void)state;
    static const change missing[] = {NONE("augmented"), NONE("teacher"),     NONE("class_list"),
                                     NONE("data"),      NONE("description"), NONE("origin"),
                                     NONE("first_row"), NONE("total_rows")};
    static const change names[] = {TEXT("class_list", ""), TEXT("class_names", "a\nb\nc\nd\ne"),
                                   TEXT("teacher", ""), WHOLE("augmented", 0)};
    kd_store *s;
    char *origin;
    usual_columns();
    make(path, sizeof missing / sizeof *missing, missing);
    assert_ok(kd_store_open(&s, path));
    const kd_store_header *h = kd_store_describe(s);
    assert_false(h->augmented);
    assert_string_equal(h->teacher.hex, "");
    assert_string_equal(h->class_list.hex, "");
    assert_string_equal(h->data.hex, "");
    assert_string_equal(h->description, "");
    assert_null(h->origin);
    kd_store_free(s);
    assert_ok(kd_store_origin(&origin, path));
    assert_null(origin);
    make(path, sizeof names / sizeof *names, names);
    assert_ok(kd_store_open(&s, path));
    h = kd_store_describe(s);
    assert_false(h->augmented);
    assert_string_equal(h->class_list.hex, kd_hash_bytes("a\nb\nc\nd\ne", 9).hex);
    kd_store_free(s);
}

static void every_attribute_has_its_bounds(void **state) {
    (void)state;
    static const struct {
        change change;
        const char *part; /* of the refusal; NULL: taken */
    } cases[] = {
        {TEXT("schema", "distill-teacher-stores"), "is a 'distill-teacher-stores', not"},
        {NONE("schema"), "/schema: the attribute is missing"},
        {WHOLE("version", 0), "of version 0"},
        {WHOLE("version", 4), "of version 4"},
        {NONE("version"), "/version: the attribute is missing"},
        {TEXT("kind", "topk2"), "/kind is 'topk2', must be 'dense', 'topk' or 'hidden'"},
        {TEXT("dtype", "float64"), "/dtype is 'float64', must be 'float32' or 'float16'"},
        {TEXT("dtype", "float32"), "/kept: holds"},
        {WHOLE("classes", 1), "/classes is 1, must be 2 to 16777216"},
        {WHOLE("classes", 2), "/k is 2, must be 1 to 1"},
        {WHOLE("classes", 4), "keeps a class that does not exist"},
        {WHOLE("classes", 1 << 24), NULL},
        {WHOLE("classes", (1 << 24) + 1), "/classes is 16777217"},
        {NONE("classes"), "/classes: the attribute is missing"},
        {WHOLE("k", 0), "/k is 0, must be 1 to 4"},
        {WHOLE("k", 1), "/index: has shape (4, 2), not (4, 1)"},
        {WHOLE("k", 5), "/k is 5, must be 1 to 4"},
        {NUMBERS("temperatures", 2, 1, 0), "0 is not a temperature"},
        {NUMBERS("temperatures", 2, -1, 1), "-1 is not a temperature"},
        {NUMBERS("temperatures", 2, 1, NAN), "nan is not a temperature"},
        {NUMBERS("temperatures", 2, INFINITY, 1), "inf is not a temperature"},
        {NUMBERS("temperatures", 9, 1, 2, 3, 4, 5, 6, 7, 8, 9), "must have 1 to 8 values, has 9"},
        {NUMBERS("temperatures", 1, 1), "/tail: has shape (4, 2), not (4, 1)"},
        {WHOLE("sequences", 2), "/sequences is 2, must be 0 to 1"},
        {WHOLE("sequences", -1), "/sequences is -1, must be 0 to 1"},
        {WHOLE("positions", ROWS - 1), "/positions is 2, must be 3 to"},
        {WHOLE("positions", ROWS), "does not fit /positions"},
        {WHOLE("positions", ROWS + 2), "/length: sums to 4 positions, /positions says 5"},
        {NONE("positions"), "/positions: the attribute is missing"},
        {WHOLE("views", 0), "/views is 0, must be 1 to 2147483647"},
        {WHOLE("views", 1), "row 2 (sample 12): is of a view that does not exist"},
        {WHOLE("views", 3), NULL},
        {WHOLE("augmented", 2), "/augmented is 2, must be 0 to 1"},
        {TEXT("teacher", "0123456789abcdef0123456789abcde"), "must be 32 lower-case"},
        {TEXT("class_list", "0123456789abcdef0123456789abcdeg"), "must be 32 lower-case"},
        {TEXT("data", "0123456789ABCDEF0123456789abcdef"), "must be 32 lower-case"},
        {TEXT("data", "0123456789abcdef0123456789abcdef0"), "longer than 32 bytes"},
        {WHOLE("first_row", -1), "/first_row is -1, must be 0 to"},
        {WHOLE("first_row", 1), "/total_rows is 3, must be 4 to"},
        {WHOLE("rows", 0), "/rows is 0, must be 1 to"},
        {WHOLE("rows", 2), "/id: has shape (3), not (2)"},
        {WHOLE("total_rows", ROWS - 1), "/total_rows is 2, must be 3 to"},
        {WHOLE("total_rows", ROWS + 1), "is one shard of a store: name its folder"},
    };
    kd_store *s;
    usual_columns();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        make(path, 1, &cases[i].change);
        const int status = kd_store_open(&s, path);
        if (cases[i].part ? status != KD_EDATA || !strstr(kd_error(), cases[i].part) : status < 0)
            fail_msg("case %zu: status %d, '%s'", i, status, status < 0 ? kd_error() : "");
        kd_store_free(s);
    }
}

static void refuse_columns(const char *part) {
    kd_store *s;
    make(path, 0, NULL);
    assert_refused(kd_store_open(&s, path), KD_EDATA, part);
    usual_columns();
}

static void every_number_has_its_bounds(void **state) {
    (void)state;
    static const uint16_t not_finite[] = {0x7c00, 0xfc00, 0x7e00, 0x7c01};
    kd_store *s;
    usual_columns();
    class_of[2 * K + 1] = -1;
    refuse_columns("row 1 (sample 11): keeps a class that does not exist");
    class_of[3 * K] = CLASSES;
    refuse_columns("row 2 (sample 12): keeps a class that does not exist");
    class_of[1] = class_of[0];
    refuse_columns("row 0 (sample 10): keeps a class twice");
    for (int i = 0; i < (ROWS + 1) * TEMPERATURES; i++) {
        char where[64];
        snprintf(where, sizeof where, "(sample %d): has a tail", (int[]){10, 11, 11, 12}[i / 2]);
        tail_of[i] = i % 2 ? INFINITY : NAN;
        refuse_columns(where);
    }
    for (int i = 0; i < 4; i++) {
        kept_of[(i + 1) % 4 * K + i % K] = not_finite[i];
        refuse_columns("has a logit that is not finite");
    }
    kept_of[0] = 0x7bff; /* the largest there is */
    class_of[1] = CLASSES - 2;
    make(path, 0, NULL);
    assert_ok(kd_store_open(&s, path));
    kd_store_free(s);
}

/* Two shards, the second of which states something else. */
static void shards_state_the_same(void **state) {
    (void)state;
    static const change first = WHOLE("total_rows", 2 * ROWS);
    static const change more[] = {TEXT("kind", "dense"),
                                  TEXT("dtype", "float32"),
                                  WHOLE("classes", CLASSES + 1),
                                  WHOLE("k", 1),
                                  NUMBERS("temperatures", 1, 1),
                                  NUMBERS("temperatures", 2, 1, 3),
                                  WHOLE("sequences", 0),
                                  WHOLE("views", 3),
                                  WHOLE("augmented", 0),
                                  TEXT("teacher", ""),
                                  TEXT("class_list", ""),
                                  TEXT("data", ""),
                                  TEXT("origin", "{}"),
                                  NONE("origin"),
                                  WHOLE("total_rows", 2 * ROWS + 1)};
    char one[KD_PATH_MAX], two[KD_PATH_MAX], part[64];
    kd_store *s;
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(one, sizeof one, "%s/shard-00000.h5", path);
    snprintf(two, sizeof two, "%s/shard-00001.h5", path);
    usual_columns();
    make(one, 1, &first);
    for (int i = 0; i < ROWS; i++) id_of[i] += 100;
    for (size_t i = 0; i <= sizeof more / sizeof *more; i++) {
        const bool same = i == sizeof more / sizeof *more;
        change second[] = {first, WHOLE("first_row", ROWS), same ? first : more[i]};
        if (!same && strcmp(more[i].name, "total_rows") == 0) second[0] = more[i];
        make(two, 3, second);
        if (same) break;
        snprintf(part, sizeof part, "belongs to another store: its %s is not", more[i].name);
        assert_refused(kd_store_open(&s, path), KD_EDATA, part);
    }
    assert_ok(kd_store_open(&s, path));
    assert_int_equal(kd_store_rows(s), 2 * ROWS);
    assert_int_equal(kd_store_positions(s), 2 * ROWS + 2);
    assert_int_equal(kd_store_length(s, 0, 111), 2);
    int32_t index[2 * K];
    float kept[2 * K], tail[2];
    assert_ok(kd_store_read_topk_run(s, 0, 111, 2, 0, index, kept, tail));
    assert_memory_equal(index, class_of + K, sizeof index);
    kd_store_free(s);
    const change late[] = {first, WHOLE("first_row", ROWS - 1)};
    make(two, 2, late);
    assert_refused(kd_store_open(&s, path), KD_EDATA, "begins with row 2, must begin with 3");
}

static int judge(const void *context, const kd_store_header *header, const char *where) {
    assert_int_equal(header->classes, CLASSES);
    assert_string_equal(header->origin, "{\"teacher\": 1}");
    assert_string_equal(where, path);
    const int status = *(const int *)context;
    return status < 0 ? kd_fail(status, "of no use") : KD_OK;
}

/* What a header already tells is told before any number is read: damage behind it is not met. */
static void a_header_is_judged_first(void **state) {
    (void)state;
    static const int refusal = KD_ECONFIG, none = KD_OK;
    kd_store *s;
    usual_columns();
    id_of[1] = id_of[0]; /* two rows of one sample */
    make(path, 0, NULL);
    assert_int_equal(kd_store_open_fitting(&s, path, judge, &refusal), KD_ECONFIG);
    assert_null(s);
    assert_int_equal(kd_store_open_fitting(&s, path, judge, &none), KD_EDATA);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_attribute_is_read, setup, remove_folder),
        cmocka_unit_test_setup_teardown(some_need_not_be_there, setup, remove_folder),
        cmocka_unit_test_setup_teardown(every_attribute_has_its_bounds, setup, remove_folder),
        cmocka_unit_test_setup_teardown(every_number_has_its_bounds, setup, remove_folder),
        cmocka_unit_test_setup_teardown(shards_state_the_same, setup, remove_folder),
        cmocka_unit_test_setup_teardown(a_header_is_judged_first, setup, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
