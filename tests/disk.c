#include "disk.h"

#include <dirent.h>
#include <libgen.h>

enum { DISK_INODES = 4096, DISK_NAMES = 512, DISK_PATH = 1024 };

/* What was promised of one file or folder. */
typedef struct {
    ino_t inode;
    int held; /* keeps the inode's number from being used again */
    bool folder;
    char *bytes; /* of a file */
    size_t length;
    int count; /* names in a folder */
    char *name[DISK_NAMES];
    ino_t child[DISK_NAMES];
    bool is_folder[DISK_NAMES];
} promise;

static promise *promised[DISK_INODES];
static int promises;
static char disk_root[DISK_PATH], disk_left[DISK_PATH], disk_breach[2 * DISK_PATH + 64];
static char unsynced_rename[DISK_PATH]; /* the folder of the last rename, until it is synced */
static long cut_call, disk_call;
static kd_cut cut_how;

static promise *promise_of(ino_t inode) {
    for (int i = 0; i < promises; i++)
        if (promised[i]->inode == inode) return promised[i];
    return NULL;
}

static void read_all(const char *path, char **bytes, size_t *length) {
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    *bytes = NULL;
    *length = 0;
    if (fd < 0) return;
    if (fstat(fd, &info) == 0 && (*bytes = malloc((size_t)info.st_size + 1)) != NULL) {
        ssize_t n = read(fd, *bytes, (size_t)info.st_size);
        *length = n > 0 ? (size_t)n : 0;
    }
    close(fd);
}

static void list_names(promise *p, const char *path) {
    DIR *listing = opendir(path);
    p->count = 0;
    for (struct dirent *e; listing && (e = readdir(listing)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        if (p->count == DISK_NAMES) abort();
        p->name[p->count] = strdup(e->d_name);
        p->is_folder[p->count] = e->d_type == DT_DIR;
        p->child[p->count++] = e->d_ino;
    }
    if (listing) closedir(listing);
}

static void forget(promise *p) {
    free(p->bytes);
    p->bytes = NULL;
    for (int i = 0; i < p->count; i++) free(p->name[i]);
    p->count = 0;
}

/* Notes what `path` holds now as promised. */
static promise *note(const char *path) {
    struct stat info;
    if (stat(path, &info) != 0) return NULL;
    promise *p = promise_of(info.st_ino);
    if (!p) {
        if (promises == DISK_INODES || (p = calloc(1, sizeof *p)) == NULL) abort();
        p->inode = info.st_ino;
        p->held = open(path, O_PATH | O_CLOEXEC);
        promised[promises++] = p;
    }
    forget(p);
    p->folder = S_ISDIR(info.st_mode);
    if (p->folder)
        list_names(p, path);
    else
        read_all(path, &p->bytes, &p->length);
    return p;
}

static void join(char out[DISK_PATH], const char *folder, const char *name) {
    if (snprintf(out, DISK_PATH, "%s/%s", folder, name) >= DISK_PATH) abort();
}

static void note_tree(const char *path) {
    char inside[DISK_PATH];
    const promise *p = note(path);
    for (int i = 0; p && i < p->count; i++) {
        join(inside, path, p->name[i]);
        note_tree(inside);
    }
}

/* --- what is left --------------------------------------------------------------------------- */

static void write_all(const char *path, const char *bytes, size_t length) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || (length && write(fd, bytes, length) != (ssize_t)length)) abort();
    close(fd);
}

/* A file with a name: its promised bytes, and something of what it was given since then. */
static void leave_file(const char *now, const promise *p, const char *left) {
    const size_t sure = p ? p->length : 0;
    size_t length = 0;
    char *bytes;
    read_all(now, &bytes, &length);
    if (length < sure || (sure && memcmp(bytes, p->bytes, sure) != 0)) {
        write_all(left, p->bytes, sure);
    } else {
        const size_t half = sure + (length - sure) / 2;
        if (disk_call % 3 == 2)
            memset(bytes + half, 0, length - half);
        else
            length = disk_call % 3 ? half : sure;
        write_all(left, bytes, length);
    }
    free(bytes);
}

static void leave_names(const char *now, const char *left) {
    promise all = {0};
    char from[DISK_PATH], to[DISK_PATH];
    struct stat info;
    mkdir(left, 0755);
    list_names(&all, now);
    for (int i = 0; i < all.count; i++) {
        join(from, now, all.name[i]);
        join(to, left, all.name[i]);
        if (stat(from, &info) != 0) continue;
        if (S_ISDIR(info.st_mode))
            leave_names(from, to);
        else
            leave_file(from, promise_of(info.st_ino), to);
    }
    forget(&all);
}

