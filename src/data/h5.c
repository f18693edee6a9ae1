#include "data/h5.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/error.h"
#include "base/file.h"
#include "base/ranks.h"
#include "data/h5_inside.h"

/* --- the seal ------------------------------------------------------------------------------- */

enum { SEAL_BYTES = 512 /* the smallest user block */, SEAL_BUFFER = 1 << 18 };
static const char SEAL_START[] = "distill-sealed-hdf5 1 ";
static const char HDF5_SIGNATURE[8] = {'\x89', 'H', 'D', 'F', '\r', '\n', '\x1a', '\n'};

/* The block is a function of what stands behind it, so checking it is one comparison, and no bit of
 * it is left over. */
static void seal_make(char block[SEAL_BYTES], int64_t length, unsigned long crc) {
    memset(block, 0, SEAL_BYTES);
    snprintf(block, SEAL_BYTES, "%slength %lld crc32 %08lx\n", SEAL_START, (long long)length, crc);
}

/* The CRC-32 of what stands behind the seal of a file of `length` bytes. */
static int crc_behind(unsigned long *out, int fd, int64_t length, const char *path) {
    Bytef *buffer = malloc(SEAL_BUFFER);
    if (!buffer) return kd_fail_memory(SEAL_BUFFER, path);
    int status = KD_OK;
    *out = crc32_z(0, NULL, 0);
    for (int64_t at = SEAL_BYTES; at < length && status == KD_OK;) {
        const size_t n = (size_t)(length - at < SEAL_BUFFER ? length - at : SEAL_BUFFER);
        status = kd_file_read_at(fd, path, buffer, n, at);
        if (status == KD_OK) *out = crc32_z(*out, buffer, n);
        at += (int64_t)n;
    }
    free(buffer);
    return status;
}

/* Of a file of `length` bytes: *from is where its HDF5 data begin. */
static int seal_check(int64_t *from, int fd, int64_t length, const char *path) {
    char found[SEAL_BYTES + 1] = {0}, right[SEAL_BYTES];
    unsigned long crc = 0;
    long long stated = 0;
    int status = kd_file_read_at(fd, path, found, length < SEAL_BYTES ? (size_t)length : SEAL_BYTES,
                                 *from = 0);
    if (status < 0) return status;
    if (length >= (int64_t)sizeof HDF5_SIGNATURE &&
        memcmp(found, HDF5_SIGNATURE, sizeof HDF5_SIGNATURE) == 0)
        return KD_OK;
    if (length == 0) return kd_fail(KD_EDATA, "%s: empty, not an HDF5 file", path);
    if (strncmp(found, SEAL_START, strlen(SEAL_START)) != 0)
        return kd_fail(KD_EDATA, "%s: not an HDF5 file, or its first bytes are damaged", path);
    sscanf(found + strlen(SEAL_START), "length %lld", &stated);
    if (length < SEAL_BYTES || stated < 0 || stated > length - SEAL_BYTES)
        return kd_fail(KD_EDATA, "%s: cut short: %lld of %lld bytes are there", path,
                       (long long)length, stated + SEAL_BYTES);
    *from = SEAL_BYTES;
    status = crc_behind(&crc, fd, length, path);
    if (status < 0) return status;
    seal_make(right, length - SEAL_BYTES, crc);
    if (memcmp(found, right, SEAL_BYTES) == 0) return KD_OK;
    return kd_fail(KD_EDATA, "%s: damaged: its content does not match its checksum", path);
}

/* --- a file in memory ----------------------------------------------------------------------- */

/* libhdf5 does not survive a file it cannot write out at closing: it keeps it open, and crashes
 * when the program ends. So some memory is held back that only closing may use: enough for a chunk
 * and the library's cached metadata. */
enum { IMAGE_RESERVE = 1 << 21, OPENING_NEEDS = 1 << 22 };

typedef enum {
    IMAGE_GROWS,   /* being written                                   */
    IMAGE_KEPT,    /* stays when the file is closed, see `finished`   */
    IMAGE_DROPPED, /* freed when the file is closed                   */
} image_use;

/* Nor does libhdf5 1.10 look at every small allocation: it crashes when H5Fcreate or H5Fopen gets
 * no memory for the file's cache or name, or H5Acreate2 none for the attribute's name, and when its
 * first call gets none for its types. So before these calls more than they need is asked for and
 * given back. */
