/* The tokens of texts, one document behind the other, on disk: made once, then mapped, so that they
 * may be larger than memory and any of them is read by its place.
 *
 * A cache file, text-<key>.tokens, is named by all it was made from: the content of the files, the
 * tokenizer, the chat template. Little-endian: "kdtokens", u32 version (1), u32 0, u64 tokens, u64
 * documents, u64 checksum (XXH3) of what follows, char key[32]; u32 tokens, of which bit 31 says
 * that it is not learnt; u64 (documents + 1) where each begins, u64 (documents) its bytes of text.
 */
#ifndef KD_DATA_TEXT_TOKENS_H
#define KD_DATA_TEXT_TOKENS_H

#include "data/text_tokenizer.h"

typedef struct {
    const kd_text_tokenizer *tokenizer;
    const char *const *path; /* (count) files and folders (text_documents.h) */
    int64_t count;
    int32_t end; /* the token behind each document that is no conversation; −1: none */
} kd_text_source;

typedef struct kd_text_tokens kd_text_tokens;

/* Takes the file of the folder `cache` that was made from the same, or makes it (and the folder);
 * NULL: into a nameless temporary file. A cache file that is damaged is made anew, with a warning.
 * Of several ranks the first writes: call it through kd_ranks_take_turns. `name` is what messages
 * call the texts ("data.train"). KD_EDATA, KD_ENOINPUT, KD_EIO. The caller closes. */
int kd_text_tokens_open(kd_text_tokens **out, const kd_text_source *source, const char *cache,
                        const char *name);
void kd_text_tokens_close(kd_text_tokens *tokens);

int64_t kd_text_tokens_count(const kd_text_tokens *tokens);
int64_t kd_text_tokens_documents(const kd_text_tokens *tokens);
/* Names what the tokens were made from. */
kd_hash kd_text_tokens_key(const kd_text_tokens *tokens);

/* Document d: its tokens are start … end − 1; its bytes of text. */
void kd_text_tokens_document(const kd_text_tokens *tokens, int64_t d, int64_t *start, int64_t *end,
                             int64_t *bytes);
/* n tokens from `at` on → token (n), learnt (n; NULL: nobody asks): whether to foretell it is
 * learnt. Within 0 … count (contract). */
void kd_text_tokens_read(const kd_text_tokens *tokens, int64_t at, int64_t n, int32_t *token,
                         uint8_t *learnt);

#endif
