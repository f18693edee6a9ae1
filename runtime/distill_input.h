/* What stands before the network: pictures and sounds onto its first grid, as the blob says that it
 * was trained. Optional, and beside distill_run.h the only file a firmware needs; sounds want
 * <math.h>.
 *
 * Pictures take floating point once, for a table; the program makes the same bytes from the same
 * pixels. Sounds take float (not double): log-mel features as in src/data/logmel.h and clip.h. The
 * program takes double; a stored value may differ by one step where float rounds to the other side.
 */
#ifndef DISTILL_INPUT_H
#define DISTILL_INPUT_H

#include "distill_run.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- pictures --------------------------------------------------------------------------------- */

enum { DISTILL_PICTURE_CHANNELS = 4 };

typedef struct {
    uint8_t stored[DISTILL_PICTURE_CHANNELS][256]; /* of each byte that a pixel can have */
} distill_picture;

/* DISTILL_RUN_INPUT when the blob is no model of pictures of 1 … 4 channels. */
int distill_picture_open(distill_picture *picture, const distill_run *run, const void *blob,
                         size_t length);

/* pixels (h,w,c) as distill_run_extent tells, into the network's input. */
void distill_picture_put(const distill_picture *picture, distill_run *run, const uint8_t *pixels);

/* --- sounds ----------------------------------------------------------------------------------- */

typedef struct distill_sound distill_sound;

/* *bytes: the arena for recordings of at most `count` samples, a multiple of 8. */
int distill_sound_arena(size_t *bytes, const distill_run *run, const void *blob, size_t length,
                        uint32_t count);
/* As distill_run_open: *out lies in the arena. */
int distill_sound_open(distill_sound **out, const distill_run *run, const void *blob, size_t length,
                       uint32_t count, void *arena, size_t arena_bytes);

/* Hz at which the samples must come. */
uint32_t distill_sound_rate(const distill_sound *sound);

/* A recording into the network's input; of more samples than distill_sound_open was told, the first
 * ones. */
void distill_sound_put(distill_sound *sound, distill_run *run, const int16_t *samples,
                       uint32_t count);

#ifdef __cplusplus
}
#endif

#endif
