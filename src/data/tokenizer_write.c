/* A tokenizer as the files of a Hugging Face folder: vocab.json, merges.txt, added_tokens.json,
 * special_tokens_map.json, tokenizer_config.json. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/json_text.h"
#include "base/text.h"
#include "data/token_letters.h"
#include "data/tokenizer_internal.h"
#include "data/tokenizer_write.h"

/* Room to spell and quote the longest token. */
typedef struct {
    char *letters, *quoted;
    size_t room;
    uint32_t *begin; /* of the parts of a token */
} scratch;

static void add_quoted(kd_text *out, scratch *s, const char *bytes, size_t length) {
    kd_letters_spell(s->letters, bytes, length);
    kd_json_quote(s->quoted, s->room, s->letters);
    kd_text_add(out, "%s", s->quoted);
}

static int make_vocabulary(kd_text *out, const kd_tokenizer *t, scratch *s) {
    kd_text_add(out, "{");
    for (int32_t id = 0; id < t->ids.end; id++) {
        const kd_token_bytes token = kd_tokenizer_token(t, id);
        kd_text_add(out, id ? ",\n" : "\n");
        add_quoted(out, s, token.bytes, token.length);
        kd_text_add(out, ": %d", (int)id);
    }
    kd_text_add(out, ",\n\"<|endoftext|>\": %d\n}\n", (int)t->ids.end);
    return kd_text_finish(out, "vocab.json");
}

/* The two tokens that were joined into token `id`: what its bytes come to when only tokens below it
 * exist. Returns where the second begins, or 0 when it was not joined of two. */
static size_t halves_of(const kd_tokenizer *t, int32_t id, scratch *s) {
    const kd_token_bytes token = kd_tokenizer_token(t, id);
    uint32_t *begin = s->begin;
    size_t parts = token.length;
    for (size_t i = 0; i <= parts; i++) begin[i] = (uint32_t)i;
    while (parts > 2) {
        int32_t best = id;
        size_t at = 0;
        for (size_t i = 0; i + 2 <= parts; i++) {
            const int32_t joined =
                kd_tokenizer_find(t, token.bytes + begin[i], begin[i + 2] - begin[i]);
            if (joined >= 0 && joined < best) {
                best = joined;
                at = i;
            }
        }
        if (best == id) return 0;
        memmove(begin + at + 1, begin + at + 2, (parts - at - 1) * sizeof *begin);
        parts--;
    }
    return parts == 2 ? begin[1] : 0;
}

static void add_merges(kd_text *out, const kd_tokenizer *t, scratch *s) {
    for (int32_t id = 0; id < t->ids.end; id++) {
        const kd_token_bytes token = kd_tokenizer_token(t, id);
        const size_t half = token.length > 1 ? halves_of(t, id, s) : 0;
        if (half == 0) continue;
        kd_letters_spell(s->letters, token.bytes, half);
        kd_text_add(out, "%s ", s->letters);
        kd_letters_spell(s->letters, token.bytes + half, token.length - half);
        kd_text_add(out, "%s\n", s->letters);
    }
}

static int make_merges(kd_text *out, const kd_tokenizer *t, scratch *s) {
    kd_text_add(out, "#version: 0.2\n");
    add_merges(out, t, s);
    return kd_text_finish(out, "merges.txt");
}

static int make_added(kd_text *out, const kd_tokenizer *t) {
    char text[KD_SPECIAL_TEXT_MAX + 1], *added;
    kd_text_add(out, "{");
    for (int32_t id = t->ids.end + 1; id < t->ids.added; id++) {
        const int length = kd_token_special_text(text, &t->ids, id);
        kd_text_add(out, "%s\n  \"%.*s\": %d", id == t->ids.end + 1 ? "" : ",", length, text,
                    (int)id);
    }
    for (int32_t id = t->ids.added; id < t->ids.vocabulary; id++) {
        int status = kd_tokenizer_decode(&added, NULL, t, &id, 1, true);
        if (status < 0) return status;
        kd_text_add(out, ",\n  ");
        kd_json_add_quoted(out, added);
        kd_text_add(out, ": %d", (int)id);
        free(added);
    }
    kd_text_add(out, "\n}\n");
    return kd_text_finish(out, "added_tokens.json");
}

