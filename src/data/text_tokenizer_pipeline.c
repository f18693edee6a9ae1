/* What a tokenizer.json does around its model: normalizer, pre_tokenizer, post_processor, decoder.
 * Each is null, one step, or a Sequence of them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "data/text_tokenizer_json.h"

static const char MARK[] = "\xE2\x96\x81";

typedef struct {
    kd_text_tokenizer *t;
    const kd_json *json;
    bool letters_seen;
} pipeline;

typedef int (*step_reader)(pipeline *p, const cJSON *step);

/* Visits a part: the steps of a Sequence, whose list is called `list`, one by one. */
static int each_step(pipeline *p, const cJSON *part, const char *list, step_reader read) {
    if (!part || cJSON_IsNull(part)) return KD_OK;
    const cJSON *type = kd_json_get(part, "type");
    if (!cJSON_IsString(type)) return kd_text_json_fail(p->json, part, "a step with its type");
    if (strcmp(type->valuestring, "Sequence") != 0) return read(p, part);
    const cJSON *steps = kd_json_get(part, list);
    if (!cJSON_IsArray(steps)) return kd_text_json_fail(p->json, part, "a list of steps");
    int status = KD_OK;
    for (const cJSON *step = steps->child; step && status == KD_OK; step = step->next) {
        if (!cJSON_IsString(kd_json_get(step, "type")))
            return kd_text_json_fail(p->json, step, "a step with its type");
        status = read(p, step);
    }
    return status;
}

static bool is_type(const cJSON *step, const char *type) {
    return kd_text_json_is(kd_json_get(step, "type"), type);
}

/* The step is none that we have. */
static int refuse(const pipeline *p, const cJSON *step, const char *part, const char *known) {
    char wanted[256];
    snprintf(wanted, sizeof wanted, "a %s that is known here (%s); '%.40s' is not", part, known,
             kd_json_get(step, "type")->valuestring);
    return kd_text_json_fail(p->json, kd_json_get(step, "type"), wanted);
}

/* A member that is true or, where it is missing or null, what it is by default. */
static bool flag(const cJSON *step, const char *key, bool otherwise) {
    const cJSON *item = kd_json_get(step, key);
    return cJSON_IsBool(item) ? cJSON_IsTrue(item) : otherwise;
}

/* --- normalizer ------------------------------------------------------------------------------- */

static int add_bert(pipeline *p, const cJSON *step) {
    kd_text_normal *n = &p->t->normal;
    const bool lower = flag(step, "lowercase", true);
    int status = KD_OK;
    if (flag(step, "clean_text", true))
        status = kd_text_normal_add(n, KD_NORMAL_BERT_CLEAN, NULL, 0, NULL);
    if (status == KD_OK && flag(step, "handle_chinese_chars", true))
        status = kd_text_normal_add(n, KD_NORMAL_BERT_CJK, NULL, 0, NULL);
    if (status == KD_OK && flag(step, "strip_accents", lower)) {
        status = kd_text_normal_add(n, KD_NORMAL_NFD, NULL, 0, NULL);
        if (status == KD_OK) status = kd_text_normal_add(n, KD_NORMAL_ACCENTS, NULL, 0, NULL);
    }
    if (status == KD_OK && lower) status = kd_text_normal_add(n, KD_NORMAL_LOWER, NULL, 0, NULL);
    return status;
}

static int add_replace(pipeline *p, const cJSON *step) {
    const cJSON *pattern = kd_json_get(step, "pattern"), *to = kd_json_get(step, "content");
    const cJSON *from = kd_json_get(pattern, "String"), *expression = kd_json_get(pattern, "Regex");
    if (!cJSON_IsString(to)) return kd_text_json_fail(p->json, step, "a step with its content");
    if (kd_text_json_is(expression, KD_EXPRESSION_TRIM) && kd_text_json_is(to, ""))
        return kd_text_normal_add(&p->t->normal, KD_NORMAL_TRIM, NULL, 0, NULL);
    if (kd_text_json_is(expression, KD_EXPRESSION_SPACES))
        return kd_text_normal_add(&p->t->normal, KD_NORMAL_SPACES, NULL, 0, to->valuestring);
    if (!cJSON_IsString(from) || !from->valuestring[0])
        return kd_text_json_fail(p->json, pattern ? pattern : step,
                                 "a text, or the expression ' {2,}': no other is known here");
    return kd_text_normal_add(&p->t->normal, KD_NORMAL_REPLACE, from->valuestring,
                              strlen(from->valuestring), to->valuestring);
}

