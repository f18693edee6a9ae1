/* Datasets, groups and attributes of h5.h. What is read may come from anywhere: no size is believed
 * beyond what the file could hold, and nothing leads out of the file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/error.h"
#include "data/h5_inside.h"

enum { CHUNK_BYTES = 1 << 20, FOREIGN_CHUNK_MAX = 1 << 28 };

hid_t kd_h5_half(void) {
    kd_h5_quiet();
    hid_t half = H5Tcopy(H5T_IEEE_F32LE);
    /* sign bit 15, exponent at 10 of 5 bits, mantissa at 0 of 10 bits */
    if (half >= 0 && (H5Tset_fields(half, 15, 10, 5, 0, 10) < 0 || H5Tset_size(half, 2) < 0 ||
                      H5Tset_ebias(half, 15) < 0)) {
        H5Tclose(half);
        return H5I_INVALID_HID;
    }
    return half;
}

/* --- links ---------------------------------------------------------------------------------- */

/* Every link on the way must exist and be a hard one. What cannot be asked for is there: opening it
 * says why. */
bool kd_h5_has(hid_t parent, const char *name) {
    char prefix[256];
    size_t length = strlen(name);
    if (length == 0 || length >= sizeof prefix) return false;
    for (size_t i = 1; i <= length; i++) {
        if (name[i] != '/' && name[i] != '\0') continue;
        memcpy(prefix, name, i);
        prefix[i] = '\0';
        H5L_info_t link;
        const htri_t exists = H5Lexists(parent, prefix, H5P_DEFAULT);
        if (exists <= 0) return exists < 0;
        if (H5Lget_info(parent, prefix, &link, H5P_DEFAULT) < 0) return true;
        if (link.type != H5L_TYPE_HARD) return false;
    }
    return true;
}

static int require(hid_t parent, const char *name) {
    char place[KD_H5_PLACE_MAX];
    if (kd_h5_has(parent, name)) return KD_OK;
    return kd_fail(KD_EDATA, "%s: is missing", kd_h5_place(place, parent, name));
}

/* Names are UTF-8. */
static hid_t link_creation(void) {
    hid_t list = H5Pcreate(H5P_LINK_CREATE);
    if (list >= 0 && H5Pset_char_encoding(list, H5T_CSET_UTF8) < 0) {
        H5Pclose(list);
        return H5I_INVALID_HID;
    }
    return list;
}

/* Without times, which the library would give the groups that it makes on the way by itself. */
static hid_t create_group(hid_t parent, const char *name) {
    hid_t group = H5I_INVALID_HID, links = link_creation(), create = H5Pcreate(H5P_GROUP_CREATE);
    if (links >= 0 && create >= 0 && H5Pset_obj_track_times(create, false) >= 0)
        group = H5Gcreate2(parent, name, links, create, H5P_DEFAULT);
    if (create >= 0) H5Pclose(create);
    if (links >= 0) H5Pclose(links);
    return group;
}

/* The groups that `name` leads through, those that are missing. */
static int make_parents(hid_t parent, const char *name) {
    char prefix[256];
    for (const char *slash = strchr(name, '/'); slash; slash = strchr(slash + 1, '/')) {
        const size_t length = (size_t)(slash - name);
        KD_CONTRACT(length < sizeof prefix, "%s: a name too long", name);
        memcpy(prefix, name, length);
        prefix[length] = '\0';
        if (H5Lexists(parent, prefix, H5P_DEFAULT) > 0) continue;
        hid_t group = create_group(parent, prefix);
        if (group < 0) return kd_h5_fail(KD_EINTERNAL, parent, prefix, "make the group");
        H5Gclose(group);
    }
    return KD_OK;
}

int kd_h5_make_group(hid_t *out, hid_t parent, const char *name) {
    *out = H5I_INVALID_HID;
    int status = make_parents(parent, name);
    if (status < 0) return status;
    *out = create_group(parent, name);
    return *out >= 0 ? KD_OK : kd_h5_fail(KD_EINTERNAL, parent, name, "make the group");
}

int kd_h5_open_object(hid_t *out, hid_t parent, const char *name) {
    *out = H5I_INVALID_HID;
    int status = require(parent, name);
    if (status < 0) return status;
    *out = H5Oopen(parent, name, H5P_DEFAULT);
    return *out >= 0 ? KD_OK : kd_h5_fail(KD_EDATA, parent, name, "open");
}

int kd_h5_count(hid_t parent, const char *name, int64_t *out) {
    int status = require(parent, name);
    if (status < 0) return status;
    H5G_info_t info;
    if (H5Gget_info_by_name(parent, name, &info, H5P_DEFAULT) < 0)
        return kd_h5_fail(KD_EDATA, parent, name, "read the group");
    *out = (int64_t)info.nlinks;
    return KD_OK;
}

