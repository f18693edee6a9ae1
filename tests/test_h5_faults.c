/* Every call of libhdf5 that h5.h makes, failed: what is written or read is refused with a message,
 * and nothing of the library stays open: no file, data set, attribute, type, space or property
 * list. The functions stand in front of the library's, whose own calls do not come by here. */
#include "store_answers.h"
#include "test_data.h"

#include <dlfcn.h>

#include "asserts.h"
#include "data/h5.h"
#include "data/store.h"

static long calls, failing; /* the number of the call that fails; 0: none */
static const char *failed;  /* its function */

static bool strikes(const char *name) {
    if (++calls == failing) failed = name;
    return calls == failing;
}

/* The library's own function of this name. */
#define NEXT(name) ((__typeof__(&name))(uintptr_t)dlsym(RTLD_NEXT, #name))

#define STAND_IN(type, name, parameters, arguments)                                                \
    type name parameters {                                                                         \
        return strikes(#name) ? (type)-1 : NEXT(name) arguments;                                   \
    }
/* A call that ends something ends it also when it fails. */
#define STAND_AT_END(name)                                                                         \
    herr_t name(hid_t id) {                                                                        \
        const herr_t done = NEXT(name)(id);                                                        \
        return strikes(#name) ? -1 : done;                                                         \
    }

STAND_IN(hid_t, H5Tcopy, (hid_t type), (type))
STAND_IN(herr_t, H5Tset_fields,
         (hid_t type, size_t sign, size_t place, size_t size, size_t at, size_t bits),
         (type, sign, place, size, at, bits))
STAND_IN(herr_t, H5Tset_size, (hid_t type, size_t size), (type, size))
STAND_IN(herr_t, H5Tset_ebias, (hid_t type, size_t bias), (type, bias))
STAND_IN(herr_t, H5Tset_cset, (hid_t type, H5T_cset_t set), (type, set))
STAND_IN(hid_t, H5Pcreate, (hid_t kind), (kind))
STAND_IN(herr_t, H5Pset_char_encoding, (hid_t list, H5T_cset_t set), (list, set))
STAND_IN(herr_t, H5Pset_obj_track_times, (hid_t list, hbool_t track), (list, track))
STAND_IN(herr_t, H5Pset_chunk, (hid_t list, int rank, const hsize_t *chunk), (list, rank, chunk))
STAND_IN(herr_t, H5Pset_fletcher32, (hid_t list), (list))
STAND_IN(herr_t, H5Pset_fill_time, (hid_t list, H5D_fill_time_t when), (list, when))
STAND_IN(int, H5Pget_chunk, (hid_t list, int rank, hsize_t *chunk), (list, rank, chunk))
STAND_IN(herr_t, H5Pget_chunk_opts, (hid_t list, unsigned *options), (list, options))
STAND_IN(hid_t, H5FDregister, (const H5FD_class_t *driver), (driver))
STAND_IN(herr_t, H5Pset_driver, (hid_t list, hid_t driver, const void *data), (list, driver, data))
STAND_IN(herr_t, H5Pset_fapl_core, (hid_t list, size_t step, hbool_t store), (list, step, store))
STAND_IN(herr_t, H5Pset_file_image_callbacks, (hid_t list, H5FD_file_image_callbacks_t *functions),
         (list, functions))
STAND_IN(herr_t, H5Pset_libver_bounds, (hid_t list, H5F_libver_t low, H5F_libver_t high),
         (list, low, high))
STAND_IN(herr_t, H5Pset_fclose_degree, (hid_t list, H5F_close_degree_t degree), (list, degree))
STAND_IN(herr_t, H5Pset_userblock, (hid_t list, hsize_t size), (list, size))
STAND_IN(hid_t, H5Screate, (H5S_class_t kind), (kind))
STAND_IN(hid_t, H5Screate_simple, (int rank, const hsize_t *size, const hsize_t *most),
         (rank, size, most))
STAND_IN(hid_t, H5Acreate2,
         (hid_t object, const char *name, hid_t type, hid_t space, hid_t create, hid_t access),
         (object, name, type, space, create, access))
STAND_IN(herr_t, H5Awrite, (hid_t attribute, hid_t type, const void *values),
         (attribute, type, values))
STAND_IN(hid_t, H5Aopen, (hid_t object, const char *name, hid_t access), (object, name, access))
STAND_IN(hid_t, H5Aget_type, (hid_t attribute), (attribute))
STAND_IN(hid_t, H5Aget_space, (hid_t attribute), (attribute))
STAND_IN(herr_t, H5Aread, (hid_t attribute, hid_t type, void *values), (attribute, type, values))
STAND_IN(htri_t, H5Aexists, (hid_t object, const char *name), (object, name))
STAND_AT_END(H5Aclose)
STAND_IN(hid_t, H5Gcreate2,
         (hid_t parent, const char *name, hid_t links, hid_t create, hid_t access),
         (parent, name, links, create, access))
STAND_IN(herr_t, H5Gget_info_by_name,
         (hid_t parent, const char *name, H5G_info_t *info, hid_t access),
         (parent, name, info, access))
STAND_IN(ssize_t, H5Lget_name_by_idx,
         (hid_t parent, const char *group, H5_index_t by, H5_iter_order_t order, hsize_t index,
          char *name, size_t capacity, hid_t access),
         (parent, group, by, order, index, name, capacity, access))
STAND_IN(hid_t, H5Oopen, (hid_t parent, const char *name, hid_t access), (parent, name, access))
STAND_IN(hid_t, H5Dcreate2,
         (hid_t parent, const char *name, hid_t type, hid_t space, hid_t links, hid_t create,
          hid_t access),
         (parent, name, type, space, links, create, access))
STAND_IN(hid_t, H5Dopen2, (hid_t parent, const char *name, hid_t access), (parent, name, access))
STAND_IN(hid_t, H5Dget_type, (hid_t set), (set))
STAND_IN(hid_t, H5Dget_space, (hid_t set), (set))
STAND_IN(hid_t, H5Dget_create_plist, (hid_t set), (set))
STAND_IN(herr_t, H5Dwrite,
         (hid_t set, hid_t type, hid_t memory, hid_t file, hid_t transfer, const void *values),
         (set, type, memory, file, transfer, values))
STAND_IN(herr_t, H5Dread,
         (hid_t set, hid_t type, hid_t memory, hid_t file, hid_t transfer, void *values),
         (set, type, memory, file, transfer, values))
STAND_IN(herr_t, H5Dread_chunk,
         (hid_t set, hid_t transfer, const hsize_t *at, uint32_t *skipped, void *chunk),
         (set, transfer, at, skipped, chunk))
STAND_AT_END(H5Dclose)
STAND_IN(hid_t, H5Fcreate, (const char *name, unsigned flags, hid_t create, hid_t access),
         (name, flags, create, access))
STAND_IN(hid_t, H5Fopen, (const char *name, unsigned flags, hid_t access), (name, flags, access))
STAND_IN(herr_t, H5Fget_intent, (hid_t file, unsigned *intent), (file, intent))
STAND_IN(herr_t, H5Fget_vfd_handle, (hid_t file, hid_t access, void **handle),
         (file, access, handle))
STAND_IN(herr_t, H5Fflush, (hid_t file, H5F_scope_t scope), (file, scope))

/* Of a text of any length. Hidden, or the library would call it as well. */
__attribute__((visibility("hidden"))) char *strdup(const char *text) {
    return strikes("strdup") ? NULL : strcpy(malloc(strlen(text) + 1), text);
}

/* --- what is done with it ------------------------------------------------------------------------
 */

static char path[KD_PATH_MAX];

/* As h5py writes a text. */
static int write_any_length(hid_t file) {
    const char *text = "long";
    const long kept = failing, counted = calls;
    failing = 0; /* not ours */
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
    assert_true(H5Tset_size(type, H5T_VARIABLE) >= 0);
    hid_t made = H5Acreate2(file, "any", type, space, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(made >= 0 && H5Awrite(made, type, &text) >= 0);
    H5Aclose(made);
    H5Sclose(space);
    H5Tclose(type);
    failing = kept;
    calls = counted;
    return KD_OK;
}

static int write_content(hid_t file) {
    static const float numbers[6] = {0, 1, 2, 3, 4, 5};
    const int64_t shape[2] = {2, 3};
    hid_t group = H5I_INVALID_HID, half = H5I_INVALID_HID;
    int status = kd_h5_set_string(file, "text", "some words");
    if (status == KD_OK) status = write_any_length(file);
    if (status == KD_OK) status = kd_h5_set_int(file, "int", -7);
    if (status == KD_OK) status = kd_h5_set_double(file, "double", 0.1);
    if (status == KD_OK) status = kd_h5_set_doubles(file, "list", 3, (double[]){1, 2, 4});
    if (status == KD_OK) status = kd_h5_make_group(&group, file, "a/b");
    if (status == KD_OK) H5Gclose(group);
    if (status == KD_OK) half = kd_h5_half();
    if (status == KD_OK && half < 0) status = kd_fail(KD_EINTERNAL, "no type of half precision");
    if (status == KD_OK)
        status = kd_h5_write(file, "c/half", 2, shape, half, H5T_NATIVE_FLOAT, numbers);
    if (half >= 0) H5Tclose(half);
    if (status == KD_OK)
        status = kd_h5_write(file, "bytes", 1, (int64_t[]){24}, H5T_NATIVE_UINT8, H5T_NATIVE_UINT8,
                             numbers);
    return status;
}

static int write_file(void) {
    hid_t file;
    int status = kd_h5_create(&file, path);
    if (status < 0) return status;
    status = write_content(file);
    if (status == KD_OK) return kd_h5_commit(file, path);
    kd_h5_close(file);
    return status;
}

static int read_content(hid_t file) {
    char text[16], *whole = NULL, name[16];
    int64_t number, count, shape[KD_H5_RANK_MAX];
    double value, list[3];
    int32_t wide[24];
    int n, rank;
    hid_t object;
    int status = kd_h5_get_string(file, "text", text, sizeof text);
    if (status == KD_OK) status = kd_h5_get_text(file, "text", 10, &whole);
    if (status == KD_OK) free(whole);
    if (status == KD_OK) status = kd_h5_get_text(file, "any", 4, &whole);
    if (status == KD_OK) free(whole);
    if (status == KD_OK) status = kd_h5_get_int(file, "int", &number);
    if (status == KD_OK) status = kd_h5_get_double(file, "double", &value);
    if (status == KD_OK) status = kd_h5_get_doubles(file, "list", 3, &n, list);
    if (status == KD_OK) status = kd_h5_count(file, "a", &count);
    if (status == KD_OK) status = kd_h5_child(file, "a", 0, name, sizeof name);
    if (status == KD_OK) status = kd_h5_open_object(&object, file, "a/b");
    if (status == KD_OK) H5Oclose(object);
    if (status == KD_OK) status = kd_h5_shape(file, "c/half", &rank, shape);
    if (status == KD_OK) status = kd_h5_expect(file, "bytes", 1, (int64_t[]){24}, H5T_NATIVE_UINT8);
    if (status == KD_OK)
        status = kd_h5_read(file, "bytes", 1, (int64_t[]){24}, H5T_NATIVE_UINT8, wide);
    if (status == KD_OK)
        status = kd_h5_read(file, "bytes", 1, (int64_t[]){24}, H5T_NATIVE_INT32, wide);
    if (status == KD_OK && (number != -7 || n != 3 || count != 1 || rank != 2 || list[2] != 4))
        status = kd_fail(KD_EDATA, "other numbers than were written");
    return status;
}

static int read_file(void) {
    hid_t file;
    int status = kd_h5_open(&file, path);
    if (status < 0) return status;
    status = read_content(file);
    kd_h5_close(file);
    return status;
}

/* The rows of a small store, of its kind. */
static kd_store_kind kind;

static void make_store(void) {
    static const float output[3 * 4] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3};
    const kd_store_header h = {.kind = kind,
                               .dtype = KD_STORE_F16,
                               .classes = 3,
                               .views = 1,
                               .k = kind == KD_STORE_TOPK ? 2 : 0,
                               .temperature_count = kind == KD_STORE_TOPK ? 2 : 0,
                               .temperature = {1, 4},
                               .width = kind == KD_STORE_HIDDEN ? 4 : 0,
                               .output = kind == KD_STORE_HIDDEN ? output : NULL,
                               .teacher = kd_hash_bytes("t", 1),
                               .class_list = kd_hash_bytes("a", 1),
                               .description = "small",
                               .origin = "{}"};
    const uint64_t id[2] = {7, 3};
    const int32_t label[2] = {0, 2};
    kd_store_writer *w;
    int64_t done;
    assert_ok(kd_store_writer_open(&w, path, &h, 2, &done));
    assert_ok(append_answers(w, &h, 2, 0, id, label, output));
    assert_ok(kd_store_writer_close(w));
}

static int read_store(void) {
    kd_store *store;
    char *origin = NULL;
    int status = kd_store_open(&store, path);
    if (status < 0) return status;
    if (kd_store_rows(store) != 2) status = kd_fail(KD_EDATA, "other rows");
    kd_store_free(store);
    if (status == KD_OK) status = kd_store_origin(&origin, path);
    free(origin);
    return status;
}

/* --- what is checked ----------------------------------------------------------------------------
 */

/* Everything of the library that is open. */
static hsize_t open_things(void) {
    static const H5I_type_t kinds[] = {H5I_FILE,      H5I_GROUP,   H5I_DATATYPE,   H5I_ATTR,
                                       H5I_DATASPACE, H5I_DATASET, H5I_GENPROP_LST};
    hsize_t all = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        hsize_t count = 0;
        if (H5Inmembers(kinds[i], &count) >= 0) all += count;
    }
    return all;
}

/* What was read is there, however it is closed; some attributes need not be there, and a type may
 * turn out not to be needed. */
static bool can_be_spared(const char *name) {
    return strstr(name, "lose") || strcmp(name, "H5Fget_intent") == 0 ||
           strcmp(name, "H5Aexists") == 0 || strcmp(name, "H5Tcopy") == 0;
}

/* Fails one call after the other, until none is left. */
static void fail_every_call(int (*work)(void), bool reading) {
    int status;
    failing = 0;
    assert_ok(work()); /* the library makes itself at home */
    const hsize_t before = open_things();
    calls = 0;
    assert_ok(work());
    const long all = calls;
    assert_int_equal(open_things(), before);
    assert_true(all > 30);
    for (long n = 1; n <= all; n++) {
        calls = 0;
        failing = n;
        kd_fail(KD_OK, "nothing was said");
        status = work();
        failing = 0;
        if (open_things() != before)
            fail_msg("call %ld of %ld, %s: %d more things are open", n, all, failed,
                     (int)(open_things() - before));
        if (reading && status == KD_OK && can_be_spared(failed)) continue;
        if (status >= 0 || strcmp(kd_error(), "nothing was said") == 0)
            fail_msg("call %ld of %ld, %s: %d, %s", n, all, failed, status, kd_error());
    }
    assert_ok(work());
}

static void writing_is_refused(void **state) {
    test_copy(path, sizeof path, test_path(*state, "written.h5"));
    fail_every_call(write_file, false);
    assert_ok(read_file());
}

static void reading_is_refused(void **state) {
    test_copy(path, sizeof path, test_path(*state, "read.h5"));
    assert_ok(write_file());
    fail_every_call(read_file, true);
}

static void reading_a_store_is_refused(void **state) {
    static const char *const names[] = {"dense", "topk", "hidden"};
    for (kind = KD_STORE_DENSE; kind <= KD_STORE_HIDDEN; kind++) {
        test_copy(path, sizeof path, test_path(*state, names[kind]));
        make_store();
        fail_every_call(read_store, true);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(writing_is_refused, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(reading_is_refused, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(reading_a_store_is_refused, test_setup, test_teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
