/* Where the sound lies in a file; private to src/data.
 *
 * A file is one part, or several one behind another: chained Ogg, files that were joined with cat.
 * Containers state sizes that writers could not know (into a pipe), or that are no longer true (a
 * file cut short); what a decoder library makes of those differs. So the bytes of a part are found
 * here, by the container's own rules, and a decoder sees those alone, with the sizes put right. */
#ifndef KD_DATA_SOUND_PART_H
#define KD_DATA_SOUND_PART_H

#include <stdbool.h>
#include <stdint.h>

#include "data/sound_bytes.h"

typedef struct kd_sound_decoder kd_sound_decoder;
typedef struct kd_sound_part kd_sound_part;

struct kd_sound_part {
    kd_sound_bytes *file;
    int64_t from, to; /* the part is bytes from … to−1 of the file */
    int (*open)(kd_sound_decoder **out, const kd_sound_part *part);
    const char *what; /* the format's name, where libav* read it */
    int64_t patch_at; /* where in the file a size is put right   */
    int patch_length; /* its bytes, 0: the size is right         */
    uint8_t patch[8];
};

/* The part that begins at `at`, the first when it is 0: found is false when no sound begins there
 * (and *out is unset). KD_EDATA when the file is cut short or damaged. */
int kd_sound_part_find(kd_sound_part *out, bool *found, kd_sound_bytes *file, int64_t at);

/* Up to n bytes of the part from its byte `at` on; fewer at its end. */
int64_t kd_sound_part_read(const kd_sound_part *part, void *out, int64_t n, int64_t at);

/* The finders of each container: from part->file and part->from on, to part->to and the rest. */
int kd_sound_find_wav(kd_sound_part *part);
int kd_sound_find_w64(kd_sound_part *part);
int kd_sound_find_aiff(kd_sound_part *part);
int kd_sound_find_au(kd_sound_part *part);
int kd_sound_find_caf(kd_sound_part *part);
int kd_sound_find_nist(kd_sound_part *part);
int kd_sound_find_ogg(kd_sound_part *part);

/* "cut short" with what is stated and what is there of `what`, and the way out; KD_EDATA. */
int kd_sound_cut_short(const kd_sound_bytes *file, const char *what, int64_t at, uint64_t stated,
                       int64_t there);

/* Does a frame of MPEG audio (MP3) begin at `at`? The next one must follow it. */
bool kd_sound_is_mpeg(kd_sound_bytes *file, int64_t at);

#endif