int kd_h5_child(hid_t parent, const char *name, int64_t index, char *out, size_t capacity) {
    int status = require(parent, name);
    if (status < 0) return status;
    ssize_t length = H5Lget_name_by_idx(parent, name, H5_INDEX_NAME, H5_ITER_INC, (hsize_t)index,
                                        out, capacity, H5P_DEFAULT);
    if (length < 0) return kd_h5_fail(KD_EDATA, parent, name, "read the group");
    char place[KD_H5_PLACE_MAX];
    if ((size_t)length >= capacity)
        return kd_fail(KD_EDATA, "%s: holds a name of %zd bytes, more than %zu",
                       kd_h5_place(place, parent, name), length, capacity - 1);
    return KD_OK;
}

/* --- datasets ------------------------------------------------------------------------------- */

/* Whole rows, as many as fit CHUNK_BYTES. */
static hid_t dataset_creation(int rank, const hsize_t *size, size_t element) {
    hsize_t chunk[KD_H5_RANK_MAX], bytes = element;
    for (int i = 0; i < rank; i++) {
        chunk[i] = size[i];
        bytes *= size[i];
    }
    for (int i = 0; i < rank && bytes > CHUNK_BYTES; i++) {
        bytes /= chunk[i];
        chunk[i] = bytes >= CHUNK_BYTES ? 1 : CHUNK_BYTES / bytes;
        bytes *= chunk[i];
    }
    hid_t list = H5Pcreate(H5P_DATASET_CREATE);
    if (list >= 0 && (H5Pset_chunk(list, rank, chunk) < 0 || H5Pset_fletcher32(list) < 0 ||
                      H5Pset_fill_time(list, H5D_FILL_TIME_NEVER) < 0 ||
                      H5Pset_obj_track_times(list, false) < 0)) {
        H5Pclose(list);
        return H5I_INVALID_HID;
    }
    return list;
}

int kd_h5_write(hid_t parent, const char *name, int rank, const int64_t *shape, hid_t stored,
                hid_t type, const void *values) {
    KD_CONTRACT(rank >= 1 && rank <= KD_H5_RANK_MAX, "%s: rank %d", name, rank);
    hsize_t size[KD_H5_RANK_MAX];
    for (int i = 0; i < rank; i++) {
        KD_CONTRACT(shape[i] >= 1, "%s: axis %d has size %lld", name, i, (long long)shape[i]);
        size[i] = (hsize_t)shape[i];
    }
    int status = make_parents(parent, name);
    if (status < 0) return status;
    hid_t space = H5Screate_simple(rank, size, NULL), set = H5I_INVALID_HID;
    hid_t links = link_creation(), create = dataset_creation(rank, size, H5Tget_size(stored));
    if (space >= 0 && links >= 0 && create >= 0)
        set = H5Dcreate2(parent, name, stored, space, links, create, H5P_DEFAULT);
    if (set < 0 || H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0)
        status = kd_h5_fail(KD_EINTERNAL, parent, name, "store");
    /* Closing writes out the chunk cache, so it can fail like a write. */
    if (set >= 0 && H5Dclose(set) < 0 && status == KD_OK)
        status = kd_h5_fail(KD_EINTERNAL, parent, name, "store");
    if (create >= 0) H5Pclose(create);
    if (links >= 0) H5Pclose(links);
    if (space >= 0) H5Sclose(space);
    return status;
}

/* Stored in this file, in chunks of a bearable size, unpacked by nothing but checksums: filters
 * that decompress could ask for any amount of memory. */
static int check_layout(hid_t list, size_t element, const char *place) {
    H5D_layout_t layout = H5Pget_layout(list);
    if (layout != H5D_COMPACT && layout != H5D_CONTIGUOUS && layout != H5D_CHUNKED)
        return kd_fail(KD_EDATA, "%s: has a layout this program does not read", place);
    if (H5Pget_external_count(list) != 0)
        return kd_fail(KD_EDATA, "%s: keeps its numbers in another file", place);
    int filters = H5Pget_nfilters(list);
    for (int i = 0; i < filters; i++) {
        unsigned flags, config;
        size_t parameters = 0;
        H5Z_filter_t filter =
            H5Pget_filter2(list, (unsigned)i, &flags, &parameters, NULL, 0, NULL, &config);
        if (filter != H5Z_FILTER_FLETCHER32 && filter != H5Z_FILTER_SHUFFLE)
            return kd_fail(KD_EDATA, "%s: is compressed (filter %d); store it uncompressed", place,
                           (int)filter);
    }
    if (layout != H5D_CHUNKED) return KD_OK;
    hsize_t chunk[KD_H5_RANK_MAX], bytes = element;
    int rank = H5Pget_chunk(list, KD_H5_RANK_MAX, chunk);
    if (rank < 1) return kd_fail(KD_EDATA, "%s: does not say how its chunks are cut", place);
    for (int i = 0; i < rank && i < KD_H5_RANK_MAX; i++) {
        if (chunk[i] == 0 || chunk[i] > FOREIGN_CHUNK_MAX / bytes)
            return kd_fail(KD_EDATA, "%s: has chunks larger than %d bytes", place,
                           (int)FOREIGN_CHUNK_MAX);
        bytes *= chunk[i];
    }
    return KD_OK;
}

