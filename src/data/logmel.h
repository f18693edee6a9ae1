/* Log-mel features, exactly Whisper's (Radford et al. 2022; its audio.py) for any parameters:
 *
 *   frame f   = Hann window (periodic) · samples[f·hop − window/2 …], the ends of the clip mirrored
 *   power     = |DFT(frame)|²                                    (window/2 + 1 bins)
 *   mel       = Slaney's triangular filters of unit area, 0 … sample_rate/2
 *   L         = log10(max(mel, 1e-10))
 *   out       = (max(L, max over the clip of L − 8) + 4) / 4
 *
 * Whisper: 16000 Hz, window 400, hop 160, 80 (or 128) mels.
 */
#ifndef KD_DATA_LOGMEL_H
#define KD_DATA_LOGMEL_H

#include <stdint.h>

typedef struct kd_logmel kd_logmel;

/* The caller frees. KD_ECONFIG when the numbers make no sense, or when there are so many filters
 * that one covers no bin of the DFT. */
int kd_logmel_create(kd_logmel **out, int sample_rate, int window, int hop, int mels);
void kd_logmel_free(kd_logmel *logmel);

int kd_logmel_mels(const kd_logmel *logmel);

/* samples / hop, as Whisper, which drops the last frame. */
int64_t kd_logmel_frames(const kd_logmel *logmel, int64_t samples);

/* Clips must be longer than this many samples for mirroring: window / 2. */
int64_t kd_logmel_minimum(const kd_logmel *logmel);

/* samples (count) → out (frames, mels). Several threads may use one kd_logmel. */
int kd_logmel_compute(const kd_logmel *logmel, float *out, const float *samples, int64_t count);

/* The two halves of it, for sounds that come in parts: L of frames that need no mirroring, frame f
 * being samples[f·hop … f·hop + window − 1], with the largest L of them; and out from L (n), given
 * the largest of the clip. The same bits at any number of threads. */
int kd_logmel_levels(const kd_logmel *logmel, float *out, double *largest, const float *samples,
                     int64_t frames);
void kd_logmel_normalize(float *levels, int64_t n, double largest);

/* The frequency in Hz where filter m peaks, m any number, and the other way round. */
double kd_mel_centre(double m, int sample_rate, int mels);
double kd_mel_position(double hz, int sample_rate, int mels);

/* The filters (mels, window/2 + 1), as librosa.filters.mel gives them. */
const float *kd_logmel_filters(const kd_logmel *logmel);

#endif