static void leave_promised(const promise *p, const char *left) {
    char to[DISK_PATH];
    mkdir(left, 0755);
    for (int i = 0; p && i < p->count; i++) {
        const promise *child = promise_of(p->child[i]);
        join(to, left, p->name[i]);
        if (p->is_folder[i])
            leave_promised(child, to);
        else
            write_all(to, child ? child->bytes : "", child ? child->length : 0);
    }
}

void kd_disk_cut(kd_cut how, const char *left) {
    void (*watcher)(const kd_fault_call *) = kd_faults_watcher;
    struct stat info;
    kd_faults_watcher = NULL;
    if (how == KD_CUT_KEEPS_NAMES)
        leave_names(disk_root, left);
    else if (stat(disk_root, &info) == 0)
        leave_promised(promise_of(info.st_ino), left);
    kd_faults_watcher = watcher;
}

/* --- watching ------------------------------------------------------------------------------- */

static bool is_promised(const char *path) {
    struct stat info;
    if (stat(path, &info) != 0) return true;
    const promise *p = promise_of(info.st_ino);
    if (!p) return false;
    promise now = {0};
    bool same;
    if (p->folder) {
        list_names(&now, path);
        same = now.count == p->count;
        for (int i = 0; same && i < now.count; i++) {
            int j = 0;
            while (j < p->count && strcmp(p->name[j], now.name[i]) != 0) j++;
            same = j < p->count && p->child[j] == now.child[i];
        }
    } else {
        read_all(path, &now.bytes, &now.length);
        same = now.length == p->length && memcmp(now.bytes, p->bytes, now.length) == 0;
    }
    forget(&now);
    return same;
}

static void breach(const char *format, const char *a, const char *b) {
    if (!disk_breach[0]) snprintf(disk_breach, sizeof disk_breach, format, a, b);
}

static void watch(const kd_fault_call *call) {
    char path[DISK_PATH];
    if (call->kind < KD_FAULT_WRITE || call->kind == KD_FAULT_CLOSE) return; /* change nothing */
    disk_call++;
    if (cut_call && disk_call == cut_call) {
        kd_disk_cut(cut_how, disk_left);
        _exit(KD_DISK_CUT);
    }
    if (call->kind == KD_FAULT_SYNC) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", call->fd);
        const promise *p = note(path);
        if (p && p->folder && unsynced_rename[0] && is_promised(unsynced_rename))
            unsynced_rename[0] = '\0';
    } else if (call->kind == KD_FAULT_RENAME) {
        if (!is_promised(call->path)) breach("%s is renamed before it is synced", call->path, "");
        if (unsynced_rename[0])
            breach("%s is renamed, %s not yet synced", call->path, unsynced_rename);
        snprintf(path, sizeof path, "%s", call->to);
        snprintf(unsynced_rename, sizeof unsynced_rename, "%s", dirname(path));
    }
}

void kd_disk_watch(const char *root) {
    kd_disk_unwatch();
    snprintf(disk_root, sizeof disk_root, "%s", root);
    disk_breach[0] = unsynced_rename[0] = '\0';
    disk_call = cut_call = 0;
    note_tree(root);
    kd_faults_watcher = watch;
}

void kd_disk_unwatch(void) {
    kd_faults_watcher = NULL;
    for (int i = 0; i < promises; i++) {
        forget(promised[i]);
        close(promised[i]->held);
        free(promised[i]);
    }
    promises = 0;
}

void kd_disk_cut_at(long n, kd_cut how, const char *left) {
    snprintf(disk_left, sizeof disk_left, "%s", left);
    cut_call = disk_call + n;
    cut_how = how;
}

static void find_unpromised(const char *path, const char *const *except) {
    const char *slash = strrchr(path, '/');
    promise names = {0};
    char inside[DISK_PATH];
    for (const char *const *name = except; *name; name++)
        if (strcmp(slash ? slash + 1 : path, *name) == 0) return;
    if (!is_promised(path)) breach("%s would not survive a power cut%s", path, "");
    list_names(&names, path);
    for (int i = 0; i < names.count; i++) {
        join(inside, path, names.name[i]);
        find_unpromised(inside, except);
    }
    forget(&names);
}

const char *kd_disk_breach(const char *const *except) {
    void (*watcher)(const kd_fault_call *) = kd_faults_watcher;
    kd_faults_watcher = NULL;
    if (unsynced_rename[0]) breach("%s: not synced after a rename in it%s", unsynced_rename, "");
    find_unpromised(disk_root, except);
    kd_faults_watcher = watcher;
    return disk_breach;
}
