/* A tokenizer as tokenizer.json and tokenizer_config.json, as `tokenizers` and transformers read
 * them. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json_text.h"
#include "data/text_merges.h"
#include "data/text_tokenizer_inside.h"
#include "data/token_letters.h"

static const char MARK[] = "\xE2\x96\x81";

static const char *truth(bool value) {
    return value ? "true" : "false";
}

/* The bytes as a JSON string; they are valid UTF-8. */
static void add_quoted(kd_text *out, const char *bytes, size_t length) {
    char *text = strndup(bytes, length);
    if (!text) out->failed = true;
    if (text) kd_json_add_quoted(out, text);
    free(text);
}

/* As files write the token, between quotes. */
static void add_token_text(kd_text *out, const kd_text_tokenizer *t, int32_t id) {
    const kd_token_bytes token = kd_token_table_get(&t->table, id);
    if (token.length == 0) {
        kd_text_add(out, "\"[PAD%d]\"", (int)id);
    } else if (t->letters && t->kind[id] == KD_TOKEN_NORMAL) {
        char *letters = malloc(2 * token.length + 1);
        if (!letters) out->failed = true;
        if (letters) kd_letters_spell(letters, token.bytes, token.length);
        if (letters) kd_json_add_quoted(out, letters);
        free(letters);
    } else {
        add_quoted(out, token.bytes, token.length);
    }
}

/* --- normalizer ------------------------------------------------------------------------------- */

static void add_base64(kd_text *out, const char *bytes, size_t length) {
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < length; i += 3) {
        uint32_t bits = 0;
        for (size_t k = 0; k < 3; k++)
            bits = bits << 8 | (i + k < length ? (unsigned char)bytes[i + k] : 0);
        const char four[] = {digit[bits >> 18 & 63], digit[bits >> 12 & 63],
                             i + 1 < length ? digit[bits >> 6 & 63] : '=',
                             i + 2 < length ? digit[bits & 63] : '='};
        kd_text_add(out, "%.4s", four);
    }
}

static void add_replace(kd_text *out, const char *kind, const kd_normal_step *step) {
    kd_text_add(out, "{\"type\":\"Replace\",\"pattern\":{\"%s\":", kind);
    add_quoted(out, step->from, step->from_length);
    kd_text_add(out, "},\"content\":");
    add_quoted(out, step->to, step->to_length);
    kd_text_add(out, "}");
}

