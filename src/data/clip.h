/* From a recording's log-mel frames to the window a network sees: quiet ends cut off, the word in
 * the middle, loudness and microphone taken out. Training, test and `distill run` go through here.
 */
#ifndef KD_DATA_CLIP_H
#define KD_DATA_CLIP_H

#include <stdint.h>

#include "data/dataset.h"

/* in (frames, mels), as kd_logmel_compute gives it (40 dB are 1) and changed here, into out
 * (wanted, mels):
 *
 *   P[t]   = Σ_m 10^(4·in[t][m])                                    a frame's power
 *   a, b   = first and last frame with P[t] ≥ max P · 10^(−trim/10); without `trim` all frames
 *   x      = max(0, 1 + (in − max in)·40/range)                     0 … 1, over frames a … b;
 *            with KD_CLIP_PLAIN in itself
 *
 * Of more than `wanted` frames the stretch with the most power is kept. Fewer are put in the middle
 * with `trim`, otherwise in front; around them is what silence gives: 0, with KD_CLIP_PLAIN the
 * smallest value. */
void kd_clip_window(float *out, int64_t wanted, float *in, int64_t frames,
                    const kd_audio_spec *audio);

/* The frames from the first to the last that are not all 0; *count is 0 when all are. */
void kd_clip_extent(int64_t *first, int64_t *count, const float *x, int64_t frames, int mels);

/* The network's input from the window x (frames, mels), in place. KD_CLIP_BANDS, over the frames
 * of kd_clip_extent, others stay 0:
 *
 *   x[t][m] ← (x[t][m] − μ[m]) / σ,   μ[m] = mean over t,   σ² = mean over t and m of (x − μ[m])²
 *
 * A microphone or a room multiplies each band's power by a factor, adds a constant to its logarithm
 * and so drops out with μ, and loudness likewise. Otherwise x stays as it is. */
void kd_clip_normalise(float *x, int64_t frames, const kd_audio_spec *audio);

#endif
