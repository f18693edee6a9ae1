#include "tasks/speech/encoder_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "autograd/gemm.h"
#include "base/error.h"
#include "base/flow.h"
#include "base/log.h"
#include "base/open_files.h"
#include "base/ranks.h"
#include "base/shards.h"
#include "base/size.h"
#include "distill/trainer.h"

enum { AHEAD = 8 }; /* windows that a rank may be ahead of another */

static const char MAGIC[8] = {'k', 'd', 'e', 'n', 'c', 'o', 'd', '1'};

/* As they lie in the file. */
typedef struct {
    char magic[8], key[32];
    int64_t records, positions, width;
} shard_header;

typedef struct {
    uint64_t id, checksum;
} record_header;

struct kd_encoder_cache {
    kd_shards cache;      /* its folder is "": none */
    kd_open_files *files; /* of the cache, by shard */
    const kd_windows *windows;
    const kd_whisper *encoder;
    kd_hash key;
    int64_t values; /* of a window's output: positions · width        */
    bool *there;    /* (shards) which are whole                       */
    int64_t shards;
    kd_tape *tape; /* scratch                                        */
    kd_real *mel;  /* (frames, mels)                                 */
    kd_real *made; /* (positions, width)                             */
    char *record;  /* one record: its header and bfloat16            */
};

static int64_t record_bytes(int64_t values) {
    return (int64_t)sizeof(record_header) + values * (int64_t)sizeof(uint16_t);
}

static int64_t in_shard(const kd_encoder_cache *e, int64_t shard) {
    const int64_t left = e->windows->count - shard * KD_ENCODER_CACHE_IN_SHARD;
    return left < KD_ENCODER_CACHE_IN_SHARD ? left : KD_ENCODER_CACHE_IN_SHARD;
}

static int64_t shards_of(const kd_windows *windows) {
    return (windows->count + KD_ENCODER_CACHE_IN_SHARD - 1) / KD_ENCODER_CACHE_IN_SHARD;
}

int64_t kd_encoder_cache_bytes(const kd_windows *windows, const kd_whisper_spec *spec) {
    const int64_t values = (int64_t)spec->audio_context * spec->width;
    return shards_of(windows) * (int64_t)sizeof(shard_header) +
           windows->count * record_bytes(values);
}

/* --- bfloat16 ----------------------------------------------------------------------------------
 */

/* The upper halves of x, rounded to the nearest. */
static void round_values(uint16_t *out, const kd_real *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        const float rounded = kd_round_bfloat16((float)x[i]);
        uint32_t bits;
        memcpy(&bits, &rounded, sizeof bits);
        out[i] = (uint16_t)(bits >> 16);
    }
}

static void widen_values(kd_real *out, const uint16_t *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        const uint32_t bits = (uint32_t)x[i] << 16;
        float value;
        memcpy(&value, &bits, sizeof value);
        out[i] = (kd_real)value;
    }
}

/* --- shards ------------------------------------------------------------------------------------
 */

static shard_header header_of(const kd_encoder_cache *e, int64_t shard) {
    shard_header h = {.records = in_shard(e, shard),
                      .positions = e->encoder->spec.audio_context,
                      .width = e->encoder->spec.width};
    memcpy(h.magic, MAGIC, sizeof h.magic);
    memcpy(h.key, e->key.hex, sizeof h.key);
    return h;
}

/* *fault says why a shard of `size` bytes is to be made again, or is NULL; one of another cache is
 * refused. */
