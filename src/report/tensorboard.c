#include "report/tensorboard.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"

enum { RECORD_MAX = 4096, HEAD = 12 /* length and its checksum */, NAME_MAX_BYTES = 128 };

struct kd_tensorboard {
    int fd;
    char path[KD_PATH_MAX];
    uint32_t crc[256];
};

/* --- checksums -------------------------------------------------------------------------------- */

static void make_table(uint32_t table[256]) {
    const uint32_t castagnoli = 0x82f63b78; /* reflected */
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? castagnoli : 0);
        table[i] = crc;
    }
}

static uint32_t masked_crc(const uint32_t table[256], const uint8_t *bytes, size_t length) {
    uint32_t crc = ~0U;
    for (size_t i = 0; i < length; i++) crc = crc >> 8 ^ table[(crc ^ bytes[i]) & 0xff];
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xa282ead8U;
}

/* --- messages --------------------------------------------------------------------------------- */

typedef struct {
    uint8_t bytes[RECORD_MAX];
    size_t length;
} message;

static void put(message *m, const void *bytes, size_t length) {
    KD_CONTRACT(m->length + length <= sizeof m->bytes, "an event of more than %d bytes",
                RECORD_MAX);
    memcpy(m->bytes + m->length, bytes, length);
    m->length += length;
}

static void put_little(message *m, uint64_t value, int bytes) {
    uint8_t out[8];
    for (int i = 0; i < bytes; i++) out[i] = (uint8_t)(value >> (8 * i));
    put(m, out, (size_t)bytes);
}

static void put_varint(message *m, uint64_t value) {
    for (; value > 0x7f; value >>= 7) put(m, &(uint8_t){(uint8_t)(value | 0x80)}, 1);
    put(m, &(uint8_t){(uint8_t)value}, 1);
}

/* Wire types of protocol buffers. */
enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

static void put_key(message *m, uint32_t field, uint32_t type) {
    put_varint(m, field << 3 | type);
}

static void put_bytes(message *m, uint32_t field, const void *bytes, size_t length) {
    put_key(m, field, BYTES);
    put_varint(m, length);
    put(m, bytes, length);
}

/* A record with the beginning of an event; its head is filled in by write_record. */
static message begin_event(int64_t step) {
    struct timespec now;
    uint64_t bits;
    message m = {.length = HEAD};
    clock_gettime(CLOCK_REALTIME, &now);
    const double seconds = (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
    memcpy(&bits, &seconds, sizeof bits);
    put_key(&m, 1, FIXED64);
    put_little(&m, bits, 8);
    put_key(&m, 2, VARINT);
    put_varint(&m, (uint64_t)step);
    return m;
}

static int write_record(const kd_tensorboard *board, message *m) {
    const size_t length = m->length - HEAD;
    message head = {0};
    put_little(&head, length, 8);
    put_little(&head, masked_crc(board->crc, head.bytes, 8), 4);
    memcpy(m->bytes, head.bytes, HEAD);
    put_little(m, masked_crc(board->crc, m->bytes + HEAD, length), 4);
    for (size_t done = 0; done < m->length;) {
        const ssize_t n = write(board->fd, m->bytes + done, m->length - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return kd_fail(KD_EIO, "%s: cannot write: %s", board->path, strerror(errno));
        done += (size_t)n;
    }
    return KD_OK;
}

/* --- files ------------------------------------------------------------------------------------ */

static int write_opening(const kd_tensorboard *board, int64_t step) {
    static const char version[] = "brain.Event:2";
    message m = begin_event(0);
    put_bytes(&m, 3, version, sizeof version - 1);
    int status = write_record(board, &m);
    if (status < 0) return status;
    static const uint8_t start[] = {1 << 3 | VARINT, 1};
    m = begin_event(step);
    put_bytes(&m, 7, start, sizeof start);
    return write_record(board, &m);
}

static int name_file(kd_tensorboard *board, const char *folder) {
    char host[65] = "", name[160];
    if (gethostname(host, sizeof host - 1) < 0 || !host[0] || strchr(host, '/'))
        snprintf(host, sizeof host, "localhost");
    snprintf(name, sizeof name, "events.out.tfevents.%010lld.%s.%lld", (long long)time(NULL), host,
             (long long)getpid());
    return kd_path_join(board->path, folder, name);
}

int kd_tensorboard_open(kd_tensorboard **out, const char *folder, int64_t step) {
    kd_tensorboard *board = calloc(1, sizeof *board);
    if (!board) return kd_fail_memory(sizeof *board, folder);
    board->fd = -1;
    make_table(board->crc);
    int status = name_file(board, folder);
    if (status == KD_OK) status = kd_file_make_folders(folder);
    if (status == KD_OK) {
        board->fd = open(board->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        if (board->fd < 0)
            status = kd_fail(KD_EIO, "%s: cannot open: %s", board->path, strerror(errno));
    }
    if (status == KD_OK) status = write_opening(board, step);
    if (status < 0) {
        kd_tensorboard_close(board);
        return status;
    }
    *out = board;
    return KD_OK;
}

void kd_tensorboard_close(kd_tensorboard *board) {
    if (!board) return;
    if (board->fd >= 0) close(board->fd);
    free(board);
}

static void put_scalar(message *summary, const kd_scalar *scalar) {
    message value = {0};
    const float number = (float)scalar->value;
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    put_bytes(&value, 1, scalar->name, strnlen(scalar->name, NAME_MAX_BYTES));
    put_key(&value, 2, FIXED32);
    put_little(&value, bits, 4);
    put_bytes(summary, 1, value.bytes, value.length);
}

int kd_tensorboard_add(kd_tensorboard *board, int64_t step, int count, const kd_scalar *scalar) {
    message summary = {0};
    for (int i = 0; i < count; i++)
        if (isfinite(scalar[i].value)) put_scalar(&summary, &scalar[i]);
    if (summary.length == 0) return KD_OK;
    message m = begin_event(step);
    put_bytes(&m, 5, summary.bytes, summary.length);
    return write_record(board, &m);
}