bool kd_h5_memory_is_left(size_t bytes) {
    void *volatile probe = malloc(bytes); /* volatile: or the compiler leaves both calls out */
    free(probe);
    if (!probe) kd_fail_memory(bytes, "libhdf5");
    return probe;
}

/* Stands in front of the bytes that libhdf5's "core" driver works on, and moves with them when they
 * grow. */
typedef struct {
    _Alignas(16) size_t size; /* of the bytes behind */
    size_t capacity;
    image_use use;
} image;

static char *image_bytes(image *file) {
    return (char *)(file + 1);
}

static image *image_of(void *bytes) {
    return (image *)bytes - 1;
}

/* The image that the driver of this thread's last closed file left. */
static _Thread_local image *finished;

static void *image_resize(void *bytes, size_t size, H5FD_file_image_op_t why, void *data) {
    (void)why, (void)data;
    image *file = bytes ? image_of(bytes) : NULL;
    if (!file || size + (file->use == IMAGE_GROWS ? IMAGE_RESERVE : 0) > file->capacity) {
        size_t capacity = size + size / 2 + 2 * (size_t)IMAGE_RESERVE;
        image *grown = realloc(file, sizeof *grown + capacity);
        if (!grown) return NULL;
        if (!file) grown->use = IMAGE_GROWS;
        grown->capacity = capacity;
        file = grown;
    }
    file->size = size;
    return image_bytes(file);
}

/* Property lists that pass the image on let go of it too; only the driver's word counts. */
static herr_t image_let_go(void *bytes, H5FD_file_image_op_t why, void *data) {
    (void)data;
    if (why != H5FD_FILE_IMAGE_OP_FILE_CLOSE) return 0;
    if (image_of(bytes)->use == IMAGE_KEPT)
        finished = image_of(bytes);
    else
        free(image_of(bytes));
    return 0;
}

/* Says what becomes of the image behind an open file when it is closed. */
static bool set_image_use(hid_t file, image_use use) {
    void *handle;
    if (H5Fget_vfd_handle(file, H5P_DEFAULT, &handle) < 0) return false;
    void *bytes = *(void **)handle;
    if (!bytes) return false;
    image_of(bytes)->use = use;
    return true;
}

/* The library wants a name of its own for each file in memory, one that does not exist on the disk:
 * the path, '#' and a number, which kd_h5_place takes off again. */
static const char *name_in_memory(char out[KD_PATH_MAX + 16], const char *path) {
    static atomic_uint number;
    snprintf(out, KD_PATH_MAX + 16, "%s#%u", path, ++number);
    return out;
}

/* Times are not stored, so that the same content makes the same bytes. */
static hid_t create_in_memory(const char *path) {
    H5FD_file_image_callbacks_t callbacks = {.image_realloc = image_resize,
                                             .image_free = image_let_go};
    char name[KD_PATH_MAX + 16];
    hid_t made = H5I_INVALID_HID;
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), create = H5Pcreate(H5P_FILE_CREATE);
    if (access >= 0 && create >= 0 && H5Pset_fapl_core(access, 1, false) >= 0 &&
        H5Pset_file_image_callbacks(access, &callbacks) >= 0 &&
        H5Pset_libver_bounds(access, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST) >= 0 &&
        H5Pset_fclose_degree(access, H5F_CLOSE_STRONG) >= 0 &&
        H5Pset_cache(access, 0, 0, 0, 0) >= 0 && /* no chunk waits for closing to be written */
        H5Pset_userblock(create, SEAL_BYTES) >= 0 && H5Pset_obj_track_times(create, false) >= 0)
        made = H5Fcreate(name_in_memory(name, path), H5F_ACC_TRUNC, create, access);
    if (made < 0) kd_h5_fail(KD_EINTERNAL, H5I_INVALID_HID, path, "prepare");
    if (access >= 0) H5Pclose(access);
    if (create >= 0) H5Pclose(create);
    return made;
}

/* Removes the temporary that a killed process, or a write that failed, left. */
static bool remove_part(const char *path) {
    char part[KD_PATH_MAX + 8];
    if (!kd_rank_writes()) return true;
    snprintf(part, sizeof part, "%s.part", path);
    return unlink(part) == 0 || errno == ENOENT;
}

int kd_h5_create(hid_t *out, const char *path) {
    *out = H5I_INVALID_HID;
    if (!kd_h5_memory_is_left(OPENING_NEEDS)) return KD_EINTERNAL;
    kd_h5_quiet();
    if (!remove_part(path))
        return kd_fail(KD_EIO, "%s.part: cannot remove: %s", path, strerror(errno));
    *out = create_in_memory(path);
    return *out < 0 ? KD_EINTERNAL : KD_OK;
}

