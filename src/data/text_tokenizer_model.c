/* SentencePiece's tokenizer.model, a message of protobuf (sentencepiece_model.proto). Of it:
 *
 *     ModelProto      1 pieces (repeated)   2 trainer   3 normalizer
 *     SentencePiece   1 piece (text)   2 score (float)   3 type (kd_token_kind)
 *     TrainerSpec     3 model_type (1 unigram, 2 BPE)   24 treat_whitespace_as_suffix
 *                     40 unk_id (0)   41 bos_id (1)   42 eos_id (2)   43 pad_id (−1)
 *     NormalizerSpec  2 precompiled_charsmap   3 add_dummy_prefix   4 remove_extra_whitespaces
 *                     5 escape_whitespaces (each true)
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/size.h"
#include "base/text.h"
#include "data/text_tokenizer_json.h"

/* A message, or a field of one. */
typedef struct {
    const unsigned char *at, *end;
} span;

typedef enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 } wire;

typedef struct {
    uint64_t number; /* of the field                           */
    wire type;
    uint64_t value; /* of a VARINT; bits of a FIXED32          */
    span bytes;     /* of BYTES                                */
} field;

static bool read_varint(uint64_t *out, span *m) {
    *out = 0;
    for (int shift = 0; shift < 64 && m->at < m->end; shift += 7) {
        const unsigned char byte = *m->at++;
        *out |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) return true;
    }
    return false;
}

/* The next field, which is passed; false when the message is broken. */
static bool next_field(field *out, span *m) {
    uint64_t key, n;
    if (!read_varint(&key, m)) return false;
    *out = (field){.number = key >> 3, .type = (wire)(key & 7)};
    const size_t left = (size_t)(m->end - m->at);
    switch (out->type) {
    case VARINT:
        return read_varint(&out->value, m);
    case FIXED64:
        if (left < 8) return false;
        m->at += 8;
        return true;
    case FIXED32:
        if (left < 4) return false;
        memcpy(&out->value, m->at, 4);
        m->at += 4;
        return true;
    case BYTES:
        if (!read_varint(&n, m) || n > (uint64_t)(m->end - m->at)) return false;
        out->bytes = (span){m->at, m->at + n};
        m->at += n;
        return true;
    }
    return false;
}

typedef struct {
    const char *name;
    const unsigned char *start; /* of the file */
    kd_token_bytes *token;      /* (count) in the file */
    float *score;
    uint8_t *kind;
    int64_t count;
    uint64_t model_type;
    int32_t unk, bos, eos, pad;
    bool suffix, dummy_prefix, remove_spaces, escape;
    span charsmap;
} model_reader;

static int broken(const model_reader *r, const span *m) {
    return kd_fail(KD_EDATA, "%s: byte %lld: no model of SentencePiece: a message is broken",
                   r->name, (long long)(m->at - r->start));
}

static int read_piece(model_reader *r, span m) {
    field f;
    const int64_t id = r->count++;
    r->kind[id] = KD_TOKEN_NORMAL;
    r->token[id] = (kd_token_bytes){"", 0};
    r->score[id] = 0;
    while (m.at < m.end) {
        if (!next_field(&f, &m)) return broken(r, &m);
        if (f.number == 1 && f.type == BYTES)
            r->token[id] =
                (kd_token_bytes){(const char *)f.bytes.at, (size_t)(f.bytes.end - f.bytes.at)};
        if (f.number == 2 && f.type == FIXED32) {
            const uint32_t bits = (uint32_t)f.value;
            memcpy(&r->score[id], &bits, sizeof bits);
        }
        if (f.number == 3 && f.type == VARINT) {
            if (f.value < KD_TOKEN_NORMAL || f.value > KD_TOKEN_BYTE || f.value == KD_TOKEN_UNUSED)
                return kd_fail(
                    KD_EDATA,
                    "%s: piece %lld has the type %llu, should be 1 to 4 or 6: others are "
                    "not known here",
                    r->name, (long long)id, (unsigned long long)f.value);
            r->kind[id] = (uint8_t)f.value;
        }
    }
    if (!(r->score[id] > -1e30f && r->score[id] < 1e30f))
        return kd_fail(KD_EDATA, "%s: the score of piece %lld should be finite", r->name,
                       (long long)id);
    return KD_OK;
}

static int read_trainer(model_reader *r, span m) {
    field f;
    while (m.at < m.end) {
        if (!next_field(&f, &m)) return broken(r, &m);
        if (f.type != VARINT) continue;
        if (f.number == 3) r->model_type = f.value;
        if (f.number == 24) r->suffix = f.value != 0;
        if (f.number == 40) r->unk = (int32_t)f.value;
        if (f.number == 41) r->bos = (int32_t)f.value;
        if (f.number == 42) r->eos = (int32_t)f.value;
        if (f.number == 43) r->pad = (int32_t)f.value;
    }
    return KD_OK;
}

static int read_normalizer(model_reader *r, span m) {
    field f;
    while (m.at < m.end) {
        if (!next_field(&f, &m)) return broken(r, &m);
        if (f.number == 2 && f.type == BYTES) r->charsmap = f.bytes;
        if (f.number == 3 && f.type == VARINT) r->dummy_prefix = f.value != 0;
        if (f.number == 4 && f.type == VARINT) r->remove_spaces = f.value != 0;
        if (f.number == 5 && f.type == VARINT) r->escape = f.value != 0;
    }
    return KD_OK;
}

