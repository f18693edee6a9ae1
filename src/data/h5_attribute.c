/* Attributes of h5.h: numbers and strings that describe a file or one of its datasets. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "data/h5_inside.h"

enum { ATTRIBUTE_NEEDS = 1 << 18 };

/* --- writing -------------------------------------------------------------------------------- */

static int set_attribute(hid_t object, const char *name, hid_t type, hid_t space,
                         const void *value) {
    hid_t attribute = H5I_INVALID_HID;
    int status = KD_OK;
    bool memory = kd_h5_memory_is_left(ATTRIBUTE_NEEDS);
    if (type >= 0 && space >= 0 && memory)
        attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    if (!memory)
        status = KD_EINTERNAL;
    else if (attribute < 0 || H5Awrite(attribute, type, value) < 0)
        status = kd_h5_fail(KD_EINTERNAL, object, name, "store the attribute");
    if (attribute >= 0 && H5Aclose(attribute) < 0 && status == KD_OK)
        status = kd_h5_fail(KD_EINTERNAL, object, name, "store the attribute");
    if (space >= 0) H5Sclose(space);
    return status;
}

int kd_h5_set_string(hid_t object, const char *name, const char *text) {
    hid_t type = H5Tcopy(H5T_C_S1);
    if (type >= 0 &&
        (H5Tset_size(type, strlen(text) + 1) < 0 || H5Tset_cset(type, H5T_CSET_UTF8) < 0)) {
        H5Tclose(type);
        type = H5I_INVALID_HID;
    }
    int status = set_attribute(object, name, type, H5Screate(H5S_SCALAR), text);
    if (type >= 0) H5Tclose(type);
    return status;
}

int kd_h5_set_int(hid_t object, const char *name, int64_t value) {
    return set_attribute(object, name, H5T_NATIVE_INT64, H5Screate(H5S_SCALAR), &value);
}

int kd_h5_set_double(hid_t object, const char *name, double value) {
    return set_attribute(object, name, H5T_NATIVE_DOUBLE, H5Screate(H5S_SCALAR), &value);
}

int kd_h5_set_doubles(hid_t object, const char *name, int count, const double *values) {
    hsize_t size = (hsize_t)count;
    return set_attribute(object, name, H5T_NATIVE_DOUBLE, H5Screate_simple(1, &size, NULL), values);
}

/* --- reading -------------------------------------------------------------------------------- */

bool kd_h5_has_attribute(hid_t object, const char *name) {
    return H5Aexists(object, name) != 0; /* reading it says why it could not be asked for */
}

/* An attribute with its stored type, and how many values it has. */
typedef struct {
    hid_t id, type;
    hssize_t count;
} attribute;

static void attribute_close(attribute *a) {
    if (a->type >= 0) H5Tclose(a->type);
    if (a->id >= 0) H5Aclose(a->id);
}

/* Close also after an error. */
static int attribute_open(attribute *out, hid_t object, const char *name) {
    *out = (attribute){H5I_INVALID_HID, H5I_INVALID_HID, 0};
    char place[KD_H5_PLACE_MAX];
    htri_t exists = H5Aexists(object, name);
    if (exists < 0) return kd_h5_fail(KD_EDATA, object, name, "look for the attribute");
    if (exists == 0)
        return kd_fail(KD_EDATA, "%s: the attribute is missing", kd_h5_place(place, object, name));
    hid_t space = H5I_INVALID_HID;
    out->id = H5Aopen(object, name, H5P_DEFAULT);
    if (out->id >= 0) out->type = H5Aget_type(out->id);
    if (out->type >= 0) space = H5Aget_space(out->id);
    int status = KD_OK;
    if (space < 0)
        status = kd_h5_fail(KD_EDATA, object, name, "read the attribute");
    else {
        out->count = H5Sget_simple_extent_npoints(space);
        H5Sclose(space);
    }
    return status;
}

