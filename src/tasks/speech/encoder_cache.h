/* What a frozen encoder makes of windows, computed when it is wanted or kept on disk.
 *
 * Outputs are rounded to bfloat16 in both cases, so that a cache changes no bit of what is learned
 * from them. The cache is a folder of shards of KD_ENCODER_CACHE_IN_SHARD windows,
 * `encoded-00000.bin` …, each whole or absent, little-endian:
 *
 *   header   8 bytes "kdencod1", 32 of the key in hex, int64 records, positions, width
 *   record   uint64 id of the window, uint64 checksum of the values, bfloat16 (positions, width)
 */
#ifndef KD_TASKS_SPEECH_ENCODER_CACHE_H
#define KD_TASKS_SPEECH_ENCODER_CACHE_H

#include "tasks/speech/windows.h"

enum { KD_ENCODER_CACHE_IN_SHARD = 16 };

typedef struct kd_encoder_cache kd_encoder_cache;

/* The outputs for `windows` of `encoder`, whose weights `key` names; both are borrowed. `folder` is
 * that of the cache, made when missing, or NULL: no cache. The caller closes. KD_EDATA when a shard
 * belongs to other windows or another encoder; one that is damaged counts as missing, with a
 * warning.
 */
int kd_encoder_cache_open(kd_encoder_cache **out, const char *folder, const kd_windows *windows,
                          const kd_whisper *encoder, kd_precision precision, kd_hash key);
void kd_encoder_cache_close(kd_encoder_cache *encoded);

/* Makes the shards that are missing, with progress on stderr; called by all ranks, which share
 * them. KD_EAGAIN after kd_train_request_stop on one of them: whole shards are kept. */
int kd_encoder_cache_fill(kd_encoder_cache *encoded);

/* Window i → out (positions,width); from the cache where it holds the window, read at random and
 * checked (KD_EDATA), else by the encoder. One thread at a time. */
int kd_encoder_cache_read(kd_encoder_cache *encoded, int64_t i, kd_real *out);

/* Lets the system fetch what the cache holds of a window that will be read soon; returns at once.
 */
void kd_encoder_cache_expect(kd_encoder_cache *encoded, int64_t i);

/* Bytes that a whole cache for these windows takes. */
int64_t kd_encoder_cache_bytes(const kd_windows *windows, const kd_whisper_spec *spec);

#endif
