/* A bump allocator: memory is taken piece by piece and given back all at once.
 *
 * After a reset the same sequence of requests is served from the same chunks, so a training step
 * that repeats the first one's requests allocates nothing from the system.
 */
#ifndef KD_BASE_ARENA_H
#define KD_BASE_ARENA_H

#include <stddef.h>

typedef struct kd_arena kd_arena;

/* Memory for a large array, uninitialised, aligned to 64, on huge pages where the system has them;
 * the caller frees with free. NULL when memory is out. */
void *kd_large_alloc(size_t bytes);

/* The caller frees with kd_arena_free. `chunk_bytes` is the size of an ordinary chunk. */
int kd_arena_create(kd_arena **out, size_t chunk_bytes);
void kd_arena_free(kd_arena *arena);

/* `bytes` uninitialised bytes aligned to 64, valid until the reset; NULL when memory is out. */
void *kd_arena_alloc(kd_arena *arena, size_t bytes);

/* Everything handed out becomes free again; the chunks are kept. */
void kd_arena_reset(kd_arena *arena);

/* Bytes held from the system, and the number of times the system was asked for a chunk. */
size_t kd_arena_reserved(const kd_arena *arena);
size_t kd_arena_chunk_count(const kd_arena *arena);

#endif