/* Numbers of class `class`, or for floats also integers; libhdf5 converts to `type`. */
static int get_numbers(hid_t object, const char *name, H5T_class_t class, hid_t type, int capacity,
                       int *count, void *values) {
    attribute a;
    char place[KD_H5_PLACE_MAX];
    int status = attribute_open(&a, object, name);
    if (status < 0) goto done;
    H5T_class_t found = H5Tget_class(a.type);
    if (found != class && !(class == H5T_FLOAT && found == H5T_INTEGER))
        status = kd_fail(KD_EDATA, "%s: must be %s", kd_h5_place(place, object, name),
                         class == H5T_INTEGER ? "an integer" : "a number");
    else if (a.count < 1 || a.count > capacity)
        status = kd_fail(KD_EDATA, "%s: must have 1 to %d values, has %lld",
                         kd_h5_place(place, object, name), capacity, (long long)a.count);
    else if (H5Aread(a.id, type, values) < 0)
        status = kd_h5_fail(KD_EDATA, object, name, "read the attribute");
    else
        *count = (int)a.count;
done:
    attribute_close(&a);
    return status;
}

int kd_h5_get_int(hid_t object, const char *name, int64_t *out) {
    int count;
    return get_numbers(object, name, H5T_INTEGER, H5T_NATIVE_INT64, 1, &count, out);
}

int kd_h5_get_double(hid_t object, const char *name, double *out) {
    int count;
    return get_numbers(object, name, H5T_FLOAT, H5T_NATIVE_DOUBLE, 1, &count, out);
}

int kd_h5_get_doubles(hid_t object, const char *name, int capacity, int *count, double *values) {
    return get_numbers(object, name, H5T_FLOAT, H5T_NATIVE_DOUBLE, capacity, count, values);
}

/* h5py's strings: libhdf5 allocates. */
static int read_variable(char **out, const attribute *a, hid_t object, const char *name) {
    char *text = NULL;
    if (H5Aread(a->id, a->type, &text) < 0)
        return kd_h5_fail(KD_EDATA, object, name, "read the attribute");
    *out = strdup(text ? text : "");
    size_t length = text ? strlen(text) : 0;
    H5free_memory(text);
    return *out ? KD_OK : kd_fail_memory(length + 1, name);
}

static int read_fixed(char **out, const attribute *a, hid_t object, const char *name,
                      size_t bytes) {
    *out = calloc(bytes + 1, 1);
    if (!*out) return kd_fail_memory(bytes + 1, name);
    if (H5Aread(a->id, a->type, *out) >= 0) return KD_OK;
    int status = kd_h5_fail(KD_EDATA, object, name, "read the attribute");
    free(*out);
    *out = NULL;
    return status;
}

int kd_h5_get_text(hid_t object, const char *name, size_t limit, char **out) {
    *out = NULL;
    attribute a;
    char place[KD_H5_PLACE_MAX];
    int status = attribute_open(&a, object, name);
    if (status < 0) goto done;
    if (H5Tget_class(a.type) != H5T_STRING || a.count != 1) {
        status = kd_fail(KD_EDATA, "%s: must be one string", kd_h5_place(place, object, name));
        goto done;
    }
    size_t bytes = H5Tget_size(a.type);
    if (H5Tis_variable_str(a.type) > 0)
        status = read_variable(out, &a, object, name);
    else if (bytes <= limit + 1)
        status = read_fixed(out, &a, object, name, bytes);
    if (status == KD_OK && (!*out || strlen(*out) > limit)) {
        free(*out);
        *out = NULL;
        status = kd_fail(KD_EDATA, "%s: is longer than %zu bytes", kd_h5_place(place, object, name),
                         limit);
    }
done:
    attribute_close(&a);
    return status;
}

int kd_h5_get_string(hid_t object, const char *name, char *out, size_t capacity) {
    char *text;
    int status = kd_h5_get_text(object, name, capacity - 1, &text);
    if (status < 0) return status;
    memcpy(out, text, strlen(text) + 1);
    free(text);
    return KD_OK;
}
