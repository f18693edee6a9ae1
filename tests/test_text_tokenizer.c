/* Tokenizers of language models: tokens and texts as `tokenizers` and `sentencepiece` have them,
 * the same from every kind of file, and what is refused. */
#include "test_data.h"

#include "asserts.h"
#include "change_text.h"
#include "data/text_split.h"
#include "data/text_tokenizer.h"
#include "files/text_tokenizer_gguf.h"

#define GOLDEN "tests/golden/text_tokenizers/"

enum { TOKENIZERS = 10, TEXTS = 22 };

/* --- the golden file ------------------------------------------------------------------------- */

typedef struct {
    const char *bytes;
    uint32_t length; /* in elements */
} part;

typedef struct {
    char *bytes;
    char name[TOKENIZERS][64];
    part text[TEXTS], ids[TEXTS][TOKENIZERS], back[TEXTS][TOKENIZERS];
} goldens;

static part next_part(const char *bytes, size_t *at, uint32_t size) {
    part p;
    memcpy(&p.length, bytes + *at, sizeof p.length);
    *at += sizeof p.length;
    p.bytes = bytes + *at;
    *at += (size_t)p.length * size;
    return p;
}

static void read_goldens(goldens *g) {
    size_t length, at = 0;
    assert_ok(kd_file_read(&g->bytes, &length, "tests/golden/text_tokenizers.bin", 1 << 20));
    assert_int_equal(next_part(g->bytes, &at, 0).length, TOKENIZERS);
    for (int i = 0; i < TOKENIZERS; i++) {
        const part name = next_part(g->bytes, &at, 1);
        snprintf(g->name[i], sizeof g->name[i], "%.*s", (int)name.length, name.bytes);
    }
    assert_int_equal(next_part(g->bytes, &at, 0).length, TEXTS);
    for (int t = 0; t < TEXTS; t++) {
        g->text[t] = next_part(g->bytes, &at, 1);
        for (int i = 0; i < TOKENIZERS; i++) {
            g->ids[t][i] = next_part(g->bytes, &at, 4);
            g->back[t][i] = next_part(g->bytes, &at, 1);
        }
    }
    assert_int_equal(at, length);
}

static bool is_model(const char *name) {
    return strstr(name, ".model") != NULL;
}

static kd_text_tokenizer *open_golden(const char *name) {
    kd_text_tokenizer *t = NULL;
    char path[128], *bytes;
    size_t length;
    snprintf(path, sizeof path, GOLDEN "%s", name);
    assert_ok(kd_file_read(&bytes, &length, path, 1 << 20));
    if (is_model(name))
        assert_ok(kd_text_tokenizer_parse_model(&t, bytes, length, name));
    else
        assert_ok(kd_text_tokenizer_parse_json(&t, bytes, length, name));
    free(bytes);
    return t;
}

/* Every golden text through tokenizer i. SentencePiece itself puts no tokens around a text, finds
 * no control pieces in it, and its own texts are not compared. */
static void check_goldens(const goldens *g, int i, const kd_text_tokenizer *t, const char *what) {
    for (int k = 0; k < TEXTS; k++) {
        const part text = g->text[k], right = g->ids[k][i], back = g->back[k][i];
        int32_t *id;
        int64_t count;
        char *own;
        size_t length;
        if (is_model(g->name[i]) && memmem(text.bytes, text.length, "<s>", 3)) continue;
        assert_ok(kd_text_tokenizer_encode(&id, &count, t, text.bytes, text.length,
                                           !is_model(g->name[i])));
        if (count != right.length || (count && memcmp(id, right.bytes, 4 * (size_t)count) != 0))
            fail_msg("%s, %s: text %d becomes other tokens", g->name[i], what, k);
        assert_ok(kd_text_tokenizer_decode(&own, &length, t, id, count, false));
        if (!is_model(g->name[i]) &&
            (length != back.length || memcmp(own, back.bytes, length) != 0))
            fail_msg("%s, %s: text %d comes back as '%s', should be '%.*s'", g->name[i], what, k,
                     own, (int)back.length, back.bytes);
        free(own);
        free(id);
    }
}

static void test_goldens(void **state) {
    (void)state;
    goldens g;
    read_goldens(&g);
    for (int i = 0; i < TOKENIZERS; i++) {
        kd_text_tokenizer *t = open_golden(g.name[i]);
        check_goldens(&g, i, t, "read");
        kd_text_tokenizer_free(t);
    }
    free(g.bytes);
}

