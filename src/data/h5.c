#include "data/h5.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/error.h"
#include "base/file.h"
#include "data/h5_inside.h"

/* --- the seal ------------------------------------------------------------------------------- */

enum { SEAL_BYTES = 512 }; /* the smallest user block */
static const char SEAL_START[] = "distill-sealed-hdf5 1 ";
static const unsigned char HDF5_SIGNATURE[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};

/* The block is a function of what stands behind it, so checking it is one comparison, and no bit of
 * it is left over. */
static void seal_make(char block[SEAL_BYTES], size_t length, unsigned long crc) {
    memset(block, 0, SEAL_BYTES);
    snprintf(block, SEAL_BYTES, "%slength %zu crc32 %08lx\n", SEAL_START, length, crc);
}

static ssize_t read_some(int fd, void *bytes, size_t length) {
    ssize_t n;
    do n = read(fd, bytes, length);
    while (n < 0 && errno == EINTR);
    return n;
}

/* Reads on until `length` bytes or the end of the file; *got says how many. */
static int read_block(int fd, void *bytes, size_t length, size_t *got, const char *path) {
    *got = 0;
    while (*got < length) {
        ssize_t n = read_some(fd, (char *)bytes + *got, length - *got);
        if (n < 0) return kd_fail(KD_EIO, "%s: cannot read: %s", path, strerror(errno));
        if (n == 0) break;
        *got += (size_t)n;
    }
    return KD_OK;
}

static int seal_mismatch(const char *path, const char *found, size_t length) {
    size_t stated = 0;
    if (sscanf(found + strlen(SEAL_START), "length %zu", &stated) == 1 && stated > length)
        return kd_fail(KD_EDATA, "%s: cut short: %zu of %zu bytes are there", path,
                       length + SEAL_BYTES, stated + SEAL_BYTES);
    return kd_fail(KD_EDATA, "%s: damaged: its content does not match its checksum", path);
}

static int seal_check_open(int fd, const char *path) {
    char found[SEAL_BYTES + 1], right[SEAL_BYTES], bytes[1 << 16];
    size_t got;
    int status = read_block(fd, found, SEAL_BYTES, &got, path);
    if (status < 0) return status;
    found[got] = '\0';
    if (got >= sizeof HDF5_SIGNATURE && memcmp(found, HDF5_SIGNATURE, sizeof HDF5_SIGNATURE) == 0)
        return KD_OK;
    if (got == 0) return kd_fail(KD_EDATA, "%s: empty, not an HDF5 file", path);
    if (strncmp(found, SEAL_START, strlen(SEAL_START)) != 0)
        return kd_fail(KD_EDATA, "%s: not an HDF5 file, or its first bytes are damaged", path);
    size_t length = 0;
    unsigned long crc = crc32_z(0, NULL, 0);
    do {
        status = read_block(fd, bytes, sizeof bytes, &got, path);
        if (status < 0) return status;
        crc = crc32_z(crc, (const Bytef *)bytes, got);
        length += got;
    } while (got == sizeof bytes);
    seal_make(right, length, crc);
    return memcmp(found, right, SEAL_BYTES) == 0 ? KD_OK : seal_mismatch(path, found, length);
}

static int seal_check(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return kd_fail(errno == ENOENT ? KD_ENOINPUT : KD_EIO, "%s: cannot open: %s", path,
                       strerror(errno));
    struct stat info;
    int status;
    if (fstat(fd, &info) == 0 && !S_ISREG(info.st_mode))
        status = kd_fail(KD_ENOINPUT, "%s: is not a regular file", path);
    else
        status = seal_check_open(fd, path);
    close(fd);
    return status;
}

/* --- a file in memory ----------------------------------------------------------------------- */

/* Stands in front of the bytes that libhdf5's "core" driver works on, and moves with them when they
 * grow. */
typedef struct {
    _Alignas(16) size_t size; /* of the bytes behind */
    size_t capacity;
    bool wanted; /* by kd_h5_commit, when the driver is done with it */
} image;

/* The image that the driver of this thread's last closed file handed over. */
static _Thread_local image *finished;

static void *image_resize(void *bytes, size_t size, H5FD_file_image_op_t why, void *data) {
    (void)why, (void)data;
    image *file = bytes ? (image *)bytes - 1 : NULL;
    if (!file || size > file->capacity) {
        size_t capacity = size + size / 2;
        image *grown = realloc(file, sizeof *grown + capacity);
        if (!grown) return NULL;
        if (!file) grown->wanted = false;
        grown->capacity = capacity;
        file = grown;
    }
    file->size = size;
    return file + 1;
}

static herr_t image_let_go(void *bytes, H5FD_file_image_op_t why, void *data) {
    (void)why, (void)data;
    image *file = (image *)bytes - 1;
    if (file->wanted)
        finished = file;
    else
        free(file);
    return 0;
}

/* Has the driver hand over the image when it closes the file. */
static bool want_image(hid_t file) {
    void *handle;
    if (H5Fget_vfd_handle(file, H5P_DEFAULT, &handle) < 0) return false;
    unsigned char *bytes = *(unsigned char **)handle;
    if (!bytes) return false;
    ((image *)(void *)bytes - 1)->wanted = true;
    finished = NULL;
    return true;
}

