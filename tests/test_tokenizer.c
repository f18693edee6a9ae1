/* Unicode, byte-pair encoding and Whisper's special tokens. */
#include "test_data.h"

#include "asserts.h"
#include "base/rng.h"
#include "base/unicode.h"
#include "change_text.h"
#include "data/tokenizer.h"
#include "data/tokenizer_write.h"

enum { SMALL = 512, SMALL_VOCABULARY = SMALL + 8 + 99 + 1501, GOLDEN_TEXTS = 23 };

static kd_tokenizer *read_small(void) {
    kd_tokenizer *t;
    assert_ok(kd_tokenizer_read_ranks(&t, "tests/golden/tokenizer.tiktoken", SMALL_VOCABULARY));
    return t;
}

static uint32_t next_u32(const char *bytes, size_t *at) {
    uint32_t value;
    memcpy(&value, bytes + *at, sizeof value);
    *at += sizeof value;
    return value;
}

static void check_golden(const kd_tokenizer *t, const char *text, size_t length, const char *right,
                         uint32_t count) {
    int32_t *id;
    int64_t n;
    char *back;
    size_t back_length;
    assert_ok(kd_tokenizer_encode(&id, &n, t, text, length));
    assert_int_equal(n, count);
    if (n > 0) assert_memory_equal(id, right, (size_t)n * sizeof *id);
    assert_ok(kd_tokenizer_decode(&back, &back_length, t, id, n, false));
    assert_int_equal(back_length, length);
    assert_memory_equal(back, text, length + 1);
    free(back);
    free(id);
}

/* Every golden text through the tokenizer of column 0 (small), 1 (English) or 2 (multilingual). */
static void check_goldens(const kd_tokenizer *t, int column) {
    char *bytes;
    size_t length, at = 0;
    int texts = 0;
    assert_ok(kd_file_read(&bytes, &length, "tests/golden/tokenizer.bin", 1 << 20));
    for (; at < length; texts++) {
        char text[1024];
        uint32_t n = next_u32(bytes, &at);
        assert_true(n < sizeof text);
        memcpy(text, bytes + at, n);
        text[n] = '\0';
        at += n;
        for (int c = 0; c < 3; c++) {
            uint32_t count = next_u32(bytes, &at);
            if (c == column) check_golden(t, text, n, bytes + at, count);
            at += 4 * count;
        }
    }
    assert_int_equal(texts, GOLDEN_TEXTS);
    free(bytes);
}

static void test_small(void **state) {
    (void)state;
    kd_tokenizer *t = read_small();
    check_goldens(t, 0);
    kd_tokenizer_free(t);
}

/* The same tokenizer as Hugging Face writes it, now and formerly. */
static void test_folders(void **state) {
    (void)state;
    kd_tokenizer *small = read_small(), *t;
    kd_hash hash = kd_tokenizer_hash(small);
    const char *folder[] = {"tests/golden/tokenizer_hf", "tests/golden/tokenizer_json"};
    for (int i = 0; i < 2; i++) {
        assert_ok(kd_tokenizer_read_folder(&t, folder[i], SMALL_VOCABULARY));
        check_goldens(t, 0);
        assert_string_equal(kd_tokenizer_hash(t).hex, hash.hex);
        kd_tokenizer_free(t);
        assert_refused(kd_tokenizer_read_folder(&t, folder[i], SMALL_VOCABULARY + 1), KD_EDATA,
                       "the model has 2121 tokens; the id 2120 has none here");
        assert_null(t);
        assert_refused(kd_tokenizer_read_folder(&t, folder[i], SMALL_VOCABULARY - 1), KD_EDATA,
                       "'<|su|>', id 612, is no special token of Whisper");
        assert_null(t);
    }
    kd_tokenizer_free(small);
}

static void test_english(void **state) {
    (void)state;
    char path[KD_PATH_MAX];
    test_need(path, "whisper/gpt2.tiktoken");
    kd_tokenizer *t;
    assert_ok(kd_tokenizer_read_ranks(&t, path, 51864));
    check_goldens(t, 1);
    const kd_token_ids *ids = kd_tokenizer_ids(t);
    assert_false(ids->multilingual);
    assert_int_equal(ids->end, 50256);
    assert_int_equal(ids->start, 50257);
    assert_int_equal(ids->previous, 50360);
    assert_int_equal(ids->no_timestamps, 50362);
    assert_int_equal(ids->timestamp, 50363);
    assert_int_equal(kd_tokenizer_special(t, "<|30.00|>"), 51863);
    /* What OpenAI's English models suppress, from the published generation settings. */
    int32_t quiet[128];
    assert_int_equal(kd_tokenizer_non_speech(t, quiet, 128), 84);
    assert_int_equal(quiet[0], 1);
    assert_int_equal(quiet[23], 357);
    assert_int_equal(quiet[83], 49146);
    kd_tokenizer_free(t);
}