int kd_h5_commit(hid_t file, const char *path) {
    int status = KD_OK;
    finished = NULL;
    /* Flushing first makes the image as long as the file: closing would leave the end out. It is
     * part of closing, since a flush that fails cannot be undone either. */
    if (!set_image_use(file, IMAGE_KEPT) || H5Fflush(file, H5F_SCOPE_GLOBAL) < 0)
        status = kd_h5_fail(KD_EINTERNAL, H5I_INVALID_HID, path, "finish");
    if (H5Fclose(file) < 0 && status == KD_OK)
        status = kd_h5_fail(KD_EINTERNAL, H5I_INVALID_HID, path, "close");
    image *made = finished;
    if (status == KD_OK && (!made || made->size <= SEAL_BYTES))
        status = kd_fail(KD_EINTERNAL, "%s: libhdf5 did not finish the file", path);
    if (status == KD_OK) {
        char *bytes = image_bytes(made);
        const size_t length = made->size - SEAL_BYTES;
        seal_make(bytes, (int64_t)length,
                  crc32_z(crc32_z(0, NULL, 0), (Bytef *)bytes + SEAL_BYTES, length));
        status = kd_file_replace(path, bytes, made->size);
    }
    free(made);
    if (status < 0) remove_part(path);
    return status;
}

/* --- reading -------------------------------------------------------------------------------- */

static int open_regular(int *fd, int64_t *length, const char *path) {
    struct stat info;
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0)
        return kd_fail(errno == ENOENT ? KD_ENOINPUT : KD_EIO, "%s: cannot open: %s", path,
                       strerror(errno));
    if (fstat(*fd, &info) < 0 || !S_ISREG(info.st_mode)) {
        close(*fd);
        return kd_fail(KD_ENOINPUT, "%s: is not a regular file", path);
    }
    *length = info.st_size;
    return KD_OK;
}

int kd_h5_open(hid_t *out, const char *path) {
    char name[KD_PATH_MAX + 16];
    int fd;
    int64_t length = 0, from = 0;
    *out = H5I_INVALID_HID;
    int status = open_regular(&fd, &length, path);
    if (status < 0) return status;
    status = seal_check(&from, fd, length, path);
    if (status == KD_OK && !kd_h5_memory_is_left(OPENING_NEEDS)) status = KD_EINTERNAL;
    if (status < 0) {
        close(fd);
        return status;
    }
    kd_h5_quiet();
    return kd_h5_open_reader(out, fd, from, length - from, path, name_in_memory(name, path));
}

void kd_h5_close(hid_t file) {
    if (file < 0) return;
    unsigned intent = H5F_ACC_RDONLY;
    if (H5Fget_intent(file, &intent) >= 0 && intent != H5F_ACC_RDONLY)
        set_image_use(file, IMAGE_DROPPED);
    H5Fclose(file);
    kd_h5_read_fault();
}

/* --- messages ------------------------------------------------------------------------------- */

void kd_h5_quiet(void) {
    /* Closing what is open when the program ends is not needed, since nothing is written by the
     * library, and crashes after some failures. Counts only before its first other function. */
    static atomic_flag called = ATOMIC_FLAG_INIT;
    if (!atomic_flag_test_and_set(&called)) H5dont_atexit();
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
        char *number = strrchr(file, '#');
        if (number) *number = '\0';
        if (H5Iget_name(object, path, sizeof path) < 0) path[0] = '\0';
    }
    snprintf(out, KD_H5_PLACE_MAX, "%s%s%s%s%.200s", file, file[0] ? ": " : "", path,
             name && path[0] && strcmp(path, "/") != 0 ? "/" : "", name ? name : "");
    return out;
}

int kd_h5_fail(int status, hid_t object, const char *name, const char *doing) {
    const char *fault = kd_h5_read_fault();
    if (fault) return kd_fail(KD_EIO, "%s", fault);
    char why[256] = "no reason given", place[KD_H5_PLACE_MAX];
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_innermost, why);
    const bool newer = strncmp(why, "bad version number", 18) == 0;
    return kd_fail(
        status, "%s: cannot %s (libhdf5: %s%s)", kd_h5_place(place, object, name), doing, why,
        newer ? "; a newer HDF5 wrote it: with h5py, give File libver=(\"v108\", \"v110\")" : "");
}
