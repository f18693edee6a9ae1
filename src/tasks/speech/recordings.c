#include "tasks/speech/recordings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/flow.h"
#include "base/log.h"
#include "base/order.h"
#include "base/ranks.h"
#include "base/size.h"
#include "data/sound.h"
#include "distill/trainer.h"
#include "tasks/speech/features.h"

/* Recordings of a piece of work, and pieces that a rank may be ahead of another. */
enum { AT_ONCE = 64, AHEAD = 2 };
enum { PIECE = 1 << 16, NAMED_MOST = 20 };

void kd_recordings_clear(kd_recordings *recordings) {
    for (int64_t i = 0; i < recordings->count; i++) free(recordings->item[i].fault);
    free(recordings->item);
    *recordings = (kd_recordings){0};
}

int kd_recordings_set_fault(kd_recordings *recordings, int64_t i, const char *message) {
    const char *path = recordings->utterances->item[i].audio;
    const size_t length = strlen(path);
    if (strncmp(message, path, length) == 0 && strncmp(message + length, ": ", 2) == 0)
        message += length + 2;
    recordings->item[i].fault = strdup(message);
    return recordings->item[i].fault ? KD_OK : kd_fail_memory(strlen(message) + 1, "recordings");
}

/* --- content -----------------------------------------------------------------------------------
 */

static int read_pieces(kd_checksum *sum, int64_t *length, int fd, const char *path) {
    char *piece = malloc(PIECE);
    int status = piece ? KD_OK : kd_fail_memory(PIECE, "a sound file");
    *length = 0;
    while (status == KD_OK) {
        const ssize_t got = read(fd, piece, PIECE);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) status = kd_fail(KD_EIO, "%s: cannot read: %s", path, strerror(errno));
        if (got <= 0) break;
        kd_checksum_add(sum, piece, (size_t)got);
        *length += got;
    }
    free(piece);
    return status;
}

static int hash_file(kd_recording *out, const char *path) {
    struct stat info;
    kd_checksum *sum;
    int64_t named[2];
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return kd_fail(errno == ENOENT || errno == ENOTDIR ? KD_ENOINPUT : KD_EIO, "%s: %s", path,
                       strerror(errno));
    int status = kd_checksum_create(&sum);
    if (status == KD_OK && (fstat(fd, &info) < 0 || !S_ISREG(info.st_mode)))
        status = kd_fail(KD_EDATA, "%s: not a file", path);
    if (status == KD_OK) status = read_pieces(sum, &named[0], fd, path);
    close(fd);
    if (status == KD_OK) {
        named[1] = (int64_t)kd_checksum_value(sum);
        out->sound = kd_hash_bytes(named, sizeof named);
        out->bytes = named[0];
    }
    kd_checksum_free(sum);
    return status;
}

static int look_at(kd_recording *out, const char *path) {
    const int status = hash_file(out, path);
    out->missing = status == KD_ENOINPUT;
    return status;
}

/* --- sound -------------------------------------------------------------------------------------
 */

static int decode_file(kd_recording *recording, const char *path) {
    kd_sound *sound;
    int64_t got = PIECE;
    if (recording->fault) return KD_OK;
    float *samples = malloc(PIECE * sizeof *samples);
    if (!samples) return kd_fail_memory(PIECE * sizeof *samples, "a sound");
    int status = kd_sound_open(&sound, path, KD_WHISPER_RATE, 0);
    if (status == KD_OK) {
        while (status == KD_OK && got == PIECE) status = kd_sound_read(sound, samples, PIECE, &got);
        kd_sound_close(sound);
    }
    free(samples);
    return status;
}

/* --- all of them -------------------------------------------------------------------------------
 */

/* Work over a list, whose pieces of AT_ONCE recordings the ranks share. */
typedef struct {
    kd_recordings *list;
    int (*work)(kd_recording *recording, const char *path);
    kd_progress progress;
} passage;

static int64_t piece_of(const passage *p, int64_t piece, int64_t *first) {
    *first = piece * AT_ONCE;
    return kd_smaller(AT_ONCE, p->list->count - *first);
}

/* n recordings as bytes: what is known of each, then their faults, "" for none. */
static int pack(kd_flow_bytes *out, const kd_recording *item, int64_t n) {
    size_t length = (size_t)n * sizeof *item;
    for (int64_t i = 0; i < n; i++) length += (item[i].fault ? strlen(item[i].fault) : 0) + 1;
    char *bytes = kd_flow_room(out, length);
    if (!bytes) return KD_EINTERNAL;
    memcpy(bytes, item, (size_t)n * sizeof *item);
    char *fault = bytes + (size_t)n * sizeof *item;
    for (int64_t i = 0; i < n; i++)
        fault += sprintf(fault, "%s", item[i].fault ? item[i].fault : "") + 1;
    return KD_OK;
}