static void test_multilingual(void **state) {
    (void)state;
    char path[KD_PATH_MAX];
    test_need(path, "whisper/multilingual.tiktoken");
    kd_tokenizer *t;
    assert_ok(kd_tokenizer_read_ranks(&t, path, 51865));
    check_goldens(t, 2);
    const kd_token_ids *ids = kd_tokenizer_ids(t);
    assert_true(ids->multilingual);
    assert_int_equal(ids->end, 50257);
    assert_int_equal(ids->languages, 99);
    assert_int_equal(kd_tokenizer_language(t, "de"), 50261);
    assert_int_equal(ids->transcribe, 50359);
    assert_int_equal(ids->no_speech, 50362);
    assert_int_equal(ids->timestamp, 50364);
    assert_int_equal(kd_tokenizer_language(t, "yue"), -1);
    kd_tokenizer_free(t);
    assert_ok(kd_tokenizer_read_ranks(&t, path, 51866)); /* large-v3 */
    assert_int_equal(kd_tokenizer_language(t, "Cantonese"), 50358);
    assert_int_equal(kd_tokenizer_ids(t)->timestamp, 50365);
    kd_tokenizer_free(t);
    assert_refused(kd_tokenizer_read_ranks(&t, path, 51864 + 200), KD_EDATA, "languages");
}

/* OpenAI's other names of languages, in any case, and two texts that tokens had before. */
static void test_aliases(void **state) {
    (void)state;
    static const char *const same[][2] = {
        {"burmese", "my"},   {"valencian", "ca"}, {"flemish", "nl"},   {"haitian", "ht"},
        {"pushto", "ps"},    {"panjabi", "pa"},   {"moldavian", "ro"}, {"moldovan", "ro"},
        {"sinhalese", "si"}, {"castilian", "es"}, {"Mandarin", "zh"},  {"letzeburgesch", "lb"},
        {"HEBREW", "he"},    {"iw", "he"},        {"Norwegian", "no"}, {"Haitian Creole", "ht"},
        {"DE", "de"}};
    kd_tokenizer *t = read_small();
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        const int32_t id = kd_tokenizer_language(t, same[i][0]);
        assert_true(id >= 0);
        assert_string_equal(kd_tokenizer_language_code(t, id), same[i][1]);
    }
    assert_int_equal(kd_tokenizer_special(t, "<|iw|>"), kd_tokenizer_language(t, "he"));
    assert_int_equal(kd_tokenizer_special(t, "<|nocaptions|>"), kd_tokenizer_ids(t)->no_speech);
    kd_tokenizer_free(t);
}

/* The tokens of a whisper.cpp file: the list has the end of text too. */
static void test_list(void **state) {
    (void)state;
    kd_tokenizer *small = read_small(), *t;
    kd_token_bytes token[SMALL + 2];
    for (int i = 0; i < SMALL; i++) token[i] = kd_tokenizer_token(small, i);
    assert_ok(kd_tokenizer_create(&t, token, SMALL, SMALL_VOCABULARY, "list"));
    check_goldens(t, 0);
    kd_tokenizer_free(t);
    token[SMALL] = token[SMALL + 1] = (kd_token_bytes){"<|endoftext|>", 13};
    assert_ok(kd_tokenizer_create(&t, token, SMALL + 2, SMALL_VOCABULARY, "list"));
    assert_string_equal(kd_tokenizer_hash(t).hex, kd_tokenizer_hash(small).hex);
    kd_tokenizer_free(t);
    assert_refused(kd_tokenizer_create(&t, token, SMALL, 51864, "list"), KD_EDATA,
                   "list: 512 ordinary tokens do not belong to a vocabulary of 51864");
    token[300] = token[299];
    assert_refused(kd_tokenizer_create(&t, token, SMALL, SMALL_VOCABULARY, "list"), KD_EDATA,
                   "list: tokens 299 and 300 are the same");
    token[300] = kd_tokenizer_token(small, 300);
    token[7].length = 0;
    assert_refused(kd_tokenizer_create(&t, token, SMALL, SMALL_VOCABULARY, "list"), KD_EDATA,
                   "list: no token for the byte 0x28");
    assert_null(t);
    kd_tokenizer_free(small);
}

