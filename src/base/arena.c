#include "base/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/error.h"

enum { ALIGNMENT = 64, HUGE_PAGE = 2 << 20 };

typedef struct chunk {
    struct chunk *next;
    unsigned char *memory;
    size_t size, used;
} chunk;

struct kd_arena {
    chunk *first;
    size_t chunk_bytes, reserved, chunk_count;
};

int kd_arena_create(kd_arena **out, size_t chunk_bytes) {
    *out = calloc(1, sizeof **out);
    if (!*out) return kd_fail_memory(sizeof **out, "an arena");
    (*out)->chunk_bytes = chunk_bytes;
    return KD_OK;
}

void kd_arena_free(kd_arena *arena) {
    if (!arena) return;
    for (chunk *c = arena->first, *next; c; c = next) {
        next = c->next;
        free(c->memory);
        free(c);
    }
    free(arena);
}

/* Whole huge pages, or whole cache lines; 0 when that is too much. */
static size_t whole_pages(size_t bytes, size_t *alignment) {
    *alignment = bytes >= HUGE_PAGE ? HUGE_PAGE : ALIGNMENT;
    if (bytes > SIZE_MAX - *alignment) return 0;
    return bytes ? (bytes + *alignment - 1) / *alignment * *alignment : *alignment;
}

void *kd_large_alloc(size_t bytes) {
    size_t alignment;
    const size_t size = whole_pages(bytes, &alignment);
    if (size == 0) return NULL;
    void *memory = aligned_alloc(alignment, size);
    if (memory && size >= HUGE_PAGE) madvise(memory, size, MADV_HUGEPAGE); /* only ever a hint */
    return memory;
}

/* A chunk of at least `bytes`, linked behind the last one. */
static chunk *chunk_append(kd_arena *arena, chunk *last, size_t bytes) {
    size_t alignment;
    const size_t size =
        whole_pages(bytes > arena->chunk_bytes ? bytes : arena->chunk_bytes, &alignment);
    chunk *c = size ? calloc(1, sizeof *c) : NULL;
    if (!c) return NULL;
    c->memory = kd_large_alloc(size);
    if (!c->memory) {
        free(c);
        return NULL;
    }
    c->size = size;
    if (last)
        last->next = c;
    else
        arena->first = c;
    arena->reserved += size;
    arena->chunk_count++;
    return c;
}

/* The first chunk with room: a large piece in a chunk of its own leaves the room in front of it to
 * smaller ones. */
void *kd_arena_alloc(kd_arena *arena, size_t bytes) {
    if (bytes > SIZE_MAX / 2) return NULL;
    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    chunk *c = arena->first, *last = NULL;
    while (c && c->size - c->used < bytes) {
        last = c;
        c = c->next;
    }
    if (!c) c = chunk_append(arena, last, bytes);
    if (!c) return NULL;
    void *memory = c->memory + c->used;
    c->used += bytes;
    return memory;
}

void kd_arena_reset(kd_arena *arena) {
    for (chunk *c = arena->first; c; c = c->next) c->used = 0;
}

size_t kd_arena_reserved(const kd_arena *arena) {
    return arena->reserved;
}

size_t kd_arena_chunk_count(const kd_arena *arena) {
    return arena->chunk_count;
}