static int unpack(kd_recording *item, int64_t n, const char *bytes) {
    const char *fault = bytes + (size_t)n * sizeof *item;
    for (int64_t i = 0; i < n; i++, fault += strlen(fault) + 1) {
        free(item[i].fault);
        memcpy(&item[i], bytes + (size_t)i * sizeof *item, sizeof *item);
        item[i].fault = *fault ? strdup(fault) : NULL;
        if (*fault && !item[i].fault) return kd_fail_memory(strlen(fault), "recordings");
    }
    return KD_OK;
}

static int make_piece(void *context, int64_t piece, kd_flow_bytes *out) {
    const passage *p = context;
    kd_recordings *r = p->list;
    int64_t first;
    const int64_t n = piece_of(p, piece, &first);
    int status = KD_OK;
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t i = first; i < first + n; i++) {
        int found = p->work(&r->item[i], r->utterances->item[i].audio);
        if (kd_features_is_fault(found)) found = kd_recordings_set_fault(r, i, kd_error());
        if (found == KD_OK) continue;
#pragma omp critical(kd_recordings)
        status = found;
    }
    return status < 0 ? kd_fail_memory(PIECE, "recordings") : pack(out, r->item + first, n);
}

static int keep_piece(void *context, int64_t piece, const void *bytes, size_t length) {
    const passage *p = context;
    int64_t first;
    const int64_t n = piece_of(p, piece, &first);
    (void)length;
    return unpack(p->list->item + first, n, bytes);
}

static void show_pieces(void *context, int64_t pieces) {
    passage *p = context;
    kd_progress_show(&p->progress, kd_smaller(pieces * AT_ONCE, p->list->count), "");
}

/* What the first rank knows of all, to all. */
static int share(kd_recordings *r) {
    kd_flow_bytes all = {0};
    if (kd_rank_count() == 1) return KD_OK;
    int status = kd_ranks_worst(kd_rank_first() ? pack(&all, r->item, r->count) : KD_OK);
    size_t length = all.length;
    kd_ranks_share(&length, sizeof length);
    if (status == KD_OK) status = kd_ranks_worst(kd_flow_room(&all, length) ? KD_OK : KD_EINTERNAL);
    if (status == KD_OK) {
        kd_ranks_share(all.bytes, length);
        if (!kd_rank_first()) status = unpack(r->item, r->count, all.bytes);
        status = kd_ranks_worst(status);
    }
    free(all.bytes);
    return status;
}

static int each(kd_recordings *r, const char *what, int (*work)(kd_recording *, const char *)) {
    passage p = {.list = r, .work = work};
    const kd_flow flow = {.count = (r->count + AT_ONCE - 1) / AT_ONCE,
                          .ahead = AHEAD,
                          .context = &p,
                          .make = make_piece,
                          .keep = keep_piece,
                          .stop = kd_train_stop_asked,
                          .show = show_pieces};
    int64_t pieces;
    kd_progress_begin(&p.progress, what, "recordings", 1, 0, r->count);
    int status = kd_flow_run(&flow, &pieces);
    kd_progress_end(&p.progress);
    if (status == KD_OK) return share(r);
    if (status != KD_EAGAIN) return status;
    kd_train_take_stop();
    return kd_ranks_worst(kd_fail(KD_EAGAIN, "%s: stopped at recording %lld of %lld; run again",
                                  what, (long long)(pieces * AT_ONCE), (long long)r->count));
}

int kd_recordings_look(kd_recordings *out, const kd_utterances *utterances) {
    const size_t bytes = kd_array_bytes(utterances->count, sizeof *out->item);
    *out = (kd_recordings){.utterances = utterances, .item = calloc(1, bytes + 1)};
    if (!out->item) return kd_fail_memory(bytes, "a list of recordings");
    out->count = utterances->count;
    return each(out, "look", look_at);
}

int kd_recordings_decode(kd_recordings *recordings) {
    return each(recordings, "check", decode_file);
}

int64_t kd_recordings_faults(const kd_recordings *recordings) {
    int64_t count = 0;
    for (int64_t i = 0; i < recordings->count; i++) count += recordings->item[i].fault != NULL;
    return count;
}