/* Times are not stored, so that the same content makes the same bytes. */
static hid_t create_in_memory(const char *path) {
    H5FD_file_image_callbacks_t callbacks = {.image_realloc = image_resize,
                                             .image_free = image_let_go};
    hid_t made = H5I_INVALID_HID;
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), create = H5Pcreate(H5P_FILE_CREATE);
    if (access >= 0 && create >= 0 && H5Pset_fapl_core(access, 1, false) >= 0 &&
        H5Pset_file_image_callbacks(access, &callbacks) >= 0 &&
        H5Pset_libver_bounds(access, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST) >= 0 &&
        H5Pset_fclose_degree(access, H5F_CLOSE_STRONG) >= 0 &&
        H5Pset_userblock(create, SEAL_BYTES) >= 0 && H5Pset_obj_track_times(create, false) >= 0)
        made = H5Fcreate(path, H5F_ACC_TRUNC, create, access);
    if (made < 0) kd_h5_fail(KD_EINTERNAL, H5I_INVALID_HID, path, "prepare");
    if (access >= 0) H5Pclose(access);
    if (create >= 0) H5Pclose(create);
    return made;
}

int kd_h5_create(hid_t *out, const char *path) {
    *out = H5I_INVALID_HID;
    kd_h5_quiet();
    char part[KD_PATH_MAX];
    if (snprintf(part, sizeof part, "%s.part", path) >= (int)sizeof part)
        return kd_fail(KD_EIO, "%s: path too long", path);
    if (unlink(part) < 0 && errno != ENOENT)
        return kd_fail(KD_EIO, "%s: cannot remove: %s", part, strerror(errno));
    *out = create_in_memory(part);
    return *out < 0 ? KD_EINTERNAL : KD_OK;
}

int kd_h5_commit(hid_t file, const char *path) {
    kd_h5_quiet();
    int status = KD_OK;
    /* Flushing first makes the image as long as the file: closing would leave the end out. */
    if (H5Fflush(file, H5F_SCOPE_GLOBAL) < 0 || !want_image(file))
        status = kd_h5_fail(KD_EINTERNAL, H5I_INVALID_HID, path, "finish");
    if (H5Fclose(file) < 0 && status == KD_OK)
        status = kd_h5_fail(KD_EINTERNAL, H5I_INVALID_HID, path, "close");
    image *made = finished;
    finished = NULL;
    if (status == KD_OK && (!made || made->size <= SEAL_BYTES))
        status = kd_fail(KD_EINTERNAL, "%s: libhdf5 did not finish the file", path);
    if (status == KD_OK) {
        unsigned char *bytes = (unsigned char *)(made + 1);
        size_t length = made->size - SEAL_BYTES;
        unsigned long crc = crc32_z(crc32_z(0, NULL, 0), bytes + SEAL_BYTES, length);
        seal_make((char *)bytes, length, crc);
        status = kd_file_replace(path, bytes, made->size);
    }
    free(made);
    return status;
}

/* --- reading -------------------------------------------------------------------------------- */

/* Locks are not needed, since no file is ever changed in place, and some network file systems do
 * not have them. */
int kd_h5_open(hid_t *out, const char *path) {
    *out = H5I_INVALID_HID;
    kd_h5_quiet();
    int status = seal_check(path);
    if (status < 0) return status;
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    if (access >= 0 && H5Pset_file_locking(access, false, true) >= 0 &&
        H5Pset_fclose_degree(access, H5F_CLOSE_STRONG) >= 0)
        *out = H5Fopen(path, H5F_ACC_RDONLY, access);
    if (*out < 0) status = kd_h5_fail(KD_EDATA, H5I_INVALID_HID, path, "open as HDF5");
    if (access >= 0) H5Pclose(access);
    return status;
}

void kd_h5_close(hid_t file) {
    kd_h5_quiet();
    if (file >= 0) H5Fclose(file);
}

/* --- messages ------------------------------------------------------------------------------- */

void kd_h5_quiet(void) {
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

static herr_t keep_innermost(unsigned depth, const H5E_error2_t *error, void *data) {
    if (depth == 0 && error->desc) snprintf(data, 256, "%s", error->desc);
    return 0;
}

const char *kd_h5_place(char *out, hid_t object, const char *name) {
    char file[KD_H5_PLACE_MAX / 2] = "", path[KD_H5_PLACE_MAX / 4] = "";
    if (object >= 0) {
        if (H5Fget_name(object, file, sizeof file) < 0) file[0] = '\0';
        if (H5Iget_name(object, path, sizeof path) < 0) path[0] = '\0';
    }
    snprintf(out, KD_H5_PLACE_MAX, "%s%s%s%s%.200s", file, file[0] ? ": " : "", path,
             name && path[0] && strcmp(path, "/") != 0 ? "/" : "", name ? name : "");
    return out;
}

int kd_h5_fail(int status, hid_t object, const char *name, const char *doing) {
    char why[256] = "no reason given", place[KD_H5_PLACE_MAX];
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_innermost, why);
    return kd_fail(status, "%s: cannot %s (libhdf5: %s)", kd_h5_place(place, object, name), doing,
                   why);
}
