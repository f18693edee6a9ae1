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
#include "base/log.h"
#include "base/order.h"
#include "data/sound.h"
#include "distill/trainer.h"
#include "tasks/speech/features.h"

enum { AT_ONCE = 64, PIECE = 1 << 16, NAMED_MOST = 20 };

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

static int each(kd_recordings *r, const char *what, int (*work)(kd_recording *, const char *)) {
    kd_progress progress;
    int status = KD_OK;
    kd_progress_begin(&progress, what, "recordings", 1, 0, r->count);
    for (int64_t first = 0; first < r->count && status == KD_OK; first += AT_ONCE) {
        const int64_t end = first + AT_ONCE < r->count ? first + AT_ONCE : r->count;
        if (first > 0 && kd_train_take_stop()) {
            status = kd_fail(KD_EAGAIN, "%s: stopped at recording %lld of %lld; run again", what,
                             (long long)first, (long long)r->count);
            break;
        }
#pragma omp parallel for schedule(dynamic, 1)
        for (int64_t i = first; i < end; i++) {
            int found = work(&r->item[i], r->utterances->item[i].audio);
            if (kd_features_is_fault(found)) found = kd_recordings_set_fault(r, i, kd_error());
            if (found == KD_OK) continue;
#pragma omp critical(kd_recordings)
            status = found;
        }
        if (status < 0) status = kd_fail_memory(PIECE, what);
        kd_progress_show(&progress, end, "");
    }
    kd_progress_end(&progress);
    return status;
}

int kd_recordings_look(kd_recordings *out, const kd_utterances *utterances) {
    const size_t bytes = (size_t)utterances->count * sizeof *out->item;
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
    const size_t bytes = (size_t)(among->count + 1) * sizeof(entry);
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
    int64_t *size = malloc((size_t)(of->count + 1) * sizeof *size);
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
