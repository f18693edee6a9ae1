/* The way libhdf5 reads a file: through one descriptor of ours, with pread. So a file that is
 * replaced or cut short while it is open makes an error and no signal, no lock of the file system
 * is needed, the seal in front is not seen, and only what is asked for comes into memory. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "data/h5_inside.h"
#if H5_VERSION_GE(1, 13, 0)
#include <H5FDdevelop.h>
#endif

typedef struct {
    H5FD_t library; /* first: the library's own part            */
    int fd;
    int64_t from, size; /* the HDF5 data in the file                */
    haddr_t used;       /* the library's end of what it has stored  */
    int64_t *noted;     /* see kd_h5_place_of_read; or NULL         */
    char path[KD_PATH_MAX];
} reader;

/* What H5Pset_driver hands on to driver_open. */
typedef struct {
    reader *file;
    bool *taken; /* set when the library has it, and will close it */
} handover;

static _Thread_local bool
    failed; /* the last read of this thread that failed was not asked for yet */
static _Thread_local char fault[KD_PATH_MAX + 256];

/* --- the library's calls -------------------------------------------------------------------- */

static H5FD_t *driver_open(const char *name, unsigned flags, hid_t list, haddr_t most) {
    (void)name, (void)flags, (void)most;
    const handover *from = H5Pget_driver_info(list);
    if (!from) return NULL;
    *from->taken = true;
    return &from->file->library;
}

static herr_t driver_close(H5FD_t *file) {
    close(((reader *)file)->fd);
    free(file);
    return 0;
}

static haddr_t driver_used(const H5FD_t *file, H5FD_mem_t type) {
    (void)type;
    return ((const reader *)file)->used;
}

static herr_t driver_use(H5FD_t *file, H5FD_mem_t type, haddr_t used) {
    (void)type;
    ((reader *)file)->used = used;
    return 0;
}

static haddr_t driver_size(const H5FD_t *file, H5FD_mem_t type) {
    (void)type;
    return (haddr_t)((const reader *)file)->size;
}

static herr_t driver_handle(H5FD_t *file, hid_t list, void **handle) {
    (void)list;
    *handle = file;
    return 0;
}

/* Bytes behind the end are 0, as the library's own drivers have it. */
static herr_t driver_read(H5FD_t *file, H5FD_mem_t type, hid_t list, haddr_t at, size_t length,
                          void *out) {
    (void)list;
    const reader *r = (const reader *)file;
    if (r->noted && type == H5FD_MEM_DRAW) {
        *r->noted = at <= (haddr_t)r->size ? r->from + (int64_t)at : -1;
        return 0;
    }
    const size_t left = at < (haddr_t)r->size ? (size_t)((haddr_t)r->size - at) : 0;
    const size_t there = length < left ? length : left;
    memset((char *)out + there, 0, length - there);
    if (there == 0 || kd_file_read_at(r->fd, r->path, out, there, r->from + (int64_t)at) == KD_OK)
        return 0;
    failed = true;
    snprintf(fault, sizeof fault, "%s", kd_error());
    return -1;
}

static herr_t driver_write(H5FD_t *file, H5FD_mem_t type, hid_t list, haddr_t at, size_t length,
                           const void *bytes) {
    (void)file, (void)type, (void)list, (void)at, (void)length, (void)bytes;
    return -1;
}

static const H5FD_class_t CLASS = {
#if H5_VERSION_GE(1, 13, 0)
    .version = H5FD_CLASS_VERSION,
    .value = 600, /* the library's own go up to 255, registered ones to 511 */
#endif
    .name = "distill",
    .maxaddr = INT64_MAX,
    .fc_degree = H5F_CLOSE_STRONG,
    .fapl_size = sizeof(handover),
    .open = driver_open,
    .close = driver_close,
    .get_eoa = driver_used,
    .set_eoa = driver_use,
    .get_eof = driver_size,
    .get_handle = driver_handle,
    .read = driver_read,
    .write = driver_write,
    .fl_map = H5FD_FLMAP_SINGLE,
};

/* --- ours ----------------------------------------------------------------------------------- */

/* Registered again when another part of the process has ended the library. */
static hid_t driver(void) {
    static hid_t known = H5I_INVALID_HID;
    if (known < 0 || H5Iget_type(known) != H5I_VFL) known = H5FDregister(&CLASS);
    return known;
}

int kd_h5_open_reader(hid_t *out, int fd, int64_t from, int64_t size, const char *path,
                      const char *name) {
    bool taken = false;
    reader *r = calloc(1, sizeof *r);
    *out = H5I_INVALID_HID;
    if (!r) {
        close(fd);
        return kd_fail_memory(sizeof *r, path);
    }
    r->fd = fd;
    r->from = from;
    r->size = size;
    snprintf(r->path, sizeof r->path, "%s", path);
    failed = false;
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    if (access >= 0 && H5Pset_driver(access, driver(), &(handover){r, &taken}) >= 0 &&
        H5Pset_fclose_degree(access, H5F_CLOSE_STRONG) >= 0)
        *out = H5Fopen(name, H5F_ACC_RDONLY, access);
    int status = *out >= 0 ? KD_OK : kd_h5_fail(KD_EDATA, H5I_INVALID_HID, path, "open as HDF5");
    if (access >= 0) H5Pclose(access);
    if (!taken) driver_close(&r->library);
    return status;
}

const char *kd_h5_read_fault(void) {
    const bool was = failed;
    failed = false;
    return was ? fault : NULL;
}

static reader *reader_of(hid_t object) {
    void *handle = NULL;
    const hid_t file = H5Iget_file_id(object);
    if (file < 0) return NULL;
    if (H5Fget_vfd_handle(file, H5P_DEFAULT, &handle) < 0) handle = NULL;
    H5Fclose(file);
    return handle;
}

int64_t kd_h5_place_of_chunk(hid_t set, const hsize_t *first) {
    reader *r = reader_of(set);
    int64_t noted = -1;
    uint32_t skipped = 0;
    if (!r) return -1;
    r->noted = &noted;
    const herr_t done = H5Dread_chunk(set, H5P_DEFAULT, first, &skipped, &(char){0});
    r->noted = NULL;
    return done < 0 || skipped ? -1 : noted;
}

int64_t kd_h5_place_of_all(hid_t set) {
    const reader *r = reader_of(set);
    const haddr_t at = H5Dget_offset(set);
    return !r || at == HADDR_UNDEF || at > (haddr_t)r->size ? -1 : r->from + (int64_t)at;
}

int64_t kd_h5_file_size(hid_t object) {
    const reader *r = reader_of(object);
    return r ? r->from + r->size : 0;
}

bool kd_h5_is_sealed(hid_t file) {
    const reader *r = reader_of(file);
    return r && r->from > 0;
}