static void test_specials(void **state) {
    (void)state;
    kd_tokenizer *t = read_small();
    const kd_token_ids *ids = kd_tokenizer_ids(t);
    int32_t id[] = {ids->start, ids->language + 2, ids->timestamp + 51, 39, ids->end};
    char *text;
    assert_ok(kd_tokenizer_decode(&text, NULL, t, id, 5, true));
    assert_string_equal(text, "<|startoftranscript|><|de|><|1.02|>H<|endoftext|>");
    free(text);
    assert_ok(kd_tokenizer_decode(&text, NULL, t, id, 5, false));
    assert_string_equal(text, "H");
    free(text);
    assert_int_equal(ids->timestamp + KD_TIMESTAMPS, ids->vocabulary);
    assert_int_equal(kd_tokenizer_special(t, "<|nospeech|>"), ids->no_speech);
    assert_int_equal(kd_tokenizer_special(t, "H"), -1);
    assert_int_equal(kd_tokenizer_language(t, "german"), ids->language + 2);
    assert_int_equal(kd_tokenizer_language(t, "klingon"), -1);
    assert_string_equal(kd_tokenizer_language_code(t, ids->language + 2), "de");
    id[1] = ids->vocabulary;
    assert_refused(kd_tokenizer_decode(&text, NULL, t, id, 5, false), KD_EDATA,
                   "token 2120 at place 1, should be below 2120");
    kd_tokenizer_free(t);
}

/* Any bytes go through as they are; decoding to text mends them as other programs do. */
static void test_bytes(void **state) {
    (void)state;
    kd_tokenizer *t = read_small();
    kd_rng rng = kd_rng_init(5, 0);
    for (int round = 0; round < 300; round++) {
        char bytes[64], back[64];
        size_t length = (size_t)kd_rng_below(&rng, sizeof bytes), at = 0;
        for (size_t i = 0; i < length; i++) bytes[i] = (char)kd_rng_u32(&rng);
        int32_t *id;
        int64_t count;
        assert_ok(kd_tokenizer_encode(&id, &count, t, bytes, length));
        for (int64_t i = 0; i < count; i++) {
            kd_token_bytes token = kd_tokenizer_token(t, id[i]);
            assert_true(at + token.length <= length);
            memcpy(back + at, token.bytes, token.length);
            at += token.length;
        }
        assert_int_equal(at, length);
        assert_memory_equal(bytes, back, length);
        free(id);
    }
    static const struct {
        const char *bytes, *text; /* the text as Python's decode(errors="replace") gives it */
    } broken[] = {{"a\xFFz", "a\uFFFDz"},
                  {"\xE4\xBD", "\uFFFD"},
                  {"\xE4\xBDz", "\uFFFDz"},
                  {"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"},
                  {"\xF0\x9F\x98", "\uFFFD"},
                  {"\xF0\x80\x80", "\uFFFD\uFFFD\uFFFD"},
                  {"\xC0\xAF", "\uFFFD\uFFFD"},
                  {"\xF4\x90\x80", "\uFFFD\uFFFD\uFFFD"},
                  {"\xE0\xA0\xE0\xA0\x80", "\uFFFD\u0800"}};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        int32_t *id;
        int64_t count;
        char *text;
        assert_ok(kd_tokenizer_encode(&id, &count, t, broken[i].bytes, strlen(broken[i].bytes)));
        assert_ok(kd_tokenizer_decode(&text, NULL, t, id, count, false));
        assert_string_equal(text, broken[i].text);
        free(text);
        free(id);
    }
    kd_tokenizer_free(t);
}

/* One piece of a megabyte: joining must not be quadratic (this would take hours). */
static void test_long_piece(void **state) {
    (void)state;
    enum { LONG = 1 << 20 };
    kd_tokenizer *t = read_small();
    char *text = test_malloc(LONG);
    memset(text, 'e', LONG);
    for (int i = 0; i < LONG; i += 3) text[i] = 'r';
    int32_t *id;
    int64_t count;
    assert_ok(kd_tokenizer_encode(&id, &count, t, text, LONG));
    assert_true(count > LONG / 4 && count < LONG);
    free(id);
    test_free(text);
    kd_tokenizer_free(t);
}

static int parse(const char *text) {
    kd_tokenizer *t;
    int status = kd_tokenizer_parse_ranks(&t, text, strlen(text), SMALL_VOCABULARY, "ranks");
    if (status == KD_OK) kd_tokenizer_free(t);
    return status;
}

