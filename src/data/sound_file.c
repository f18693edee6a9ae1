#include "data/sound_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

int kd_sound_check_format(const char *name, int64_t channels, int64_t rate) {
    if (channels < 1 || channels > KD_SOUND_CHANNELS_MAX)
        return kd_fail(KD_EDATA, "%s: %lld channels, should be 1 to %d", name, (long long)channels,
                       (int)KD_SOUND_CHANNELS_MAX);
    if (rate < KD_SOUND_RATE_MIN || rate > KD_SOUND_RATE_MAX)
        return kd_fail(KD_EDATA, "%s: sample rate %lld Hz, should be %d to %d", name,
                       (long long)rate, (int)KD_SOUND_RATE_MIN, (int)KD_SOUND_RATE_MAX);
    return KD_OK;
}

int kd_sound_damaged(const kd_sound_part *part, int64_t decoded, int64_t stated, const char *why) {
    const char *name = part->file->name;
    char of[32] = "";
    if (stated > 0) snprintf(of, sizeof of, " of %lld", (long long)stated);
    return kd_fail(
        KD_EDATA,
        "%s: cut short or damaged: %lld%s frames can be decoded%s%s; get the file again, "
        "or keep what is there: `ffmpeg -i %s sound.flac`",
        name, (long long)decoded, of, why ? ": " : "", why ? why : "", name);
}

/* What looks damaged, or complete, may be a medium that fails. */
static int64_t blame(const kd_sound_file *file, int64_t status) {
    if (file->bytes.error == 0) return status;
    return kd_fail(KD_EIO, "%s: cannot read: %s", file->bytes.name, strerror(file->bytes.error));
}

static int find_parts(kd_sound_file *file) {
    bool found = true;
    for (int64_t at = 0; found; at = file->part[file->parts - 1].to) {
        kd_sound_part part;
        int status = kd_sound_part_find(&part, &found, &file->bytes, at);
        if (status < 0) return status;
        if (!found) break;
        const size_t n = (size_t)file->parts + 1;
        kd_sound_part *longer = realloc(file->part, n * sizeof *longer);
        if (!longer) return kd_fail_memory(n * sizeof *longer, file->bytes.name);
        file->part = longer;
        file->part[file->parts++] = part;
        found = part.to > at && part.to < file->bytes.length;
    }
    return KD_OK;
}

static int begin_part(kd_sound_file *file) {
    if (file->decoder) file->decoder->close(file->decoder);
    file->decoder = NULL;
    const kd_sound_part *part = &file->part[file->next++];
    return part->open(&file->decoder, part);
}

int kd_sound_file_open(kd_sound_file *file) {
    int status = find_parts(file);
    if (status == KD_OK) status = begin_part(file);
    return (int)blame(file, status);
}

int64_t kd_sound_file_read(kd_sound_file *file, float *out, int64_t n, int *rate) {
    for (;;) {
        const int64_t got = file->decoder->read(file->decoder, out, n);
        *rate = file->decoder->rate;
        if (got != 0 || file->next == file->parts) return blame(file, got);
        int status = begin_part(file);
        if (status < 0) return blame(file, status);
    }
}

void kd_sound_file_close(kd_sound_file *file) {
    if (file->decoder) file->decoder->close(file->decoder);
    free(file->part);
    kd_sound_bytes_close(&file->bytes);
    *file = (kd_sound_file){.bytes.fd = -1};
}