/* libhdf5 copies a compact dataset's bytes out of its header without asking how many are there. */
static int check_size(hid_t set, hid_t list, int rank, const int64_t *shape, size_t element,
                      const char *place) {
    hsize_t file_size = 0, elements = 1;
    hid_t file = H5Iget_file_id(set);
    if (file < 0 || H5Fget_filesize(file, &file_size) < 0) file_size = 0;
    if (file >= 0) H5Fclose(file);
    for (int i = 0; i < rank; i++) {
        if (shape[i] < 1) return kd_fail(KD_EDATA, "%s: is empty", place);
        if ((hsize_t)shape[i] > file_size / element / elements)
            return kd_fail(KD_EDATA, "%s: claims more numbers than the file could hold", place);
        elements *= (hsize_t)shape[i];
    }
    if (H5Pget_layout(list) == H5D_COMPACT && H5Dget_storage_size(set) < elements * element)
        return kd_fail(KD_EDATA, "%s: %llu bytes are stored, its shape needs %llu", place,
                       (unsigned long long)H5Dget_storage_size(set),
                       (unsigned long long)(elements * element));
    return KD_OK;
}

/* Opens a dataset that passed every check; *type is its stored type. The caller closes both. */
static int open_checked(hid_t *set, hid_t *type, hid_t parent, const char *name, int *rank,
                        int64_t *shape) {
    *set = *type = H5I_INVALID_HID;
    int status = require(parent, name);
    if (status < 0) return status;
    hid_t space = H5I_INVALID_HID, list = H5I_INVALID_HID;
    char place[KD_H5_PLACE_MAX];
    *set = H5Dopen2(parent, name, H5P_DEFAULT);
    if (*set >= 0) *type = H5Dget_type(*set);
    if (*type >= 0) space = H5Dget_space(*set);
    if (space >= 0) list = H5Dget_create_plist(*set);
    if (list < 0) {
        status = kd_h5_fail(KD_EDATA, parent, name, "open the dataset");
        goto done;
    }
    kd_h5_place(place, parent, name);
    hsize_t size[KD_H5_RANK_MAX];
    *rank = H5Sget_simple_extent_ndims(space);
    if (*rank < 1 || *rank > KD_H5_RANK_MAX || H5Sget_simple_extent_dims(space, size, NULL) < 0) {
        status = kd_fail(KD_EDATA, "%s: must have 1 to %d axes", place, KD_H5_RANK_MAX);
        goto done;
    }
    for (int i = 0; i < *rank; i++) shape[i] = size[i] > INT64_MAX ? INT64_MAX : (int64_t)size[i];
    size_t element = H5Tget_size(*type);
    H5T_class_t class = H5Tget_class(*type);
    if (element == 0 || element > 8 || (class != H5T_INTEGER && class != H5T_FLOAT)) {
        status = kd_fail(KD_EDATA, "%s: does not hold plain numbers", place);
        goto done;
    }
    status = check_layout(list, element, place);
    if (status == KD_OK) status = check_size(*set, list, *rank, shape, element, place);
done:
    if (list >= 0) H5Pclose(list);
    if (space >= 0) H5Sclose(space);
    return status;
}

int kd_h5_shape(hid_t parent, const char *name, int *rank, int64_t *shape) {
    hid_t set, type;
    int status = open_checked(&set, &type, parent, name, rank, shape);
    if (type >= 0) H5Tclose(type);
    if (set >= 0) H5Dclose(set);
    return status;
}

static void shape_text(char *out, size_t capacity, int rank, const int64_t *shape) {
    size_t used = 0;
    for (int i = 0; i < rank && used < capacity; i++)
        used += (size_t)snprintf(out + used, capacity - used, "%s%lld", i ? ", " : "(",
                                 (long long)shape[i]);
    if (used < capacity) snprintf(out + used, capacity - used, ")");
}

