/* The special tokens: their ids, their texts, and which ordinary tokens are no speech. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "data/tokenizer_internal.h"

/* In the order of their ids. The last one came with large-v3. */
static const struct {
    const char *code, *name;
} languages[KD_LANGUAGES_MAX] = {
    {"en", "english"},        {"zh", "chinese"},     {"de", "german"},        {"es", "spanish"},
    {"ru", "russian"},        {"ko", "korean"},      {"fr", "french"},        {"ja", "japanese"},
    {"pt", "portuguese"},     {"tr", "turkish"},     {"pl", "polish"},        {"ca", "catalan"},
    {"nl", "dutch"},          {"ar", "arabic"},      {"sv", "swedish"},       {"it", "italian"},
    {"id", "indonesian"},     {"hi", "hindi"},       {"fi", "finnish"},       {"vi", "vietnamese"},
    {"he", "hebrew"},         {"uk", "ukrainian"},   {"el", "greek"},         {"ms", "malay"},
    {"cs", "czech"},          {"ro", "romanian"},    {"da", "danish"},        {"hu", "hungarian"},
    {"ta", "tamil"},          {"no", "norwegian"},   {"th", "thai"},          {"ur", "urdu"},
    {"hr", "croatian"},       {"bg", "bulgarian"},   {"lt", "lithuanian"},    {"la", "latin"},
    {"mi", "maori"},          {"ml", "malayalam"},   {"cy", "welsh"},         {"sk", "slovak"},
    {"te", "telugu"},         {"fa", "persian"},     {"lv", "latvian"},       {"bn", "bengali"},
    {"sr", "serbian"},        {"az", "azerbaijani"}, {"sl", "slovenian"},     {"kn", "kannada"},
    {"et", "estonian"},       {"mk", "macedonian"},  {"br", "breton"},        {"eu", "basque"},
    {"is", "icelandic"},      {"hy", "armenian"},    {"ne", "nepali"},        {"mn", "mongolian"},
    {"bs", "bosnian"},        {"kk", "kazakh"},      {"sq", "albanian"},      {"sw", "swahili"},
    {"gl", "galician"},       {"mr", "marathi"},     {"pa", "punjabi"},       {"si", "sinhala"},
    {"km", "khmer"},          {"sn", "shona"},       {"yo", "yoruba"},        {"so", "somali"},
    {"af", "afrikaans"},      {"oc", "occitan"},     {"ka", "georgian"},      {"be", "belarusian"},
    {"tg", "tajik"},          {"sd", "sindhi"},      {"gu", "gujarati"},      {"am", "amharic"},
    {"yi", "yiddish"},        {"lo", "lao"},         {"uz", "uzbek"},         {"fo", "faroese"},
    {"ht", "haitian creole"}, {"ps", "pashto"},      {"tk", "turkmen"},       {"nn", "nynorsk"},
    {"mt", "maltese"},        {"sa", "sanskrit"},    {"lb", "luxembourgish"}, {"my", "myanmar"},
    {"bo", "tibetan"},        {"tl", "tagalog"},     {"mg", "malagasy"},      {"as", "assamese"},
    {"tt", "tatar"},          {"haw", "hawaiian"},   {"ln", "lingala"},       {"ha", "hausa"},
    {"ba", "bashkir"},        {"jw", "javanese"},    {"su", "sundanese"},     {"yue", "cantonese"},
};

/* Other names of the same, and a code that Hebrew had before; as in OpenAI's list. */
static const struct {
    const char *name, *code;
} aliases[] = {{"burmese", "my"},   {"valencian", "ca"},     {"flemish", "nl"},
               {"haitian", "ht"},   {"letzeburgesch", "lb"}, {"pushto", "ps"},
               {"panjabi", "pa"},   {"moldavian", "ro"},     {"moldovan", "ro"},
               {"sinhalese", "si"}, {"castilian", "es"},     {"mandarin", "zh"},
               {"iw", "he"}};

int kd_token_ids_layout(kd_token_ids *out, int64_t ordinary, int64_t vocabulary, int64_t added,
                        const char *name) {
    const int64_t all = vocabulary;
    vocabulary -= added;
    int64_t left = vocabulary - ordinary - KD_SPECIALS - KD_TIMESTAMPS;
    if (ordinary < 0 || ordinary > KD_ORDINARY_TOKENS_MAX || left < 1 || left > KD_LANGUAGES_MAX)
        return kd_fail(KD_EDATA,
                       "%s: %lld ordinary tokens do not belong to a vocabulary of %lld: with %d "
                       "special ones it would have %lld languages, should be 1 to %d",
                       name, (long long)ordinary, (long long)vocabulary,
                       KD_SPECIALS + KD_TIMESTAMPS, (long long)left, KD_LANGUAGES_MAX);
    int32_t end = (int32_t)ordinary, behind = end + 2 + (int32_t)left;
    *out = (kd_token_ids){.vocabulary = (int32_t)all,
                          .end = end,
                          .start = end + 1,
                          .language = end + 2,
                          .languages = (int32_t)left,
                          .translate = behind,
                          .transcribe = behind + 1,
                          .start_lm = behind + 2,
                          .previous = behind + 3,
                          .no_speech = behind + 4,
                          .no_timestamps = behind + 5,
                          .timestamp = behind + 6,
                          .added = (int32_t)vocabulary,
                          .multilingual = vocabulary >= KD_MULTILINGUAL_VOCABULARY};
    return KD_OK;
}