static int check_header(const kd_encoder_cache *e, int64_t shard, int fd, const char *path,
                        int64_t size, const char **fault) {
    const shard_header wanted = header_of(e, shard);
    const int64_t length = (int64_t)sizeof wanted + wanted.records * record_bytes(e->values);
    shard_header found;
    *fault = "it is cut short";
    if (size < (int64_t)sizeof found) return KD_OK;
    int status = kd_file_read_at(fd, path, &found, sizeof found, 0);
    if (status < 0) return status;
    *fault = "it does not begin as an encoder's outputs do";
    if (memcmp(found.magic, MAGIC, sizeof MAGIC) != 0) return KD_OK;
    if (memcmp(&found, &wanted, sizeof found) != 0)
        return kd_fail(KD_EDATA,
                       "%s: made from other windows or by another encoder; remove %s to make it "
                       "again",
                       path, e->cache.folder);
    *fault = size == length ? NULL : "it is not as long as its windows";
    return KD_OK;
}

static int find_shard(kd_encoder_cache *e, int64_t shard) {
    char path[KD_PATH_MAX];
    const char *fault = NULL;
    struct stat info;
    int fd, status = kd_shards_path(&e->cache, shard, path);
    if (status == KD_OK) status = kd_open_files_take(e->files, shard, path, &fd);
    if (status < 0) return status;
    if (fstat(fd, &info) < 0)
        status = kd_fail(KD_EIO, "%s: cannot examine: %s", path, strerror(errno));
    else
        status = check_header(e, shard, fd, path, info.st_size, &fault);
    kd_open_files_give_back(e->files, shard);
    e->there[shard] = status == KD_OK && !fault;
    if (status == KD_OK && fault) kd_warn("%s: made again: %s", path, fault);
    return status;
}

/* --- opening -----------------------------------------------------------------------------------
 */

static int allocate(kd_encoder_cache *e) {
    const size_t bytes = kd_array_bytes(e->values, sizeof *e->made);
    e->shards = shards_of(e->windows);
    e->there = calloc(kd_array_bytes(e->shards, 1), sizeof *e->there);
    e->mel = malloc(kd_array_bytes(e->windows->features.values, sizeof *e->mel));
    e->made = malloc(bytes);
    e->record = malloc(kd_array_bytes(record_bytes(e->values), 1));
    if (!e->there || !e->mel || !e->made || !e->record)
        return kd_fail_memory(bytes, "an encoder's outputs");
    int status = kd_open_files_create(&e->files);
    return status < 0 ? status : kd_tape_create(&e->tape, 0);
}

static int find_shards(kd_encoder_cache *e, const char *folder) {
    int64_t *number = NULL, count = 0;
    int status = kd_shards_init(&e->cache, folder, "encoded", ".bin");
    if (status == KD_OK) status = kd_file_make_folders(folder);
    if (status == KD_OK) status = kd_shards_list(&e->cache, &number, &count);
    for (int64_t i = 0; i < count && status == KD_OK && number[i] < e->shards; i++)
        status = find_shard(e, number[i]);
    free(number);
    return status;
}

int kd_encoder_cache_open(kd_encoder_cache **out, const char *folder, const kd_windows *windows,
                          const kd_whisper *encoder, kd_precision precision, kd_hash key) {
    const kd_whisper_spec *spec = &encoder->spec;
    KD_CONTRACT(spec->mels == windows->features.mels &&
                    2 * (int64_t)spec->audio_context == windows->features.frames,
                "windows of %lld frames for an encoder of %d positions",
                (long long)windows->features.frames, spec->audio_context);
    *out = NULL;
    kd_encoder_cache *e = calloc(1, sizeof *e);
    if (!e) return kd_fail_memory(sizeof *e, "an encoder's outputs");
    e->windows = windows;
    e->encoder = encoder;
    e->key = kd_hash_join((const kd_hash[]){key, windows->hash}, 2);
    e->values = (int64_t)spec->audio_context * spec->width;
    int status = allocate(e);
    if (status == KD_OK) e->tape->precision = precision;
    if (status == KD_OK && folder) status = find_shards(e, folder);
    if (status < 0)
        kd_encoder_cache_close(e);
    else
        *out = e;
    return status;
}

void kd_encoder_cache_close(kd_encoder_cache *encoded) {
    if (!encoded) return;
    kd_open_files_free(encoded->files);
    kd_tape_free(encoded->tape);
    free(encoded->there);
    free(encoded->mel);
    free(encoded->made);
    free(encoded->record);
    free(encoded);
}