/* Pieces are counted first. */
static int read_message(model_reader *r, span whole) {
    int64_t pieces = 0;
    field f;
    for (span m = whole; m.at < m.end;) {
        if (!next_field(&f, &m)) return broken(r, &m);
        if (f.number == 1 && f.type == BYTES) pieces++;
    }
    if (pieces < 1 || pieces > KD_TEXT_VOCABULARY_MAX)
        return kd_fail(KD_EDATA, "%s: no model of SentencePiece: %lld pieces", r->name,
                       (long long)pieces);
    r->token = malloc(kd_array_bytes(pieces, sizeof *r->token));
    r->score = malloc(kd_array_bytes(pieces, sizeof *r->score));
    r->kind = malloc((size_t)pieces);
    if (!r->token || !r->score || !r->kind)
        return kd_fail_memory((size_t)pieces * sizeof *r->token, r->name);
    int status = KD_OK;
    for (span m = whole; m.at < m.end && status == KD_OK;) {
        if (!next_field(&f, &m)) return broken(r, &m);
        if (f.type != BYTES) continue;
        if (f.number == 1) status = read_piece(r, f.bytes);
        if (f.number == 2) status = read_trainer(r, f.bytes);
        if (f.number == 3) status = read_normalizer(r, f.bytes);
    }
    return status;
}

static int check_supported(const model_reader *r) {
    if (r->model_type != 1 && r->model_type != 2)
        return kd_fail(KD_EDATA, "%s: model_type %llu, should be 1 (unigram) or 2 (BPE)", r->name,
                       (unsigned long long)r->model_type);
    if (r->suffix || !r->escape)
        return kd_fail(
            KD_EDATA,
            "%s: treat_whitespace_as_suffix and escape_whitespaces = false are not known "
            "here",
            r->name);
    const int32_t id[] = {r->unk, r->bos, r->eos, r->pad};
    for (int i = 0; i < 4; i++)
        if (id[i] >= r->count)
            return kd_fail(KD_EDATA, "%s: a special token %d of %lld pieces", r->name, id[i],
                           (long long)r->count);
    return KD_OK;
}

static int add_steps(kd_text_normal *n, const model_reader *r) {
    static const char mark[] = "\xE2\x96\x81";
    const size_t map = (size_t)(r->charsmap.end - r->charsmap.at);
    int status = KD_OK;
    if (map > 0)
        status = kd_text_normal_add(n, KD_NORMAL_CHARSMAP, (const char *)r->charsmap.at, map, NULL);
    if (status == KD_OK && r->remove_spaces) {
        status = kd_text_normal_add(n, KD_NORMAL_TRIM, NULL, 0, NULL);
        if (status == KD_OK) status = kd_text_normal_add(n, KD_NORMAL_SPACES, NULL, 0, " ");
    }
    if (status == KD_OK && r->dummy_prefix)
        status = kd_text_normal_add(n, KD_NORMAL_PREPEND, NULL, 0, mark);
    if (status == KD_OK) status = kd_text_normal_add(n, KD_NORMAL_REPLACE, " ", 1, mark);
    return status;
}

static int build(kd_text_tokenizer *t, const model_reader *r) {
    const size_t n = (size_t)r->count;
    int status = KD_OK;
    memcpy(t->kind, r->kind, n);
    t->model = r->model_type == 2 ? KD_MODEL_BPE : KD_MODEL_UNIGRAM;
    t->user_first = t->fuse_unknown = true;
    t->decode = KD_DECODE_SPACES;
    t->strip_first = r->dummy_prefix;
    t->score = malloc(n * sizeof *t->score);
    if (!t->score) return kd_fail_memory(n * sizeof *t->score, r->name);
    for (size_t i = 0; i < n; i++) {
        t->score[i] = r->score[i];
        t->byte_fallback |= t->kind[i] == KD_TOKEN_BYTE;
        if (t->kind[i] != KD_TOKEN_NORMAL && t->kind[i] != KD_TOKEN_BYTE && status == KD_OK &&
            r->token[i].length > 0)
            status = kd_text_tokenizer_add_token(t, &(kd_added_token){.id = (int32_t)i});
    }
    t->ids.unknown = r->unk;
    t->ids.padding = r->pad;
    t->ids.bos = r->bos;
    t->ids.eos = r->eos;
    if (r->bos >= 0) t->before[t->before_count++] = r->bos; /* as transformers' Llama does */
    if (status == KD_OK) status = add_steps(&t->normal, r);
    if (status == KD_OK) status = kd_text_tokenizer_index(t, r->name);
    if (status == KD_OK) status = kd_text_tokenizer_finish(t, r->name);
    return status;
}

int kd_text_tokenizer_parse_model(kd_text_tokenizer **out, const void *bytes, size_t length,
                                  const char *name) {
    static const unsigned char nothing[1];
    const unsigned char *start = bytes ? bytes : nothing;
    model_reader r = {.name = name,
                      .start = start,
                      .model_type = 1,
                      .bos = 1,
                      .eos = 2,
                      .pad = -1,
                      .dummy_prefix = true,
                      .remove_spaces = true,
                      .escape = true};
    kd_text_tokenizer *t = NULL;
    *out = NULL;
    int status = read_message(&r, (span){start, start + length});
    if (status == KD_OK) status = check_supported(&r);
    if (status == KD_OK) status = kd_text_tokenizer_start(&t, r.token, r.count, name);
    if (status == KD_OK) status = build(t, &r);
    free(r.token);
    free(r.score);
    free(r.kind);
    if (status < 0) {
        kd_text_tokenizer_free(t);
        return status;
    }
    *out = t;
    return KD_OK;
}