/* "int64", "uint8", "float32 (big-endian)" */
static void type_text(char *out, size_t capacity, hid_t type) {
    const bool real = H5Tget_class(type) == H5T_FLOAT, one = H5Tget_size(type) == 1;
    snprintf(out, capacity, "%s%s%zu%s", !real && H5Tget_sign(type) == H5T_SGN_NONE ? "u" : "",
             real ? "float" : "int", 8 * H5Tget_size(type),
             !one && H5Tget_order(type) == H5T_ORDER_BE ? " (big-endian)" : "");
}

/* Whether what is stored can be read as `type`: it is the same, or both are whole numbers. */
static bool can_be_read(kd_h5_integer *integer, hid_t stored, hid_t type) {
    kd_h5_integer wanted;
    *integer = (kd_h5_integer){0};
    if (H5Tequal(stored, type) > 0) return true;
    return kd_h5_describe_integer(integer, stored) && kd_h5_describe_integer(&wanted, type);
}

int kd_h5_open_expected(hid_t *set, hid_t *stored, kd_h5_integer *integer, hid_t parent,
                        const char *name, int rank, const int64_t *shape, hid_t type) {
    int found_rank;
    int64_t found[KD_H5_RANK_MAX];
    char place[KD_H5_PLACE_MAX], have[128], want[128];
    int status = open_checked(set, stored, parent, name, &found_rank, found);
    if (status < 0) return status;
    kd_h5_place(place, parent, name);
    if (found_rank != rank || memcmp(found, shape, (size_t)rank * sizeof *shape) != 0) {
        shape_text(have, sizeof have, found_rank, found);
        shape_text(want, sizeof want, rank, shape);
        return kd_fail(KD_EDATA, "%s: has shape %s, not %s", place, have, want);
    }
    if (can_be_read(integer, *stored, type)) return KD_OK;
    type_text(have, sizeof have, *stored);
    type_text(want, sizeof want, type);
    if (strcmp(have, want) == 0)
        return kd_fail(KD_EDATA, "%s: holds %s with its bits in other places than usual", place,
                       have);
    return kd_fail(KD_EDATA, "%s: holds %s, not %s", place, have, want);
}

void kd_h5_close_both(hid_t set, hid_t type) {
    if (type >= 0) H5Tclose(type);
    if (set >= 0) H5Dclose(set);
}

int kd_h5_expect(hid_t parent, const char *name, int rank, const int64_t *shape, hid_t type) {
    hid_t set, stored;
    kd_h5_integer integer;
    int status = kd_h5_open_expected(&set, &stored, &integer, parent, name, rank, shape, type);
    kd_h5_close_both(set, stored);
    return status;
}

static int read_integers(hid_t parent, const char *name, hid_t set, hid_t stored,
                         const kd_h5_integer *integer, size_t n, hid_t type, void *values,
                         uint32_t *crc) {
    const size_t bytes = n * integer->size;
    unsigned char *raw = malloc(bytes);
    if (!raw) return kd_fail_memory(bytes, name);
    int status = KD_OK;
    if (H5Dread(set, stored, H5S_ALL, H5S_ALL, H5P_DEFAULT, raw) < 0) {
        status = kd_h5_fail(KD_EDATA, parent, name, "read");
    } else {
        kd_h5_integer wanted;
        char place[KD_H5_PLACE_MAX], says[32], want[32];
        if (crc) *crc = (uint32_t)crc32_z(0, raw, bytes);
        kd_h5_describe_integer(&wanted, type);
        type_text(want, sizeof want, type);
        const size_t at = kd_h5_convert(values, &wanted, raw, integer, n, says);
        if (at < n)
            status = kd_fail(KD_EDATA, "%s: number %zu is %s, which %s does not hold",
                             kd_h5_place(place, parent, name), at, says, want);
    }
    free(raw);
    return status;
}

int kd_h5_read_crc(hid_t parent, const char *name, int rank, const int64_t *shape, hid_t type,
                   void *values, uint32_t *crc) {
    hid_t set, stored;
    kd_h5_integer integer;
    size_t n = 1;
    int status = kd_h5_open_expected(&set, &stored, &integer, parent, name, rank, shape, type);
    for (int i = 0; i < rank; i++) n *= (size_t)shape[i];
    if (status == KD_OK && integer.size)
        status = read_integers(parent, name, set, stored, &integer, n, type, values, crc);
    else if (status == KD_OK && H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0)
        status = kd_h5_fail(KD_EDATA, parent, name, "read");
    else if (status == KD_OK && crc)
        *crc = (uint32_t)crc32_z(0, values, n * H5Tget_size(type));
    kd_h5_close_both(set, stored);
    return status;
}

int kd_h5_read(hid_t parent, const char *name, int rank, const int64_t *shape, hid_t type,
               void *values) {
    return kd_h5_read_crc(parent, name, rank, shape, type, values, NULL);
}