/* Byte-level tokens are the text to the byte. */
static void test_back_to_the_byte(void **state) {
    (void)state;
    goldens g;
    read_goldens(&g);
    for (int i = 0; i < 3; i++) { /* gpt2, smollm, llama3; qwen2 composes characters */
        kd_text_tokenizer *t = open_golden(g.name[i]);
        for (int k = 0; k < TEXTS; k++) {
            int32_t *id;
            int64_t count;
            char *back;
            size_t length;
            /* gpt2's [MASK] and <mask> swallow the spaces beside them. */
            if (memmem(g.text[k].bytes, g.text[k].length, "<mask>", 6)) continue;
            assert_ok(
                kd_text_tokenizer_encode(&id, &count, t, g.text[k].bytes, g.text[k].length, false));
            assert_ok(kd_text_tokenizer_decode(&back, &length, t, id, count, true));
            assert_int_equal(length, g.text[k].length);
            assert_memory_equal(back, g.text[k].bytes, length);
            free(back);
            free(id);
        }
        kd_text_tokenizer_free(t);
    }
    free(g.bytes);
}

/* --- the same from every kind of file -------------------------------------------------------- */

static void assert_same(const kd_text_tokenizer *a, const kd_text_tokenizer *b) {
    assert_string_equal(kd_text_tokenizer_hash(a).hex, kd_text_tokenizer_hash(b).hex);
}

static void test_written_folders(void **state) {
    test_folder *folder = *state;
    goldens g;
    read_goldens(&g);
    for (int i = 0; i < TOKENIZERS; i++) {
        kd_text_tokenizer *t = open_golden(g.name[i]), *again;
        assert_ok(kd_text_tokenizer_write(t, folder->path));
        assert_ok(kd_text_tokenizer_read(&again, folder->path));
        check_goldens(&g, i, again, "from a folder");
        /* By scores it is another rule that gives the same ids. */
        if (strcmp(g.name[i], "bpe.model") != 0 && strcmp(g.name[i], "unigram.model") != 0)
            assert_same(t, again);
        kd_text_tokenizer_free(t);
        kd_text_tokenizer_free(again);
    }
    free(g.bytes);
}

static kd_text_tokenizer *through_gguf(const kd_text_tokenizer *t, int64_t rows) {
    kd_gguf_writer *writer;
    kd_gguf *gguf;
    kd_text_tokenizer *again;
    char *bytes;
    size_t length;
    assert_ok(kd_gguf_writer_create(&writer, "llama"));
    assert_ok(kd_text_tokenizer_add_gguf(writer, t, rows));
    assert_ok(kd_gguf_finish(&bytes, &length, writer));
    kd_gguf_writer_free(writer);
    assert_ok(kd_gguf_parse(&gguf, bytes, length, "written"));
    assert_ok(kd_text_tokenizer_read_gguf(&again, gguf, "written"));
    kd_gguf_free(gguf);
    free(bytes);
    return again;
}

static void test_written_gguf(void **state) {
    (void)state;
    static const char *const name[] = {"smollm.json",    "llama3.json",
                                       "qwen2.json",     "sentencepiece_bpe.json",
                                       "wordpiece.json", "bpe.model"};
    goldens g;
    read_goldens(&g);
    for (size_t k = 0; k < sizeof name / sizeof *name; k++)
        for (int i = 0; i < TOKENIZERS; i++) {
            if (strcmp(g.name[i], name[k]) != 0) continue;
            kd_text_tokenizer *t = open_golden(g.name[i]);
            const int32_t V = kd_text_tokenizer_ids(t)->vocabulary;
            /* The tokens around a text are known by their roles, which this file does not say. */
            if (strcmp(name[k], "llama3.json") == 0)
                assert_ok(kd_text_tokenizer_set_ends(t, 0, -1));
            if (is_model(name[k]) || strcmp(name[k], "sentencepiece_bpe.json") == 0)
                assert_ok(kd_text_tokenizer_set_ends(t, 1, 2));
            kd_text_tokenizer *again = through_gguf(t, V + 5);
            assert_int_equal(kd_text_tokenizer_ids(again)->vocabulary, V + 5);
            assert_int_equal(kd_text_tokenizer_kind(again, V + 4), KD_TOKEN_UNUSED);
            if (strcmp(name[k], "wordpiece.json") != 0) check_goldens(&g, i, again, "from GGUF");
            kd_text_tokenizer_free(again);
            kd_text_tokenizer_free(t);
        }
    free(g.bytes);
}

static void write_text(test_folder *folder, const char *name, const char *text) {
    test_write(test_path(folder, name), text, strlen(text));
}