static void add_step(kd_text *out, const kd_normal_step *step) {
    static const char *const plain[] = {
        [KD_NORMAL_NFC] = "NFC",         [KD_NORMAL_NFD] = "NFD",
        [KD_NORMAL_NFKC] = "NFKC",       [KD_NORMAL_NFKD] = "NFKD",
        [KD_NORMAL_LOWER] = "Lowercase", [KD_NORMAL_MARKS] = "StripAccents"};
    const bool left = step->kind == KD_NORMAL_STRIP_LEFT;
    kd_normal_step own = *step;
    switch (step->kind) {
    case KD_NORMAL_BERT_CLEAN:
    case KD_NORMAL_BERT_CJK:
    case KD_NORMAL_ACCENTS: /* and the NFD in front of it */
        kd_text_add(out,
                    "{\"type\":\"BertNormalizer\",\"clean_text\":%s,\"handle_chinese_chars\":%s,"
                    "\"strip_accents\":%s,\"lowercase\":false}",
                    truth(step->kind == KD_NORMAL_BERT_CLEAN),
                    truth(step->kind == KD_NORMAL_BERT_CJK),
                    truth(step->kind == KD_NORMAL_ACCENTS));
        return;
    case KD_NORMAL_REPLACE:
        add_replace(out, "String", step);
        return;
    case KD_NORMAL_SPACES:
    case KD_NORMAL_TRIM:
        own.from = step->kind == KD_NORMAL_TRIM ? KD_EXPRESSION_TRIM : KD_EXPRESSION_SPACES;
        own.from_length = strlen(own.from);
        add_replace(out, "Regex", &own);
        return;
    case KD_NORMAL_PREPEND:
        kd_text_add(out, "{\"type\":\"Prepend\",\"prepend\":");
        add_quoted(out, step->to, step->to_length);
        break;
    case KD_NORMAL_STRIP_LEFT:
    case KD_NORMAL_STRIP_RIGHT:
        kd_text_add(out, "{\"type\":\"Strip\",\"strip_left\":%s,\"strip_right\":%s", truth(left),
                    truth(!left));
        break;
    case KD_NORMAL_CHARSMAP:
        kd_text_add(out, "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"");
        add_base64(out, step->from, step->from_length);
        kd_text_add(out, "\"");
        break;
    default:
        kd_text_add(out, "{\"type\":\"%s\"", plain[step->kind]);
    }
    kd_text_add(out, "}");
}

static void add_normalizer(kd_text *out, const kd_text_normal *normal) {
    if (normal->count == 0) {
        kd_text_add(out, "null");
        return;
    }
    kd_text_add(out, "{\"type\":\"Sequence\",\"normalizers\":[");
    bool some = false;
    for (int i = 0; i < normal->count; i++) {
        const kd_normal_step *step = &normal->step[i];
        const bool part = step->kind == KD_NORMAL_NFD && i + 1 < normal->count &&
                          step[1].kind == KD_NORMAL_ACCENTS;
        if (part) continue; /* of the step behind it */
        if (some) kd_text_add(out, ",");
        add_step(out, step);
        some = true;
    }
    kd_text_add(out, "]}");
}

/* --- what stands around the model ------------------------------------------------------------- */

static void add_letters(kd_text *out, kd_split split) {
    const char *expression = split == KD_SPLIT_GPT2 ? NULL : kd_split_expression(split);
    kd_text_add(out, "{\"type\":\"Sequence\",\"pretokenizers\":[");
    if (split == KD_SPLIT_DIGITS)
        kd_text_add(out, "{\"type\":\"Digits\",\"individual_digits\":true},");
    if (expression) {
        kd_text_add(out, "{\"type\":\"Split\",\"pattern\":{\"Regex\":");
        kd_json_add_quoted(out, expression);
        kd_text_add(out, "},\"behavior\":\"Isolated\",\"invert\":false},");
    }
    kd_text_add(out,
                "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,"
                "\"use_regex\":%s}]}",
                truth(!expression && split != KD_SPLIT_NONE));
}

static void add_pre_tokenizer(kd_text *out, const kd_text_tokenizer *t) {
    static const char *const scheme[] = {
        [KD_SPACES_MARKED] = "never", [KD_SPACES_FIRST] = "first", [KD_SPACES_ALWAYS] = "always"};
    if (t->model == KD_MODEL_WORDPIECE) {
        kd_text_add(out, "{\"type\":\"BertPreTokenizer\"}");
    } else if (t->letters) {
        add_letters(out, t->split);
    } else if (t->spaces == KD_SPACES_KEPT) {
        kd_text_add(out, "null");
    } else {
        kd_text_add(out,
                    "{\"type\":\"Sequence\",\"pretokenizers\":[%s{\"type\":\"Metaspace\","
                    "\"replacement\":\"%s\",\"prepend_scheme\":\"%s\",\"split\":%s}]}",
                    t->words_only ? "{\"type\":\"WhitespaceSplit\"}," : "", MARK, scheme[t->spaces],
                    truth(t->split == KD_SPLIT_WORDS));
    }
}

static void add_ends(kd_text *out, const int32_t *id, int count, bool behind) {
    for (int i = 0; i < count; i++)
        kd_text_add(out, "%s{\"SpecialToken\":{\"id\":\"%d\",\"type_id\":0}}%s", behind ? "," : "",
                    (int)id[i], behind ? "" : ",");
}

static void add_end_ids(kd_text *out, const int32_t *id, int count, const kd_text_tokenizer *t,
                        bool *some) {
    for (int i = 0; i < count; i++) {
        kd_text_add(out, "%s\"%d\":{\"id\":\"%d\",\"ids\":[%d],\"tokens\":[", *some ? "," : "",
                    (int)id[i], (int)id[i], (int)id[i]);
        add_token_text(out, t, id[i]);
        kd_text_add(out, "]}");
        *some = true;
    }
}

static void add_post_processor(kd_text *out, const kd_text_tokenizer *t) {
    bool some = false;
    if (t->before_count + t->after_count == 0) {
        kd_text_add(out, "null");
        return;
    }
    static const char *const list[] = {"single", "pair"};
    kd_text_add(out, "{\"type\":\"TemplateProcessing\"");
    for (int i = 0; i < 2; i++) {
        kd_text_add(out, ",\"%s\":[", list[i]);
        add_ends(out, t->before, t->before_count, false);
        kd_text_add(out, "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}");
        add_ends(out, t->after, t->after_count, true);
        if (i == 1) {
            kd_text_add(out, ",{\"Sequence\":{\"id\":\"B\",\"type_id\":1}}");
            add_ends(out, t->after, t->after_count, true);
        }
        kd_text_add(out, "]");
    }
    kd_text_add(out, ",\"special_tokens\":{");
    add_end_ids(out, t->before, t->before_count, t, &some);
    add_end_ids(out, t->after, t->after_count, t, &some);
    kd_text_add(out, "}}");
}

static void add_decoder(kd_text *out, const kd_text_tokenizer *t) {
    if (t->decode == KD_DECODE_BYTES)
        kd_text_add(out, "{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true,"
                         "\"use_regex\":true}");
    else if (t->decode == KD_DECODE_WORDPIECE)
        kd_text_add(out, "{\"type\":\"WordPiece\",\"prefix\":\"##\",\"cleanup\":%s}",
                    truth(t->tidy));
    else
        kd_text_add(
            out,
            "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":"
            "{\"String\":\"%s\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":"
            "\"Fuse\"}%s]}",
            MARK,
            t->strip_first ? ",{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}" : "");
}

/* --- tokens ----------------------------------------------------------------------------------- */

/* Added tokens whose text an ordinary one has, too, stand among the added ones only. */
static bool is_listed(const kd_text_tokenizer *t, int32_t id) {
    const kd_token_bytes token = kd_token_table_get(&t->table, id);
    if (token.length == 0 || t->kind[id] == KD_TOKEN_NORMAL || t->kind[id] == KD_TOKEN_BYTE)
        return true;
    char bytes[1024];
    const int64_t n = token.length > sizeof bytes ? -1
                      : t->letters ? kd_letters_read(bytes, token.bytes, token.length)
                                   : -1;
    const int32_t other = n >= 0 ? kd_token_table_find(&t->table, bytes, (size_t)n)
                                 : kd_token_table_find(&t->table, token.bytes, token.length);
    return other < 0 || other == id;
}

static int by_id(const void *a, const void *b) {
    const kd_added_token *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static int add_added(kd_text *out, const kd_text_tokenizer *t) {
    const size_t n = (size_t)t->added_count;
    kd_added_token *list = malloc((n + 1) * sizeof *list);
    if (!list) return kd_fail_memory(n * sizeof *list, "tokenizer.json");
    if (n > 0) memcpy(list, t->added, n * sizeof *list);
    qsort(list, n, sizeof *list, by_id);
    for (size_t i = 0; i < n; i++) {
        kd_text_add(out, "%s\n{\"id\":%d,\"content\":", i ? "," : "", (int)list[i].id);
        add_token_text(out, t, list[i].id);
        kd_text_add(out,
                    ",\"single_word\":false,\"lstrip\":%s,\"rstrip\":%s,\"normalized\":%s,"
                    "\"special\":%s}",
                    truth(list[i].left), truth(list[i].right), truth(list[i].normalized),
                    truth(t->kind[list[i].id] != KD_TOKEN_USER));
    }
    free(list);
    return KD_OK;
}

static void add_vocabulary(kd_text *out, const kd_text_tokenizer *t) {
    const bool scores = t->model == KD_MODEL_UNIGRAM;
    bool some = false;
    kd_text_add(out, scores ? "[" : "{");
    for (int32_t id = 0; id < t->ids.vocabulary; id++) {
        if (!scores && !is_listed(t, id)) continue;
        kd_text_add(out, some ? ",\n" : "\n");
        if (scores) kd_text_add(out, "[");
        add_token_text(out, t, id);
        if (scores)
            kd_text_add(out, ",%.17g]", t->score[id]);
        else
            kd_text_add(out, ":%d", (int)id);
        some = true;
    }
    kd_text_add(out, scores ? "\n]" : "\n}");
}

static int add_merges(kd_text *out, const kd_text_tokenizer *t) {
    uint64_t *merge = t->merge, *made = NULL;
    int64_t count = t->merges;
    int status = t->rank ? kd_text_merges_of_scores(&made, &count, t) : KD_OK;
    if (made) merge = made;
    for (int64_t i = 0; i < count && status == KD_OK; i++) {
        kd_text_add(out, i ? ",\n[" : "\n[");
        add_token_text(out, t, (int32_t)(merge[i] >> 32));
        kd_text_add(out, ",");
        add_token_text(out, t, (int32_t)merge[i]);
        kd_text_add(out, "]");
    }
    free(made);
    return status;
}

static int add_model(kd_text *out, const kd_text_tokenizer *t) {
    static const char *const name[] = {"BPE", "Unigram", "WordPiece"};
    int status = KD_OK;
    kd_text_add(out, "{\"type\":\"%s\",", name[t->model]);
    if (t->model == KD_MODEL_UNIGRAM) {
        if (t->ids.unknown >= 0) kd_text_add(out, "\"unk_id\":%d,", (int)t->ids.unknown);
    } else if (t->ids.unknown >= 0 && !t->letters) {
        kd_text_add(out, "\"unk_token\":");
        add_token_text(out, t, t->ids.unknown);
        kd_text_add(out, ",");
    }
    if (t->model == KD_MODEL_WORDPIECE)
        kd_text_add(out, "\"continuing_subword_prefix\":\"##\",\"max_input_chars_per_word\":%d",
                    (int)t->word_max);
    else
        kd_text_add(out, "\"byte_fallback\":%s", truth(t->byte_fallback));
    if (t->model == KD_MODEL_BPE) {
        kd_text_add(out,
                    ",\"dropout\":null,\"continuing_subword_prefix\":null,\"end_of_word_suffix\":"
                    "null,\"fuse_unk\":%s,\"ignore_merges\":%s,\"merges\":[",
                    truth(t->fuse_unknown), truth(t->whole_first));
        status = add_merges(out, t);
        kd_text_add(out, "\n]");
    }
    kd_text_add(out, ",\"vocab\":");
    add_vocabulary(out, t);
    kd_text_add(out, "}");
    return status;
}

static int make_tokenizer(kd_text *out, const kd_text_tokenizer *t) {
    kd_text_add(out,
                "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\n\"added_tokens\":[");
    int status = add_added(out, t);
    kd_text_add(out, "],\n\"normalizer\":");
    add_normalizer(out, &t->normal);
    kd_text_add(out, ",\n\"pre_tokenizer\":");
    add_pre_tokenizer(out, t);
    kd_text_add(out, ",\n\"post_processor\":");
    add_post_processor(out, t);
    kd_text_add(out, ",\n\"decoder\":");
    add_decoder(out, t);
    kd_text_add(out, ",\n\"model\":");
    if (status == KD_OK) status = add_model(out, t);
    kd_text_add(out, "}\n");
    return status;
}

static void make_config(kd_text *out, const kd_text_tokenizer *t) {
    const struct {
        const char *key;
        int32_t id;
    } special[] = {{"bos_token", t->ids.bos},     {"eos_token", t->ids.eos},
                   {"unk_token", t->ids.unknown}, {"pad_token", t->ids.padding},
                   {"mask_token", t->ids.mask},   {"sep_token", t->ids.separator},
                   {"cls_token", t->ids.classify}};
    kd_text_add(out, "{\n  \"tokenizer_class\": \"PreTrainedTokenizerFast\",\n"
                     "  \"clean_up_tokenization_spaces\": false");
    for (size_t i = 0; i < sizeof special / sizeof *special; i++) {
        if (special[i].id < 0) continue;
        kd_text_add(out, ",\n  \"%s\": ", special[i].key);
        add_token_text(out, t, special[i].id);
    }
    if (t->chat_template) {
        kd_text_add(out, ",\n  \"chat_template\": ");
        kd_json_add_quoted(out, t->chat_template);
    }
    kd_text_add(out, "\n}\n");
}

int kd_text_tokenizer_write(const kd_text_tokenizer *t, const char *folder) {
    kd_text text = {0}, config = {0};
    int status = make_tokenizer(&text, t);
    make_config(&config, t);
    if (status == KD_OK) status = kd_text_save(&text, folder, "tokenizer.json");
    if (status == KD_OK) status = kd_text_save(&config, folder, "tokenizer_config.json");
    free(text.text);
    free(config.text);
    return status;
}