static int make_special(kd_text *out, const kd_tokenizer *t) {
    char text[KD_SPECIAL_TEXT_MAX + 1];
    kd_text_add(out, "{\n  \"bos_token\": \"<|endoftext|>\",\n  \"eos_token\": \"<|endoftext|>\",\n"
                     "  \"pad_token\": \"<|endoftext|>\",\n  \"unk_token\": \"<|endoftext|>\",\n"
                     "  \"additional_special_tokens\": [\n    \"<|endoftext|>\"");
    for (int32_t id = t->ids.end + 1; id < t->ids.timestamp; id++) {
        const int length = kd_token_special_text(text, &t->ids, id);
        kd_text_add(out, ",\n    \"%.*s\"", length, text);
    }
    kd_text_add(out, "\n  ]\n}\n");
    return kd_text_finish(out, "special_tokens_map.json");
}

static int make_config(kd_text *out, const kd_tokenizer *t) {
    (void)t;
    kd_text_add(out, "{\n  \"tokenizer_class\": \"WhisperTokenizer\",\n"
                     "  \"processor_class\": \"WhisperProcessor\",\n"
                     "  \"add_prefix_space\": false,\n  \"add_bos_token\": false,\n"
                     "  \"bos_token\": \"<|endoftext|>\",\n  \"eos_token\": \"<|endoftext|>\",\n"
                     "  \"pad_token\": \"<|endoftext|>\",\n  \"unk_token\": \"<|endoftext|>\",\n"
                     "  \"errors\": \"replace\",\n  \"model_max_length\": 1024,\n"
                     "  \"return_attention_mask\": false\n}\n");
    return kd_text_finish(out, "tokenizer_config.json");
}

static int save(const char *folder, const char *name, kd_text *text, int status) {
    char path[KD_PATH_MAX];
    if (status == KD_OK) status = kd_path_join(path, folder, name);
    if (status == KD_OK) status = kd_file_replace(path, text->text, text->length);
    free(text->text);
    *text = (kd_text){0};
    return status;
}

static int scratch_create(scratch *s, const kd_tokenizer *t) {
    *s = (scratch){.room = 16 * (t->table.longest + 1)};
    s->letters = malloc(s->room);
    s->quoted = malloc(s->room);
    s->begin = malloc((t->table.longest + 2) * sizeof *s->begin);
    return s->letters && s->quoted && s->begin ? KD_OK : kd_fail_memory(s->room, "a token");
}

static void scratch_clear(scratch *s) {
    free(s->letters);
    free(s->quoted);
    free(s->begin);
}

int kd_tokenizer_add_merges(kd_text *out, const kd_tokenizer *tokenizer) {
    scratch s;
    int status = scratch_create(&s, tokenizer);
    if (status == KD_OK) add_merges(out, tokenizer, &s);
    scratch_clear(&s);
    return status;
}

int kd_tokenizer_write_folder(const kd_tokenizer *t, const char *folder) {
    kd_text text = {0};
    scratch s;
    int status = scratch_create(&s, t);
    if (status == KD_OK) status = save(folder, "vocab.json", &text, make_vocabulary(&text, t, &s));
    if (status == KD_OK) status = save(folder, "merges.txt", &text, make_merges(&text, t, &s));
    if (status == KD_OK) status = save(folder, "added_tokens.json", &text, make_added(&text, t));
    if (status == KD_OK)
        status = save(folder, "special_tokens_map.json", &text, make_special(&text, t));
    if (status == KD_OK)
        status = save(folder, "tokenizer_config.json", &text, make_config(&text, t));
    scratch_clear(&s);
    return status;
}