/* --- making ------------------------------------------------------------------------------------
 */

/* Runs the encoder on window i: e->record is its record. */
static int make_record(kd_encoder_cache *e, int64_t i) {
    record_header h = {.id = e->windows->item[i].id};
    char *values = e->record + sizeof h;
    int status = kd_windows_mel(e->windows, i, e->mel);
    if (status == KD_OK)
        status =
            kd_whisper_encode(e->encoder, e->tape, e->made, e->mel, 1, e->windows->features.frames);
    if (status < 0) return status;
    round_values((uint16_t *)(void *)values, e->made, e->values);
    h.checksum = kd_checksum64(values, (size_t)e->values * sizeof(uint16_t));
    memcpy(e->record, &h, sizeof h);
    return KD_OK;
}

/* The windows of the missing shards, which the ranks share; each shard is one rank's to write. */
typedef struct {
    kd_encoder_cache *e;
    int64_t *missing, count; /* the numbers of those shards, rising      */
    int64_t before, windows; /* that were there; that are missing        */
    char *shard;             /* the one that is being put together here  */
    kd_progress progress;
} filling;

static int64_t shard_of(const filling *f, int64_t piece) {
    return f->missing[piece / KD_ENCODER_CACHE_IN_SHARD];
}

static int make_window(void *context, int64_t piece, kd_flow_bytes *out) {
    const filling *f = context;
    kd_encoder_cache *e = f->e;
    const size_t bytes = kd_array_bytes(record_bytes(e->values), 1);
    const int64_t first = shard_of(f, piece) * KD_ENCODER_CACHE_IN_SHARD;
    char *record = kd_flow_room(out, bytes);
    int status = record ? make_record(e, first + piece % KD_ENCODER_CACHE_IN_SHARD) : KD_EINTERNAL;
    if (status == KD_OK) memcpy(record, e->record, bytes);
    return status;
}

static int writer_of(const void *context, int64_t piece) {
    (void)context;
    return (int)(piece / KD_ENCODER_CACHE_IN_SHARD % kd_rank_count());
}

/* The whole shard in memory (a few dozen megabytes), then on disk. */
static int keep_window(void *context, int64_t piece, const void *record, size_t length) {
    filling *f = context;
    kd_encoder_cache *e = f->e;
    const int64_t shard = shard_of(f, piece), at = piece % KD_ENCODER_CACHE_IN_SHARD;
    const shard_header h = header_of(e, shard);
    memcpy(f->shard + sizeof h + (size_t)at * length, record, length);
    if (at + 1 < h.records) return KD_OK;
    memcpy(f->shard, &h, sizeof h);
    return kd_shards_write(&e->cache, shard, f->shard, sizeof h + (size_t)h.records * length);
}

static void show_windows(void *context, int64_t done) {
    filling *f = context;
    kd_progress_show(&f->progress, f->before + done, "");
}

static int fill_missing(filling *f) {
    kd_encoder_cache *e = f->e;
    const kd_flow flow = {.count = f->windows,
                          .ahead = AHEAD,
                          .context = f,
                          .make = make_window,
                          .keeper = writer_of,
                          .keep = keep_window,
                          .stop = kd_train_stop_asked,
                          .show = show_windows};
    int64_t done;
    kd_progress_begin(&f->progress, "encode", "windows", 1, f->before, e->windows->count);
    int status = kd_flow_run(&flow, &done);
    kd_progress_end(&f->progress);
    if (status == KD_OK) status = kd_shards_await(&e->cache, f->missing, f->count);
    if (status == KD_OK)
        for (int64_t i = 0; i < f->count; i++) e->there[f->missing[i]] = true;
    if (status != KD_EAGAIN) return status;
    kd_train_take_stop();
    done -= done % KD_ENCODER_CACHE_IN_SHARD;
    return kd_ranks_worst(
        kd_fail(KD_EAGAIN, "%s: stopped after %lld of %lld windows; run again to go on",
                e->cache.folder, (long long)(f->before + done), (long long)e->windows->count));
}