static void test_refused_ranks(void **state) {
    (void)state;
    assert_refused(parse(""), KD_EDATA, "ranks: 0 ordinary tokens");
    assert_refused(parse("IQ== 0\nIg==\n"), KD_EDATA, "ranks:2: 'Ig==' should be base64");
    assert_refused(parse("IQ== 0\nI!== 1\n"), KD_EDATA, "ranks:2: ");
    assert_refused(parse("IQ== 0\nIg== 0\n"), KD_EDATA, "ranks:2: the id 0 is there twice");
    assert_refused(parse("IQ== 0\nIg== 2\n"), KD_EDATA, "ranks:2: id 2, should be 0 to 1");
    assert_refused(parse("IQ== 99999999999\n"), KD_EDATA, "ranks:1: ");
    kd_tokenizer *t;
    assert_refused(kd_tokenizer_read_ranks(&t, "/nonexistent", 51864), KD_ENOINPUT, "nonexistent");
}

static int read_folder(test_folder *folder, const char *vocab, const char *merges) {
    kd_tokenizer *t;
    test_write(test_path(folder, "vocab.json"), vocab, strlen(vocab));
    test_write(test_path(folder, "merges.txt"), merges, strlen(merges));
    int status = kd_tokenizer_read_folder(&t, folder->path, SMALL_VOCABULARY);
    if (status == KD_OK) kd_tokenizer_free(t);
    return status;
}

static void test_refused_folders(void **state) {
    test_folder *folder = *state;
    kd_tokenizer *t;
    assert_refused(kd_tokenizer_read_folder(&t, folder->path, SMALL_VOCABULARY), KD_ENOINPUT,
                   "neither vocab.json nor tokenizer.json");
    assert_refused(read_folder(folder, "[]", ""), KD_EDATA, "vocab.json:1:1: should be an object");
    assert_refused(read_folder(folder, "{\"a\": 0.5}", ""), KD_EDATA, "should be an id");
    assert_refused(read_folder(folder, "{\"a b\": 0}", ""), KD_EDATA, "alphabet of bytes");
    assert_refused(read_folder(folder, "{\"a\": 1}", ""), KD_EDATA, "id 1, should be 0 to 0");
    assert_refused(read_folder(folder, "{\"a\": 0, \"b\": 0}", ""), KD_EDATA, "there twice");
    char *vocab;
    size_t length;
    assert_ok(kd_file_read(&vocab, &length, "tests/golden/tokenizer_hf/vocab.json", 1 << 20));
    assert_int_equal(read_folder(folder, vocab, ""), KD_OK);
    assert_refused(read_folder(folder, vocab, "#version\nĠ t\nĠ t\n"), KD_EDATA, "merges.txt:3: ");
    assert_refused(read_folder(folder, vocab, "h e\nĠ t\n"), KD_EDATA, "in the order of the ids");
    assert_refused(read_folder(folder, vocab, "q x\n"), KD_EDATA, "makes no token");
    assert_refused(read_folder(folder, vocab, "qx\n"), KD_EDATA, "two tokens");
    free(vocab);
}

/* The small tokenizer as a folder, with `added` in its added_tokens.json. */
static int read_added(test_folder *folder, kd_tokenizer **t, const char *from, const char *to,
                      int64_t vocabulary) {
    kd_tokenizer *small = read_small();
    assert_ok(kd_tokenizer_write_folder(small, folder->path));
    kd_tokenizer_free(small);
    change_text(test_path(folder, "added_tokens.json"), from, to);
    return kd_tokenizer_read_folder(t, folder->path, vocabulary);
}

/* Published files: Hebrew's older code, no_speech's older name. At another's id they are refused.
 */
static void test_older_specials(void **state) {
    test_folder *folder = *state;
    kd_tokenizer *t, *small = read_small();
    const kd_token_ids *ids = kd_tokenizer_ids(small);
    char from[64], to[64];
    assert_ok(read_added(folder, &t, "<|he|>", "<|iw|>", SMALL_VOCABULARY));
    assert_string_equal(kd_tokenizer_hash(t).hex, kd_tokenizer_hash(small).hex);
    kd_tokenizer_free(t);
    assert_ok(read_added(folder, &t, "<|nospeech|>", "<|nocaptions|>", SMALL_VOCABULARY));
    kd_tokenizer_free(t);
    snprintf(from, sizeof from, "<|nospeech|>\": %d", ids->no_speech);
    snprintf(to, sizeof to, "<|nocaptions|>\": %d", ids->start);
    assert_refused(read_added(folder, &t, from, to, SMALL_VOCABULARY), KD_EDATA,
                   "'<|nocaptions|>' has the id 513, should be 617");
    assert_refused(read_added(folder, &t, "<|he|>", "<|hebrew|>", SMALL_VOCABULARY), KD_EDATA,
                   "'<|hebrew|>', id 534, is no special token of Whisper");
    kd_tokenizer_free(small);
}

