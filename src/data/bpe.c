#include "data/bpe.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/error.h"

static bool sooner(kd_join_pair a, kd_join_pair b) {
    return a.rank != b.rank ? a.rank < b.rank : a.at < b.at;
}

static void push(kd_joiner *j, kd_join_pair p) {
    int32_t i = j->heap_count++;
    for (; i > 0 && sooner(p, j->heap[(i - 1) / 2]); i = (i - 1) / 2)
        j->heap[i] = j->heap[(i - 1) / 2];
    j->heap[i] = p;
}

static kd_join_pair pop(kd_joiner *j) {
    kd_join_pair top = j->heap[0], moved = j->heap[--j->heap_count];
    int32_t i = 0;
    for (;;) {
        int32_t child = 2 * i + 1;
        if (child >= j->heap_count) break;
        if (child + 1 < j->heap_count && sooner(j->heap[child + 1], j->heap[child])) child++;
        if (!sooner(j->heap[child], moved)) break;
        j->heap[i] = j->heap[child];
        i = child;
    }
    j->heap[i] = moved;
    return top;
}

int kd_joiner_begin(kd_joiner *j, int32_t length) {
    j->length = length;
    j->last = -1;
    j->heap_count = 0;
    if (length <= j->capacity && j->heap) return KD_OK;
    const size_t n = (size_t)length + 1;
    kd_joiner_clear(j);
    j->length = length;
    j->last = -1;
    j->next = malloc(3 * n * sizeof *j->next);
    j->heap = malloc(2 * n * sizeof *j->heap);
    if (!j->next || !j->heap) return kd_fail_memory(2 * n * sizeof *j->heap, "encoding a text");
    j->before = j->next + n;
    j->token = j->before + n;
    j->capacity = length;
    return KD_OK;
}

void kd_joiner_add(kd_joiner *j, int32_t at, int32_t end, int32_t id) {
    for (int32_t i = at + 1; i < end; i++) j->token[i] = KD_NO_SYMBOL;
    j->token[at] = id;
    j->next[at] = end;
    j->before[at] = j->last;
    j->last = at;
}

void kd_joiner_extend(kd_joiner *j, int32_t end) {
    for (int32_t i = j->next[j->last]; i < end; i++) j->token[i] = KD_NO_SYMBOL;
    j->next[j->last] = end;
}

void kd_joiner_run(kd_joiner *j, const char *piece, kd_join_rule rule, const void *vocabulary) {
    const int32_t length = j->length;
    int32_t *const next = j->next, *const token = j->token;
#define JOIN_OF(left, middle, end)                                                                 \
    rule(vocabulary, piece + (left), (size_t)((end) - (left)), token[left], token[middle])
    for (int32_t at = 0; at < length && next[at] < length; at = next[at]) {
        const int32_t end = next[next[at]];
        const kd_join join = JOIN_OF(at, next[at], end);
        if (join.id >= 0) push(j, (kd_join_pair){join.rank, join.id, at, end});
    }
    while (j->heap_count > 0) {
        const kd_join_pair p = pop(j);
        const int32_t middle = next[p.at];
        /* Two others may stand here by now; they are joined if they make the same token. */
        if (token[p.at] == KD_NO_SYMBOL || middle >= p.end || next[middle] != p.end ||
            JOIN_OF(p.at, middle, p.end).id != p.id)
            continue;
        token[p.at] = p.id;
        token[middle] = KD_NO_SYMBOL;
        next[p.at] = p.end;
        if (p.end < length) {
            j->before[p.end] = p.at;
            const kd_join join = JOIN_OF(p.at, p.end, next[p.end]);
            if (join.id >= 0) push(j, (kd_join_pair){join.rank, join.id, p.at, next[p.end]});
        }
        if (p.at > 0) {
            const int32_t before = j->before[p.at];
            const kd_join join = JOIN_OF(before, p.at, p.end);
            if (join.id >= 0) push(j, (kd_join_pair){join.rank, join.id, before, p.end});
        }
    }
#undef JOIN_OF
}

void kd_joiner_clear(kd_joiner *j) {
    free(j->next);
    free(j->heap);
    *j = (kd_joiner){0};
}
