/* What the files of the text tokenizers share. Private to them, and to the reader and the writer of
 * GGUF (files/text_tokenizer_gguf.h). */
#ifndef KD_DATA_TEXT_TOKENIZER_INSIDE_H
#define KD_DATA_TEXT_TOKENIZER_INSIDE_H

#include "data/bpe.h"
#include "data/text_normal.h"
#include "data/text_split.h"
#include "data/text_tokenizer.h"

typedef enum { KD_MODEL_BPE, KD_MODEL_UNIGRAM, KD_MODEL_WORDPIECE } kd_token_model;

/* How spaces become "▁" behind the normaliser (Metaspace). */
typedef enum {
    KD_SPACES_KEPT,
    KD_SPACES_MARKED, /* " " → "▁"                                  */
    KD_SPACES_FIRST,  /* and "▁" in front of a text                 */
    KD_SPACES_ALWAYS  /* and in front of what follows an added token */
} kd_space_rule;

typedef enum {
    KD_DECODE_BYTES,    /* tokens are bytes                                    */
    KD_DECODE_SPACES,   /* "▁" is a space, "<0x0A>" a byte                     */
    KD_DECODE_WORDPIECE /* "##" continues, else a space stands between         */
} kd_decode_rule;

/* Found in texts before all else. */
typedef struct {
    int32_t id;
    bool left, right; /* takes the white space on that side, too    */
    bool normalized;  /* looked for in the normalised text          */
    char *text;       /* what is looked for, if not the token itself */
    size_t length;
} kd_added_token;

typedef struct {
    uint64_t pair; /* left id << 32 | right id; KD_NO_MERGE: empty */
    kd_join join;
} kd_merge_slot;

#define KD_NO_MERGE UINT64_MAX

enum { KD_ENDS_MAX = 8 };

struct kd_text_tokenizer {
    kd_text_token_ids ids;
    kd_token_model model;
    kd_token_table table; /* all; NORMAL and USER ones are indexed              */
    uint8_t *kind;        /* (V) a kd_token_kind                                */
    double *score;        /* (V) of SentencePiece's models, else NULL           */
    int32_t byte[256];    /* the token of a byte, −1: none                      */

    bool letters;           /* files write bytes as letters (token_letters.h)       */
    bool whole_first;       /* a piece that is a token is not joined: ignore_merges  */
    bool byte_fallback;     /* characters without a token become byte tokens        */
    bool fuse_unknown;      /* neighbouring unknown characters are one token        */
    bool user_first;        /* unigram: tokens that the user defined outweigh others */
    double lowest, highest; /* unigram: of all scores                              */
    int32_t *rank;          /* (V) BPE by scores: the order of joins; or NULL           */
    uint64_t *merge;        /* (merges) BPE by merges: pairs in their order             */
    kd_merge_slot *slot;    /* (slots) the same by pair                                 */
    int64_t merges, slots;  /* slots: a power of two                                    */
    int32_t word_max;       /* WordPiece: longer words are unknown (characters)         */

    kd_text_normal normal;
    kd_space_rule spaces;
    bool words_only; /* what is between white space is a text of its own (WhitespaceSplit) */
    kd_split split;
    kd_decode_rule decode;
    bool strip_first; /* decoding leaves out one space at the start     */
    bool tidy;        /* decoding takes spaces away before punctuation  */

    kd_added_token *added; /* (added_count) by first byte, the longest first */
    int64_t added_count;
    int64_t added_from[257]; /* where those of a first byte begin */
    int32_t before[KD_ENDS_MAX], after[KD_ENDS_MAX];
    int before_count, after_count;
    char *chat_template; /* or NULL */
};

/* An empty one with `count` tokens, all NORMAL, and ids of −1. Frees nothing of the lists. */
int kd_text_tokenizer_start(kd_text_tokenizer **out, const kd_token_bytes *token, int64_t count,
                            const char *name);
/* Appends a merge of two tokens, whose union must be a token that is indexed. */
int kd_text_tokenizer_add_merge(kd_text_tokenizer *t, int32_t left, int32_t right);
/* Appends an added token. */
int kd_text_tokenizer_add_token(kd_text_tokenizer *t, const kd_added_token *added);
/* Indexes tokens by bytes, once kinds are known. */
int kd_text_tokenizer_index(kd_text_tokenizer *t, const char *name);
/* When all else is there: sorts, ranks, and checks what encoding relies on. */
int kd_text_tokenizer_finish(kd_text_tokenizer *t, const char *name);

/* --- encoding --- */

/* Ids that grow, and what encoding needs on its way. */
typedef struct {
    const kd_text_tokenizer *t;
    int32_t *id;
    int64_t count, capacity;
    kd_joiner joiner;
    double *
        best; /* (best_capacity) unigram: scores, and where the best token that ends there begins */
    int32_t *from, *token;
    size_t best_capacity;
} kd_text_encoder;

int kd_text_encoder_put(kd_text_encoder *e, int32_t id);
/* The unknown token, or KD_EDATA when there is none; `text` is for the message. */
int kd_text_encoder_unknown(kd_text_encoder *e, const char *text, size_t length);
int kd_text_encode_unigram(kd_text_encoder *e, const char *piece, size_t length);
int kd_text_encode_wordpiece(kd_text_encoder *e, const char *text, size_t length);

#endif
