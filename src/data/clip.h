/* From a recording's log-mel frames to the window a network sees: ends cut, loudness and microphone
 * taken out, the word in the middle. */
#ifndef KD_DATA_CLIP_H
#define KD_DATA_CLIP_H

#include <stdint.h>

#include "data/dataset.h"

/* in (frames, mels), as kd_logmel_compute gives it (40 dB are 1) and changed here, into out
 * (wanted, mels):
 *
 *   P[t]   = Σ_m 10^(4·in[t][m])                                    a frame's power
 *   a, b   = first and last frame with P[t] ≥ max P · 10^(−trim/10); all of them without `trim`
 *   v      = max(in, max in − range/40)                             over frames a … b
 *   RANGE  : x = 1 + 40/range·(v − max in)                          0 … 1
 *   BANDS  : x[t][m] = (v[t][m] − mean over t of v[·][m]) / σ, σ² the mean square of the numerators
 *
 * Of more than `wanted` frames the stretch with the most power is kept. Fewer are put in the middle
 * with `trim`, otherwise in front; around them is 0 (with KD_CLIP_PLAIN, what silence gives). */
void kd_clip_window(float *out, int64_t wanted, float *in, int64_t frames,
                    const kd_audio_spec *audio);

#endif