void kd_recordings_name_faults(const kd_recordings *recordings, int64_t most) {
    char place[KD_PATH_MAX + 32];
    int64_t named = 0;
    for (int64_t i = 0; i < recordings->count; i++) {
        if (!recordings->item[i].fault || (most > 0 && named >= most)) continue;
        kd_utterance_place(place, sizeof place, &recordings->utterances->item[i]);
        kd_log("%s%s: %s", place, recordings->utterances->item[i].audio, recordings->item[i].fault);
        named++;
    }
    const int64_t more = kd_recordings_faults(recordings) - named;
    if (more > 0) kd_log("and %lld more", (long long)more);
}

int kd_recordings_refuse(const kd_recordings *recordings, const char *what, const char *remedy) {
    const int64_t faults = kd_recordings_faults(recordings);
    int64_t missing = 0;
    for (int64_t i = 0; i < recordings->count; i++) missing += recordings->item[i].missing;
    kd_recordings_name_faults(recordings, NAMED_MOST);
    return kd_fail(missing == faults ? KD_ENOINPUT : KD_EDATA,
                   "%s: %lld of %lld recordings cannot be read; %s", what, (long long)faults,
                   (long long)recordings->count, remedy);
}

/* --- the same content --------------------------------------------------------------------------
 */

typedef struct {
    const kd_hash *sound;
    int64_t place;
} entry;

static int by_sound(const void *a, const void *b) {
    const entry *x = a, *y = b;
    const int order = strcmp(x->sound->hex, y->sound->hex);
    return order ? order : (x->place > y->place) - (x->place < y->place);
}

int kd_recordings_match(int64_t *out, const kd_recordings *of, const kd_recordings *among) {
    const size_t bytes = kd_array_bytes(among->count + 1, sizeof(entry));
    entry *sorted = malloc(bytes);
    if (!sorted) return kd_fail_memory(bytes, "a list of recordings");
    for (int64_t i = 0; i < among->count; i++) sorted[i] = (entry){&among->item[i].sound, i};
    qsort(sorted, (size_t)among->count, sizeof *sorted, by_sound);
    for (int64_t i = 0; i < of->count; i++) {
        int64_t low = 0, high = among->count;
        const char *sound = of->item[i].sound.hex;
        while (low < high) {
            const int64_t middle = (low + high) / 2;
            if (strcmp(sorted[middle].sound->hex, sound) < 0)
                low = middle + 1;
            else
                high = middle;
        }
        const bool found =
            *sound && low < among->count && strcmp(sorted[low].sound->hex, sound) == 0;
        out[i] = found ? sorted[low].place : -1;
    }
    free(sorted);
    return KD_OK;
}

/* Names those of `among` that are as large as one of `size` (count, rising) by their content. */
static int look_at_sizes(kd_recordings *among, const int64_t *size, int64_t count) {
    int status = KD_OK;
#pragma omp parallel for schedule(dynamic, 16)
    for (int64_t i = 0; i < among->count; i++) {
        const char *path = among->utterances->item[i].audio;
        struct stat info;
        const int64_t bytes = stat(path, &info) == 0 ? (int64_t)info.st_size : -1;
        if (!bsearch(&bytes, size, (size_t)count, sizeof *size, kd_order_integers)) continue;
        const int found = look_at(&among->item[i], path);
        if (found == KD_OK || kd_features_is_fault(found)) continue; /* unreadable: like nothing */
#pragma omp critical(kd_recordings)
        status = found;
    }
    return status < 0 ? kd_fail_memory(PIECE, "recordings") : KD_OK;
}

int kd_recordings_find(int64_t *out, const kd_recordings *of, const kd_utterances *among) {
    kd_recordings other = {.utterances = among};
    int64_t *size = malloc(kd_array_bytes(of->count + 1, sizeof *size));
    other.item = calloc((size_t)among->count + 1, sizeof *other.item);
    other.count = other.item ? among->count : 0;
    int status = size && other.item ? KD_OK : kd_fail_memory((size_t)of->count, "recordings");
    if (status == KD_OK) {
        for (int64_t i = 0; i < of->count; i++) size[i] = of->item[i].bytes;
        qsort(size, (size_t)of->count, sizeof *size, kd_order_integers);
        status = look_at_sizes(&other, size, of->count);
        if (status == KD_OK) status = kd_recordings_match(out, of, &other);
    }
    free(size);
    kd_recordings_clear(&other);
    return status;
}