/* Tokens behind Whisper's keep their ids: named ones are text, those that look special are not. */
static void test_added(void **state) {
    test_folder *folder = *state;
    kd_tokenizer *t, *back, *copy;
    char *text;
    static const char added[] = "{\n  \"<|laugh|>\": 2120,\n  \"caf\u00e9 \\\"\": 2121,";
    assert_ok(read_added(folder, &t, "{", added, SMALL_VOCABULARY + 2));
    const kd_token_ids *ids = kd_tokenizer_ids(t);
    assert_int_equal(ids->vocabulary, SMALL_VOCABULARY + 2);
    assert_int_equal(ids->added, SMALL_VOCABULARY);
    assert_int_equal(ids->languages, 99);
    assert_false(kd_token_is_timestamp(ids, ids->added));
    assert_true(kd_token_is_timestamp(ids, ids->added - 1));
    const int32_t id[] = {39, 2120, 2121, 39};
    assert_ok(kd_tokenizer_decode(&text, NULL, t, id, 4, false));
    assert_string_equal(text, "Hcaf\u00e9 \"H");
    free(text);
    assert_ok(kd_tokenizer_write_folder(t, folder->path));
    assert_ok(kd_tokenizer_read_folder(&back, folder->path, SMALL_VOCABULARY + 2));
    assert_ok(kd_tokenizer_copy(&copy, back));
    assert_string_equal(kd_tokenizer_hash(copy).hex, kd_tokenizer_hash(t).hex);
    kd_tokenizer_free(back);
    kd_tokenizer_free(copy);
    kd_tokenizer_free(t);
    assert_refused(read_added(folder, &t, "{", added, SMALL_VOCABULARY + 3), KD_EDATA,
                   "the id 2122 has none here");
    assert_refused(read_added(folder, &t, "{", added, SMALL_VOCABULARY + 1), KD_EDATA,
                   "id 2121, is no special token");
}

static int read_json(test_folder *folder, const char *from, const char *to) {
    kd_tokenizer *t;
    char *json;
    size_t length;
    const char *path = test_path(folder, "tokenizer.json");
    assert_ok(kd_file_read(&json, &length, "tests/golden/tokenizer_json/tokenizer.json", 1 << 20));
    test_write(path, json, length);
    free(json);
    if (from) change_text(path, from, to);
    int status = kd_tokenizer_read_folder(&t, folder->path, SMALL_VOCABULARY);
    if (status == KD_OK) kd_tokenizer_free(t);
    return status;
}