int kd_encoder_cache_fill(kd_encoder_cache *encoded) {
    const size_t numbers = (size_t)encoded->shards * sizeof(int64_t);
    const size_t bytes =
        sizeof(shard_header) + KD_ENCODER_CACHE_IN_SHARD * (size_t)record_bytes(encoded->values);
    filling f = {.e = encoded, .missing = malloc(numbers), .shard = malloc(bytes)};
    KD_CONTRACT(encoded->cache.folder[0], "no folder to fill");
    int status = kd_ranks_worst(
        f.missing && f.shard ? KD_OK : kd_fail_memory(numbers + bytes, "an encoder's outputs"));
    kd_ranks_share(encoded->there, (size_t)encoded->shards * sizeof *encoded->there);
    for (int64_t s = 0; s < encoded->shards && status == KD_OK; s++) {
        if (encoded->there[s]) {
            f.before += in_shard(encoded, s);
        } else {
            f.missing[f.count++] = s;
            f.windows += in_shard(encoded, s);
        }
    }
    if (status == KD_OK) status = fill_missing(&f);
    free(f.missing);
    free(f.shard);
    return status;
}

/* --- reading -----------------------------------------------------------------------------------
 */

/* Where in its shard the record of window i begins. */
static int64_t record_place(const kd_encoder_cache *e, int64_t i) {
    return (int64_t)sizeof(shard_header) + i % KD_ENCODER_CACHE_IN_SHARD * record_bytes(e->values);
}

void kd_encoder_cache_expect(kd_encoder_cache *e, int64_t i) {
    const int64_t shard = i / KD_ENCODER_CACHE_IN_SHARD;
    char path[KD_PATH_MAX];
    int fd;
    if (!e->there[shard] || kd_shards_path(&e->cache, shard, path) < 0 ||
        kd_open_files_take(e->files, shard, path, &fd) < 0)
        return;
    posix_fadvise(fd, record_place(e, i), record_bytes(e->values), POSIX_FADV_WILLNEED);
    kd_open_files_give_back(e->files, shard);
}

static int read_record(kd_encoder_cache *e, int64_t i) {
    const int64_t shard = i / KD_ENCODER_CACHE_IN_SHARD, bytes = record_bytes(e->values);
    const int64_t at = record_place(e, i);
    char path[KD_PATH_MAX];
    record_header h;
    int fd, status = kd_shards_path(&e->cache, shard, path);
    if (status == KD_OK) status = kd_open_files_take(e->files, shard, path, &fd);
    if (status < 0) return status;
    status = kd_file_read_at(fd, path, e->record, (size_t)bytes, at);
    kd_open_files_give_back(e->files, shard);
    if (status < 0) return status;
    memcpy(&h, e->record, sizeof h);
    if (h.id == e->windows->item[i].id &&
        h.checksum == kd_checksum64(e->record + sizeof h, (size_t)e->values * sizeof(uint16_t)))
        return KD_OK;
    return kd_fail(KD_EDATA,
                   "%s: the record at byte %lld is damaged; remove the file to make it again", path,
                   (long long)at);
}

int kd_encoder_cache_read(kd_encoder_cache *encoded, int64_t i, kd_real *out) {
    KD_CONTRACT(i >= 0 && i < encoded->windows->count, "window %lld of %lld", (long long)i,
                (long long)encoded->windows->count);
    int status = encoded->there[i / KD_ENCODER_CACHE_IN_SHARD] ? read_record(encoded, i)
                                                               : make_record(encoded, i);
    if (status < 0) return status;
    widen_values(out, (const uint16_t *)(const void *)(encoded->record + sizeof(record_header)),
                 encoded->values);
    return KD_OK;
}