static int add_strip(pipeline *p, const cJSON *step) {
    int status = KD_OK;
    if (flag(step, "strip_left", true))
        status = kd_text_normal_add(&p->t->normal, KD_NORMAL_STRIP_LEFT, NULL, 0, NULL);
    if (status == KD_OK && flag(step, "strip_right", true))
        status = kd_text_normal_add(&p->t->normal, KD_NORMAL_STRIP_RIGHT, NULL, 0, NULL);
    return status;
}

static int add_charsmap(pipeline *p, const cJSON *step) {
    const cJSON *map = kd_json_get(step, "precompiled_charsmap");
    if (!cJSON_IsString(map)) return kd_text_json_fail(p->json, step, "a precompiled_charsmap");
    const size_t length = strlen(map->valuestring);
    char *bytes = malloc(length + 1);
    if (!bytes) return kd_fail_memory(length, "a normalizer");
    const int64_t n = kd_base64_decode(bytes, map->valuestring, length);
    int status = n < 0 ? kd_text_json_fail(p->json, map, "base64") : KD_OK;
    if (status == KD_OK)
        status = kd_text_normal_add(&p->t->normal, KD_NORMAL_CHARSMAP, bytes, (size_t)n, NULL);
    free(bytes);
    return status;
}

static int read_normalizer(pipeline *p, const cJSON *step) {
    static const struct {
        const char *type;
        kd_normal_kind kind;
    } plain[] = {{"NFC", KD_NORMAL_NFC},         {"NFD", KD_NORMAL_NFD},
                 {"NFKC", KD_NORMAL_NFKC},       {"NFKD", KD_NORMAL_NFKD},
                 {"Lowercase", KD_NORMAL_LOWER}, {"StripAccents", KD_NORMAL_MARKS}};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (is_type(step, plain[i].type))
            return kd_text_normal_add(&p->t->normal, plain[i].kind, NULL, 0, NULL);
    if (is_type(step, "BertNormalizer")) return add_bert(p, step);
    if (is_type(step, "Replace")) return add_replace(p, step);
    if (is_type(step, "Strip")) return add_strip(p, step);
    if (is_type(step, "Precompiled")) return add_charsmap(p, step);
    const cJSON *front = kd_json_get(step, "prepend");
    if (is_type(step, "Prepend") && cJSON_IsString(front))
        return kd_text_normal_add(&p->t->normal, KD_NORMAL_PREPEND, NULL, 0, front->valuestring);
    return refuse(p, step, "normalizer",
                  "NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, BertNormalizer, Replace, Strip, "
                  "Prepend, Precompiled");
}

/* --- pre_tokenizer ---------------------------------------------------------------------------- */

static int read_byte_level(pipeline *p, const cJSON *step) {
    p->letters_seen = true;
    if (flag(step, "add_prefix_space", true))
        return kd_text_json_fail(p->json, kd_json_get(step, "add_prefix_space"),
                                 "false: a space in front of each text is not known here");
    if (!flag(step, "use_regex", true)) return KD_OK;
    if (p->t->split != KD_SPLIT_NONE && p->t->split != KD_SPLIT_DIGITS)
        return kd_text_json_fail(p->json, step, "without use_regex behind another Split");
    if (p->t->split == KD_SPLIT_NONE) p->t->split = KD_SPLIT_GPT2;
    return KD_OK;
}

static int read_split(pipeline *p, const cJSON *step) {
    const cJSON *pattern = kd_json_get(step, "pattern");
    const cJSON *expression = kd_json_get(pattern, "Regex"), *text = kd_json_get(pattern, "String");
    /* Gemma's: its normalizer has left no space, so it splits nothing. */
    if (kd_text_json_is(text, " ") && p->t->normal.count > 0) return KD_OK;
    const kd_split split = cJSON_IsString(expression)
                               ? kd_split_of_expression(expression->valuestring)
                               : KD_SPLIT_NONE;
    if (split == KD_SPLIT_NONE || !kd_text_json_is(kd_json_get(step, "behavior"), "Isolated") ||
        flag(step, "invert", false) || p->t->split != KD_SPLIT_NONE)
        return kd_text_json_fail(p->json, pattern ? pattern : step,
                                 "one of the splits that are known here: GPT-2's, Llama 3's, "
                                 "Qwen 2's, isolated");
    p->t->split = split;
    return KD_OK;
}