/* vocab.json and merges.txt as GPT-2 has them, with an added token. */
static void test_small_files(void **state) {
    test_folder *folder = *state;
    kd_text_tokenizer *t;
    int32_t *id;
    int64_t count;
    char *bytes;
    size_t length;
    assert_ok(kd_file_read(&bytes, &length, "tests/golden/tokenizer_hf/vocab.json", 1 << 20));
    test_write(test_path(folder, "vocab.json"), bytes, length);
    free(bytes);
    assert_ok(kd_file_read(&bytes, &length, "tests/golden/tokenizer_hf/merges.txt", 1 << 20));
    test_write(test_path(folder, "merges.txt"), bytes, length);
    free(bytes);
    write_text(folder, "added_tokens.json", "{\"<pad>\": 513}");
    write_text(folder, "special_tokens_map.json", "{\"pad_token\": {\"content\": \"<pad>\"}}");
    write_text(
        folder, "tokenizer_config.json",
        "{\"chat_template\": [{\"name\": \"x\", \"template\": \"y\"}, {\"name\": \"default\", "
        "\"template\": \"z\"}]}");
    assert_ok(kd_text_tokenizer_read(&t, folder->path));
    assert_int_equal(kd_text_tokenizer_ids(t)->vocabulary, 514);
    assert_int_equal(kd_text_tokenizer_ids(t)->eos, 512);
    assert_int_equal(kd_text_tokenizer_ids(t)->padding, 513);
    assert_string_equal(kd_text_tokenizer_template(t), "z");
    assert_ok(kd_text_tokenizer_encode(&id, &count, t, "the<pad><|endoftext|>", 21, false));
    assert_int_equal(id[count - 2], 513);
    assert_int_equal(id[count - 1], 512);
    free(id);
    kd_text_tokenizer_free(t);
    write_text(folder, "special_tokens_map.json", "{\"pad_token\": \"<none>\"}");
    assert_refused(kd_text_tokenizer_read(&t, folder->path), KD_EDATA,
                   "special_tokens_map.json:1:15: should be a token of the vocabulary");
    write_text(folder, "special_tokens_map.json", "{}");
    write_text(folder, "config.json", "{\"eos_token_id\": [9], \"bos_token_id\": 514}");
    assert_refused(kd_text_tokenizer_read(&t, folder->path), KD_EDATA, "of 514 tokens");
}

static void test_bert_vocabulary(void **state) {
    test_folder *folder = *state;
    kd_text_tokenizer *t;
    int32_t *id;
    int64_t count;
    static const int32_t right[] = {2, 4, 5, 6, 1, 3};
    write_text(folder, "vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\nun\n##want\n##ed\n");
    assert_ok(kd_text_tokenizer_read(&t, folder->path));
    assert_ok(kd_text_tokenizer_encode(&id, &count, t, "UNw\xC3\xA1nted wanted", 15, true));
    assert_int_equal(count, 6);
    assert_memory_equal(id, right, sizeof right);
    assert_int_equal(kd_text_tokenizer_ids(t)->separator, 3);
    free(id);
    kd_text_tokenizer_free(t);
    write_text(folder, "tokenizer_config.json", "{\"do_lower_case\": false}");
    assert_ok(kd_text_tokenizer_read(&t, folder->path));
    assert_ok(kd_text_tokenizer_encode(&id, &count, t, "UNwanted", 8, false));
    assert_int_equal(count, 1);
    assert_int_equal(id[0], 1);
    free(id);
    kd_text_tokenizer_free(t);
    write_text(folder, "vocab.txt", "[PAD]\n[UNK]\n[CLS]\nun\n");
    assert_refused(kd_text_tokenizer_read(&t, folder->path), KD_EDATA,
                   "should have the token [SEP]");
    write_text(folder, "vocab.txt", "[UNK]\n[CLS]\n[SEP]\nun\nun\n");
    assert_refused(kd_text_tokenizer_read(&t, folder->path), KD_EDATA, "vocab.txt:5:");
}

/* --- what is refused -------------------------------------------------------------------------- */