int kd_token_special_text(char out[KD_SPECIAL_TEXT_MAX], const kd_token_ids *ids, int32_t id) {
    static const char *const task[] = {"translate",   "transcribe", "startoflm",
                                       "startofprev", "nospeech",   "notimestamps"};
    KD_CONTRACT(id >= ids->end && id < ids->added, "token %d", id);
    size_t room = KD_SPECIAL_TEXT_MAX;
    if (id >= ids->timestamp) {
        int hundredths = 2 * (id - ids->timestamp);
        return snprintf(out, room, "<|%d.%02d|>", hundredths / 100, hundredths % 100);
    }
    const char *word = id == ids->end         ? "endoftext"
                       : id == ids->start     ? "startoftranscript"
                       : id >= ids->translate ? task[id - ids->translate]
                                              : languages[id - ids->language].code;
    return snprintf(out, room, "<|%s|>", word);
}

int32_t kd_tokenizer_special(const kd_tokenizer *tokenizer, const char *text) {
    const kd_token_ids *ids = &tokenizer->ids;
    if (strcmp(text, "<|nocaptions|>") == 0) return ids->no_speech;
    if (strcmp(text, "<|iw|>") == 0) text = "<|he|>";
    size_t length = strlen(text);
    for (int32_t id = ids->end; id < ids->added; id++) {
        kd_token_bytes token = kd_tokenizer_token(tokenizer, id);
        if (token.length == length && memcmp(token.bytes, text, length) == 0) return id;
    }
    return -1;
}

int32_t kd_tokenizer_language(const kd_tokenizer *tokenizer, const char *code_or_name) {
    const kd_token_ids *ids = &tokenizer->ids;
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (strcasecmp(aliases[i].name, code_or_name) == 0) code_or_name = aliases[i].code;
    for (int32_t i = 0; i < ids->languages; i++)
        if (strcasecmp(languages[i].code, code_or_name) == 0 ||
            strcasecmp(languages[i].name, code_or_name) == 0)
            return ids->language + i;
    return -1;
}

const char *kd_tokenizer_language_code(const kd_tokenizer *tokenizer, int32_t id) {
    const kd_token_ids *ids = &tokenizer->ids;
    KD_CONTRACT(id >= ids->language && id < ids->translate, "token %d is no language", id);
    return languages[id - ids->language].code;
}

static int by_id(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

typedef struct {
    const kd_tokenizer *tokenizer;
    int32_t *id;
    int count, capacity;
} id_list;

/* Adds the first token of the text, when it is the only one or `always`. */
static int add_first(id_list *list, const char *text, bool always) {
    int32_t *id;
    int64_t count;
    int status = kd_tokenizer_encode(&id, &count, list->tokenizer, text, strlen(text));
    if (status < 0) return status;
    if (list->count < list->capacity && count > 0 && (count == 1 || always))
        list->id[list->count++] = id[0];
    free(id);
    return KD_OK;
}

int kd_tokenizer_non_speech(const kd_tokenizer *tokenizer, int32_t *out, int capacity) {
    /* Alone and behind a space: symbols when they are one token, notes by their first token. */
    static const char symbols[] =
        "\" # ( ) * + / : ; < = > @ [ \\ ] ^ _ ` { | } ~ 「 」 『 』 "
        "<< >> <<< >>> -- --- -( -[ (' (\" (( )) ((( ))) [[ ]] {{ }} ♪♪ ♪♪♪ ";
    static const char notes[] = "♩ ♪ ♫ ♬ ♭ ♮ ♯ ";
    const char *const lists[] = {symbols, notes};
    int32_t found[2 * sizeof symbols];
    id_list list = {.tokenizer = tokenizer, .id = found, .capacity = 2 * sizeof symbols};
    int status = add_first(&list, " -", true), kept = 0;
    if (status == KD_OK) status = add_first(&list, " '", true);
    for (int i = 0; i < 2; i++)
        for (const char *at = lists[i]; *at && status == KD_OK;) {
            char text[16];
            int n = (int)strcspn(at, " ");
            snprintf(text, sizeof text, " %.*s", n, at);
            status = add_first(&list, text + 1, i == 1);
            if (status == KD_OK) status = add_first(&list, text, i == 1);
            at += n + 1;
        }
    if (status < 0) return status;
    qsort(found, (size_t)list.count, sizeof *found, by_id);
    for (int i = 0; i < list.count; i++)
        if ((i == 0 || found[i] != found[i - 1]) && kept < capacity) out[kept++] = found[i];
    return kept;
}

/* Appends count ids as far as there is room; the new number. */
static int append(int32_t *out, int kept, int capacity, const int32_t *id, int count) {
    for (int i = 0; i < count && kept < capacity; i++) out[kept++] = id[i];
    return kept;
}

int kd_tokenizer_suppressed(const kd_tokenizer *tokenizer, int32_t *out, int capacity) {
    const kd_token_ids *ids = &tokenizer->ids;
    const int32_t special[] = {ids->start,    ids->translate, ids->transcribe,
                               ids->start_lm, ids->previous,  ids->no_speech};
    const int count = kd_tokenizer_non_speech(tokenizer, out, capacity);
    if (count < 0) return count;
    return append(out, count, capacity, special, sizeof special / sizeof *special);
}

int kd_tokenizer_begin_suppressed(const kd_tokenizer *tokenizer, int32_t *out, int capacity) {
    int32_t *space;
    int64_t count;
    int status = kd_tokenizer_encode(&space, &count, tokenizer, " ", 1);
    if (status < 0) return status;
    int kept = count == 1 ? append(out, 0, capacity, space, 1) : 0;
    free(space);
    return append(out, kept, capacity, &tokenizer->ids.end, 1);
}