static int read_metaspace(pipeline *p, const cJSON *step) {
    const cJSON *scheme = kd_json_get(step, "prepend_scheme"),
                *mark = kd_json_get(step, "replacement");
    if (mark && !kd_text_json_is(mark, MARK)) return kd_text_json_fail(p->json, mark, "\"▁\"");
    const bool front = flag(step, "add_prefix_space", true); /* as older files are */
    p->t->spaces = kd_text_json_is(scheme, "never") || (!scheme && !front) ? KD_SPACES_MARKED
                   : kd_text_json_is(scheme, "first")                      ? KD_SPACES_FIRST
                                                                           : KD_SPACES_ALWAYS;
    if (flag(step, "split", true)) p->t->split = KD_SPLIT_WORDS;
    return KD_OK;
}

static int read_pre_tokenizer(pipeline *p, const cJSON *step) {
    if (p->t->model == KD_MODEL_WORDPIECE) {
        if (is_type(step, "BertPreTokenizer")) return KD_OK;
        return refuse(p, step, "pre_tokenizer of WordPiece", "BertPreTokenizer");
    }
    if (is_type(step, "ByteLevel")) return read_byte_level(p, step);
    if (is_type(step, "Split")) return read_split(p, step);
    if (is_type(step, "Metaspace")) return read_metaspace(p, step);
    if (is_type(step, "WhitespaceSplit")) {
        p->t->words_only = true;
        return KD_OK;
    }
    if (is_type(step, "Digits")) {
        if (!flag(step, "individual_digits", false) || p->t->split != KD_SPLIT_NONE)
            return kd_text_json_fail(p->json, step, "individual_digits, in front of other splits");
        p->t->split = KD_SPLIT_DIGITS;
        return KD_OK;
    }
    return refuse(p, step, "pre_tokenizer", "ByteLevel, Digits, Split, Metaspace, WhitespaceSplit");
}

static int check_splits(const pipeline *p, const cJSON *part) {
    const kd_text_tokenizer *t = p->t;
    if (t->model == KD_MODEL_WORDPIECE) {
        if (part && !cJSON_IsNull(part)) return KD_OK;
        return kd_text_json_fail(p->json, kd_json_root(p->json),
                                 "WordPiece with a pre_tokenizer, BertPreTokenizer");
    }
    if (t->words_only && t->spaces == KD_SPACES_KEPT)
        return kd_text_json_fail(p->json, part, "WhitespaceSplit with a Metaspace behind it");
    if (t->split == KD_SPLIT_DIGITS && !p->letters_seen)
        return kd_text_json_fail(p->json, part, "Digits with a ByteLevel behind it");
    if (t->letters && !p->letters_seen)
        return kd_text_json_fail(p->json, part ? part : kd_json_root(p->json),
                                 "a pre_tokenizer with the ByteLevel that the decoder has");
    return KD_OK;
}

/* --- post_processor --------------------------------------------------------------------------- */

static int put_end(pipeline *p, const cJSON *place, int32_t *list, int *count, double id) {
    if (*count == KD_ENDS_MAX || id < 0 || id >= p->t->ids.vocabulary || id != (double)(int32_t)id)
        return kd_text_json_fail(p->json, place, "a few tokens of the vocabulary around a text");
    list[(*count)++] = (int32_t)id;
    return KD_OK;
}

static int read_template(pipeline *p, const cJSON *step) {
    kd_text_tokenizer *t = p->t;
    bool behind = false;
    int status = KD_OK;
    const cJSON *single = kd_json_get(step, "single"), *table = kd_json_get(step, "special_tokens");
    for (const cJSON *item = single ? single->child : NULL; item && status == KD_OK;
         item = item->next) {
        const cJSON *id = kd_json_get(kd_json_get(item, "SpecialToken"), "id");
        if (kd_json_get(item, "Sequence")) {
            behind = true;
            continue;
        }
        const cJSON *ids =
            cJSON_IsString(id) ? kd_json_get(kd_json_get(table, id->valuestring), "ids") : NULL;
        if (!cJSON_IsArray(ids))
            return kd_text_json_fail(p->json, item, "a token of special_tokens");
        for (const cJSON *one = ids->child; one && status == KD_OK; one = one->next)
            status = put_end(p, one, behind ? t->after : t->before,
                             behind ? &t->after_count : &t->before_count,
                             cJSON_IsNumber(one) ? one->valuedouble : -1);
    }
    return status;
}