static void test_refused_files(void **state) {
    test_folder *folder = *state;
    static const struct {
        const char *file, *from, *to, *says;
    } bad[] = {
        {"gpt2", "\"type\":\"BPE\"", "\"type\":\"WordLevel\"", "\"BPE\", \"Unigram\" or"},
        {"gpt2", "\"dropout\":null", "\"dropout\":0.1", "empty"},
        {"gpt2", "\"add_prefix_space\":false", "\"add_prefix_space\":true", "a space in front"},
        {"gpt2", "\"merges\":[", "\"merges\":[\"Q zz\",", "two tokens of the vocabulary"},
        {"gpt2", "\"single_word\":false", "\"single_word\":true", "whole words"},
        {"gpt2", "\"normalizer\":null", "\"normalizer\":{\"type\":\"Nmt\"}", "'Nmt' is not"},
        {"gpt2", "\"post_processor\":null", "\"post_processor\":{\"type\":\"Other\"}",
         "post_processor"},
        {"gpt2", "\"<|im_start|>\":1,", "\"<|im_start|>\":1.5,", "a whole number"},
        {"gpt2", "\"<|im_start|>\":1,", "\"<|im_start|>\":2,", "an id of its own"},
        {"smollm", "\"individual_digits\":true", "\"individual_digits\":false",
         "individual_digits"},
        {"smollm", "{\"type\":\"ByteLevel\",\"add_prefix_space\":true",
         "{\"type\":\"CTC\",\"x\":true", "'CTC' is not"},
        {"llama3", "{1,3}", "{1,4}", "Llama 3's"},
        {"llama3", "\"Isolated\"", "\"Removed\"", "isolated"},
        {"llama3", "\"ids\":[0]", "\"ids\":[7777]", "around a text"},
        {"qwen2", "\"NFC\"", "\"Nfc\"", "NFC, NFD"},
        {"sentencepiece_bpe", "\"<0x0B>\":", "\"<0x0Q>\":", "<0x00>"},
        {"sentencepiece_bpe", "\"unk_token\":\"<unk>\"", "\"unk_token\":\"<none>\"", "a token of"},
        {"unigram", "\"unk_id\":0", "\"unk_id\":900", "the id of a token"},
        {"unigram", "[\"<unk>\",0.0]", "[\"<unk>\"]", "a token and its score"},
        {"unigram", "\"replacement\":\"\xE2\x96\x81\"", "\"replacement\":\"_\"",
         "should be \"\xE2\x96\x81\""},
        {"wordpiece", "\"continuing_subword_prefix\":\"##\"", "\"continuing_subword_prefix\":\"@\"",
         "##"},
        {"wordpiece", "BertPreTokenizer", "Whitespace", "BertPreTokenizer"},
        {"wordpiece", "\"cls\":[\"[CLS]\",2]", "\"cls\":[\"[CLS]\"]", "cls and sep"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char from[128], *bytes;
        size_t length;
        kd_text_tokenizer *t = (kd_text_tokenizer *)folder;
        snprintf(from, sizeof from, GOLDEN "%s.json", bad[i].file);
        assert_ok(kd_file_read(&bytes, &length, from, 1 << 20));
        test_write(test_path(folder, "tokenizer.json"), bytes, length);
        free(bytes);
        change_text(test_path(folder, "tokenizer.json"), bad[i].from, bad[i].to);
        assert_refused(kd_text_tokenizer_read(&t, folder->path), KD_EDATA, bad[i].says);
        assert_non_null(strstr(kd_error(), "tokenizer.json"));
        assert_null(t);
    }
    unlink(test_path(folder, "tokenizer.json"));
    kd_text_tokenizer *t;
    assert_refused(kd_text_tokenizer_read(&t, folder->path), KD_ENOINPUT, "no tokenizer");
}

/* Every cut and every changed byte of a model is an error or a tokenizer, never a crash. */
static void test_damaged_models(void **state) {
    (void)state;
    static const char *const name[] = {"unigram.model", "bpe.model"};
    for (int k = 0; k < 2; k++) {
        char path[128], *bytes;
        size_t length;
        snprintf(path, sizeof path, GOLDEN "%s", name[k]);
        assert_ok(kd_file_read(&bytes, &length, path, 1 << 20));
        for (size_t i = 0; i < length; i += thoroughly() ? 1 : 7) {
            kd_text_tokenizer *t;
            int32_t *id;
            int64_t count;
            char *cut = malloc(i + 1);
            assert_non_null(cut);
            memcpy(cut, bytes, i);
            if (kd_text_tokenizer_parse_model(&t, cut, i, "cut") < 0)
                assert_non_null(strstr(kd_error(), "cut"));
            kd_text_tokenizer_free(t);
            free(cut);
            bytes[i] ^= 0x41;
            if (kd_text_tokenizer_parse_model(&t, bytes, length, "changed") == KD_OK &&
                kd_text_tokenizer_encode(&id, &count, t, "A fox \xC2\xBD", 8, true) == KD_OK)
                free(id);
            kd_text_tokenizer_free(t);
            bytes[i] ^= 0x41;
        }
        free(bytes);
    }
}

/* A message that stands twice is joined, so more of a trainer's numbers may be stated behind the
 * rest. */
static void test_model_says_which_tokens_end(void **state) {
    (void)state;
    static const char more[] = {0x12, 9, (char)0xC8, 2, 5, (char)0xD0, 2, 6, (char)0xD8, 2, 7};
    char *bytes;
    size_t length;
    kd_text_tokenizer *t;
    assert_ok(kd_file_read(&bytes, &length, GOLDEN "bpe.model", 1 << 20));
    bytes = realloc(bytes, length + sizeof more);
    assert_non_null(bytes);
    memcpy(bytes + length, more, sizeof more);
    assert_ok(kd_text_tokenizer_parse_model(&t, bytes, length + sizeof more, "more"));
    assert_int_equal(kd_text_tokenizer_ids(t)->bos, 5);
    assert_int_equal(kd_text_tokenizer_ids(t)->eos, 6);
    assert_int_equal(kd_text_tokenizer_ids(t)->padding, 7);
    kd_text_tokenizer_free(t);
    free(bytes);
}

/* What is no token costs the rarest one's score and 10 more, as in SentencePiece: three rare tokens
 * (−16.5) are better than an unknown letter and a common rest (−6 − 10 − 1), of −17.5 worse. */
static void test_unknown_letters_cost(void **state) {
    test_folder *folder = *state;
    for (int rare = 0; rare < 2; rare++) {
        kd_text_tokenizer *t;
        int32_t *id;
        int64_t count;
        char text[512];
        snprintf(text, sizeof text,
                 "{\"version\":\"1.0\",\"added_tokens\":[],\"model\":{\"type\":\"Unigram\","
                 "\"unk_id\":0,\"vocab\":[[\"<unk>\",0.0],[\"ab\",-6.0],[\"cd\",-6.0],"
                 "[\"ef\",%s],[\"bcdef\",-1.0]],\"byte_fallback\":false}}",
                 rare ? "-5.5" : "-4.5");
        write_text(folder, "tokenizer.json", text);
        assert_ok(kd_text_tokenizer_read(&t, folder->path));
        assert_ok(kd_text_tokenizer_encode(&id, &count, t, "abcdef", 6, true));
        assert_int_equal(count, rare ? 2 : 3);
        assert_int_equal(id[0], rare ? 0 : 1);
        free(id);
        kd_text_tokenizer_free(t);
    }
}

static void test_bad_texts(void **state) {
    (void)state;
    kd_text_tokenizer *t = open_golden("smollm.json");
    int32_t *id;
    int64_t count;
    char *text;
    const int32_t V = kd_text_tokenizer_ids(t)->vocabulary, beyond[] = {3, V};
    assert_refused(kd_text_tokenizer_encode(&id, &count, t, "ab\xFFz", 4, true), KD_EDATA,
                   "byte 2, 0xFF, is not UTF-8");
    assert_refused(kd_text_tokenizer_encode(&id, &count, t, "a", SIZE_MAX, true), KD_EDATA,
                   "should be at most");
    assert_refused(kd_text_tokenizer_decode(&text, NULL, t, beyond, 2, true), KD_EDATA,
                   "at place 1, should be below");
    assert_ok(kd_text_tokenizer_encode(&id, &count, t, "", 0, true));
    assert_int_equal(count, 0);
    free(id);
    assert_refused(kd_text_tokenizer_set_ends(t, -1, V), KD_EDATA, "of");
    kd_text_tokenizer_free(t);
}

static void test_refused_gguf(void **state) {
    (void)state;
    kd_gguf_writer *writer;
    kd_text_tokenizer *t = open_golden("gpt2.json");
    const int32_t V = kd_text_tokenizer_ids(t)->vocabulary;
    assert_ok(kd_gguf_writer_create(&writer, "llama"));
    assert_refused(kd_text_tokenizer_add_gguf(writer, t, V - 1), KD_EDATA, "for a model of");
    kd_text_tokenizer_free(t);
    t = open_golden("unigram.json");
    assert_refused(kd_text_tokenizer_add_gguf(writer, t, 1 << 20), KD_EDATA, "unigram");
    kd_text_tokenizer_free(t);
    kd_gguf_writer_free(writer);
}

int main(void) {
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, test_setup, test_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goldens),        cmocka_unit_test(test_back_to_the_byte),
        IN_FOLDER(test_written_folders),       IN_FOLDER(test_unknown_letters_cost),
        cmocka_unit_test(test_written_gguf),   IN_FOLDER(test_small_files),
        IN_FOLDER(test_bert_vocabulary),       IN_FOLDER(test_refused_files),
        cmocka_unit_test(test_damaged_models), cmocka_unit_test(test_model_says_which_tokens_end),
        cmocka_unit_test(test_bad_texts),      cmocka_unit_test(test_refused_gguf),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
