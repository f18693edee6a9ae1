/* Byte-pair encoding (Sennrich et al. 2016): of all neighbouring symbols those whose join has the
 * lowest rank are joined, the left ones first, until no two neighbours join.
 *
 * What joins is a rule of the vocabulary's: a list of merges (GPT-2 and its like), or all whose
 * union is a token, ranked by id (tiktoken, Whisper) or by score (SentencePiece). */
#ifndef KD_DATA_BPE_H
#define KD_DATA_BPE_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    int32_t id;   /* the token that two symbols make, or −1: they do not join */
    int32_t rank; /* lower ones first */
} kd_join;

/* What two neighbours make, whose union are `length` bytes. */
typedef kd_join (*kd_join_rule)(const void *vocabulary, const char *bytes, size_t length,
                                int32_t left, int32_t right);

typedef struct {
    int32_t rank, id, at, end;
} kd_join_pair;

/* The symbols of a piece of text, by the place of their first byte. Start with {0}; a joiner serves
 * one piece after another. */
typedef struct {
    int32_t *next, *before; /* (capacity + 1) where the neighbours begin                   */
    int32_t *token;         /* (capacity + 1) a symbol's id; KD_NO_SYMBOL: none begins here */
    kd_join_pair *heap;     /* (2·capacity) the next pair on top: one for each border, and one more
                               for each join */
    int32_t heap_count, capacity, length, last;
} kd_joiner;

enum { KD_NO_SYMBOL = -1, KD_UNKNOWN_SYMBOL = -2 };

/* Starts a piece of `length` bytes. KD_EINTERNAL when memory is out. */
int kd_joiner_begin(kd_joiner *joiner, int32_t length);
/* Puts a symbol behind those that are there: bytes [at, end) of the piece, in order and without
 * gaps. */
void kd_joiner_add(kd_joiner *joiner, int32_t at, int32_t end, int32_t id);
/* The last symbol goes on until `end`. */
void kd_joiner_extend(kd_joiner *joiner, int32_t end);
/* Joins all that joins. Then the symbols are at 0, next[0], next[next[0]] … until `length`. */
void kd_joiner_run(kd_joiner *joiner, const char *piece, kd_join_rule rule, const void *vocabulary);
void kd_joiner_clear(kd_joiner *joiner);

#endif