/* "cls": ["<s>", 0], "sep": ["</s>", 2] */
static int read_pair(pipeline *p, const cJSON *step) {
    kd_text_tokenizer *t = p->t;
    const cJSON *cls = kd_json_get(step, "cls"), *sep = kd_json_get(step, "sep");
    const cJSON *first = cls && cls->child ? cls->child->next : NULL;
    const cJSON *last = sep && sep->child ? sep->child->next : NULL;
    if (!cJSON_IsNumber(first) || !cJSON_IsNumber(last))
        return kd_text_json_fail(p->json, step, "cls and sep, each a token and its id");
    int status = put_end(p, first, t->before, &t->before_count, first->valuedouble);
    if (status == KD_OK) status = put_end(p, last, t->after, &t->after_count, last->valuedouble);
    return status;
}

static int read_post_processor(pipeline *p, const cJSON *step) {
    if (is_type(step, "ByteLevel")) return KD_OK; /* it moves offsets only */
    if (is_type(step, "TemplateProcessing")) return read_template(p, step);
    if (is_type(step, "BertProcessing") || is_type(step, "RobertaProcessing"))
        return read_pair(p, step);
    return refuse(p, step, "post_processor",
                  "ByteLevel, TemplateProcessing, BertProcessing, RobertaProcessing");
}

/* --- decoder ---------------------------------------------------------------------------------- */

static int read_decoder(pipeline *p, const cJSON *step) {
    kd_text_tokenizer *t = p->t;
    if (is_type(step, "ByteLevel")) {
        t->decode = KD_DECODE_BYTES;
    } else if (is_type(step, "WordPiece")) {
        t->decode = KD_DECODE_WORDPIECE;
        t->tidy = flag(step, "cleanup", true);
    } else if (is_type(step, "Metaspace")) {
        t->decode = KD_DECODE_SPACES;
        t->strip_first = t->spaces == KD_SPACES_FIRST || t->spaces == KD_SPACES_ALWAYS;
    } else if (is_type(step, "Replace") || is_type(step, "ByteFallback") || is_type(step, "Fuse")) {
        t->decode = KD_DECODE_SPACES;
    } else if (is_type(step, "Strip") && kd_text_json_is(kd_json_get(step, "content"), " ")) {
        t->strip_first = true;
    } else {
        return refuse(p, step, "decoder",
                      "ByteLevel, WordPiece, Metaspace, Replace, ByteFallback, Fuse, Strip");
    }
    return KD_OK;
}

bool kd_text_json_has_letters(const cJSON *root) {
    const cJSON *decoder = kd_json_get(root, "decoder"),
                *before = kd_json_get(root, "pre_tokenizer");
    if (is_type(decoder, "ByteLevel") || is_type(before, "ByteLevel")) return true;
    const cJSON *steps = kd_json_get(before, "pretokenizers");
    for (const cJSON *step = cJSON_IsArray(steps) ? steps->child : NULL; step; step = step->next)
        if (is_type(step, "ByteLevel")) return true;
    return false;
}

int kd_text_json_read_pipeline(kd_text_tokenizer *t, const kd_json *json) {
    pipeline p = {.t = t, .json = json};
    const cJSON *root = kd_json_root(json), *before = kd_json_get(root, "pre_tokenizer");
    if (t->model == KD_MODEL_WORDPIECE) t->decode = KD_DECODE_WORDPIECE;
    int status = each_step(&p, kd_json_get(root, "normalizer"), "normalizers", read_normalizer);
    if (status == KD_OK) status = each_step(&p, before, "pretokenizers", read_pre_tokenizer);
    if (status == KD_OK) status = check_splits(&p, before);
    if (status == KD_OK)
        status =
            each_step(&p, kd_json_get(root, "post_processor"), "processors", read_post_processor);
    if (status == KD_OK)
        status = each_step(&p, kd_json_get(root, "decoder"), "decoders", read_decoder);
    return status;
}