/* What a tokenizer.json does to a text that we would not do; and one beside another vocab.json. */
static void test_other_pipelines(void **state) {
    test_folder *folder = *state;
    kd_tokenizer *small = read_small();
    static const char *const cases[][3] = {
        {"{", "{\"normalizer\": {\"type\": \"NFC\"},", "no normalizer"},
        {"{", "{\"pre_tokenizer\": null,", "GPT-2's pre_tokenizer"},
        {"{", "{\"pre_tokenizer\": {\"type\": \"Whitespace\"},", "GPT-2's pre_tokenizer"},
        {"{", "{\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true},",
         "GPT-2's pre_tokenizer"},
        {"{", "{\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"use_regex\": false},",
         "GPT-2's pre_tokenizer"},
        {"\"type\":\"BPE\"", "\"type\":\"Unigram\"", "\"BPE\""},
        {"\"type\":\"BPE\"", "\"type\":\"BPE\",\"dropout\":0.1", "empty"},
        {"\"type\":\"BPE\"", "\"type\":\"BPE\",\"end_of_word_suffix\":\"</w>\"", "empty"}};
    assert_ok(read_json(folder, NULL, NULL));
    assert_ok(read_json(folder, "{",
                        "{\"normalizer\": null, \"pre_tokenizer\": {\"type\": "
                        "\"ByteLevel\", \"add_prefix_space\": false},"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_refused(read_json(folder, cases[i][0], cases[i][1]), KD_EDATA, cases[i][2]);
    assert_ok(kd_tokenizer_write_folder(small, folder->path));
    assert_ok(read_json(folder, NULL, NULL)); /* both, and the same */
    change_text(test_path(folder, "vocab.json"), "\"!\": 0,", "\"!\": 3,");
    change_text(test_path(folder, "vocab.json"), "\"$\": 3,", "\"$\": 0,");
    assert_refused(read_json(folder, NULL, NULL), KD_EDATA,
                   "tokenizer.json: has other tokens than vocab.json");
    kd_tokenizer_free(small);
}

static void test_classes(void **state) {
    (void)state;
    static const struct {
        uint32_t c;
        kd_char_class class;
    } right[] = {{'a', KD_CHAR_LETTER},      {'7', KD_CHAR_DIGIT},      {'_', KD_CHAR_SYMBOL},
                 {0x85, KD_CHAR_SPACE},      {0xA0, KD_CHAR_SPACE},     {0x1C, KD_CHAR_OTHER},
                 {0x301, KD_CHAR_ACCENT},    {0x903, KD_CHAR_MARK},     {0xBD, KD_CHAR_NUMBER},
                 {0x4F60, KD_CHAR_LETTER},   {0x1F600, KD_CHAR_SYMBOL}, {0x10FFFF, KD_CHAR_OTHER},
                 {0xD800, KD_CHAR_OTHER},    {0x200B, KD_CHAR_OTHER},   {0x20AC, KD_CHAR_SYMBOL},
                 {UINT32_MAX, KD_CHAR_OTHER}};
    for (size_t i = 0; i < sizeof right / sizeof *right; i++)
        assert_int_equal(kd_char_class_of(right[i].c), right[i].class);
    assert_int_equal(kd_char_digit('7'), 7);
    assert_int_equal(kd_char_digit(0x663), 3);
    assert_int_equal(kd_char_digit(0x1D7CF), 1); /* the second digit of five alphabets in a row */
    assert_int_equal(kd_char_digit(0xBD), -1);
}

/* Three conversions of a text, compared with what Python's str and unicodedata say. */
static void check_chars(const char *text, const char *lower, const char *nfkd, const char *nfkc) {
    const char *right[] = {lower, nfkd, nfkc};
    for (int i = 0; i < 3; i++) {
        kd_chars chars = {0}, wanted = {0};
        assert_ok(kd_chars_decode(&chars, text, strlen(text)));
        assert_ok(kd_chars_decode(&wanted, right[i], strlen(right[i])));
        assert_ok(i == 0 ? kd_chars_lower(&chars) : kd_chars_normalize(&chars, i == 2, true));
        assert_int_equal(chars.count, wanted.count);
        for (size_t j = 0; j < chars.count; j++)
            if (chars.at[j] != wanted.at[j])
                fail_msg("'%s', form %d, character %zu: U+%04X, should be U+%04X", text, i, j,
                         chars.at[j], wanted.at[j]);
        free(chars.at);
        free(wanted.at);
    }
}

static void test_forms(void **state) {
    (void)state;
    check_chars("ÀÉ Straße", "àé straße", "A\u0300E\u0301 Straße", "ÀÉ Straße");
    check_chars("ΟΔΥΣΣΕΥΣ ΣΑΣ.", "οδυσσευς σας.", "ΟΔΥΣΣΕΥΣ ΣΑΣ.", "ΟΔΥΣΣΕΥΣ ΣΑΣ.");
    check_chars("İI", "i\u0307i", "I\u0307I", "İI");
    check_chars("ŸĲǅ", "ÿĳǆ", "Y\u0308IJDz\u030C", "ŸIJDž");
    check_chars("한글", "한글", "\u1112\u1161\u11AB\u1100\u1173\u11AF", "한글");
    check_chars("q\u0307\u0323", "q\u0307\u0323", "q\u0323\u0307", "q\u0323\u0307");
    check_chars("ﬁ①²Å", "ﬁ①²å", "fi12A\u030A", "fi12Å");
    check_chars("\u1E9B\u0323", "\u1E9B\u0323", "s\u0323\u0307", "\u1E69");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_small),
        cmocka_unit_test(test_folders),
        cmocka_unit_test(test_english),
        cmocka_unit_test(test_multilingual),
        cmocka_unit_test(test_aliases),
        cmocka_unit_test_setup_teardown(test_older_specials, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_added, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_other_pipelines, test_setup, test_teardown),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_specials),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_long_piece),
        cmocka_unit_test(test_refused_ranks),
        cmocka_unit_test_setup_teardown(test_refused_folders, test_setup, test_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
