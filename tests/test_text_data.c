/* Conversations as text, documents out of files, their tokens on disk, contexts of them. */
#include "test_data.h"

#include <dirent.h>
#include <lzma.h>
#include <zlib.h>

#include "asserts.h"
#include "base/rng.h"
#include "data/chat.h"
#include "data/text_contexts.h"
#include "data/text_documents.h"

static kd_text_tokenizer *open_tokenizer(const char *name) {
    kd_text_tokenizer *t;
    char path[128], *bytes;
    size_t length;
    snprintf(path, sizeof path, "tests/golden/text_tokenizers/%s", name);
    assert_ok(kd_file_read(&bytes, &length, path, 1 << 20));
    assert_ok(kd_text_tokenizer_parse_json(&t, bytes, length, name));
    free(bytes);
    return t;
}

static void put(test_folder *folder, const char *name, const char *text) {
    test_write(test_path(folder, name), text, strlen(text));
}

/* --- conversations ---------------------------------------------------------------------------- */

#define SMOLLM                                                                                     \
    "{% for m in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"               \
    "{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + m['role'] + "   \
    "'\n' + m['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
#define LLAMA                                                                                      \
    "{% set content = '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] " \
    "| trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}"
#define QWEN                                                                                       \
    "{%- if tools %}{{- '<|im_start|>system\\n' }}{{- 'Be kind.' }}{%- else %}{{- "                \
    "'<|im_start|>system\\nBe kind.<|im_end|>\\n' }}{%- endif %}{{- '<|im_start|>' + m.role + "    \
    "'\\n' + m.content + '<|im_end|>' + '\\n' }}"

static void test_chat(void **state) {
    (void)state;
    static const kd_chat_message message[] = {
        {"user", " Hi "}, {"assistant", "Hello.\n"}, {"user", "Bye"}};
    static const struct {
        const char *form, *right, *answer; /* what is learnt */
    } known[] = {
        {SMOLLM,
         "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n Hi <|im_end|>\n"
         "<|im_start|>assistant\nHello.\n<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
         "<|im_start|>assistant\n",
         "Hello.\n<|im_end|>"},
        {QWEN,
         "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n Hi <|im_end|>\n"
         "<|im_start|>assistant\nHello.\n<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
         "<|im_start|>assistant\n",
         "Hello.\n<|im_end|>"},
        {LLAMA,
         "<s><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
         "<|start_header_id|>assistant<|end_header_id|>\n\nHello.<|eot_id|>"
         "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
         "<|start_header_id|>assistant<|end_header_id|>\n\n",
         "Hello.<|eot_id|>"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        kd_chat chat;
        kd_chat_text text;
        assert_ok(kd_chat_recognise(&chat, known[i].form));
        assert_ok(kd_chat_render(&text, &chat, message, 3, "<s>", true));
        assert_string_equal(text.text.text, known[i].right);
        assert_int_equal(text.count, 3);
        const size_t from = (size_t)(strstr(known[i].right, known[i].answer) - known[i].right);
        assert_int_equal(text.part[0].end, from);
        assert_int_equal(text.part[1].end, from + strlen(known[i].answer));
        assert_true(text.part[1].answer && !text.part[0].answer && !text.part[2].answer);
        assert_int_equal(text.part[2].end, text.text.length);
        kd_chat_text_clear(&text);
    }
}

static void test_refused_chat(void **state) {
    (void)state;
    static const struct {
        const char *form, *why;
    } bad[] = {
        {"{{ '<start_of_turn>' + m['role'] }}", "neither's tokens"},
        {SMOLLM "{{ '<think>' }}", "reasons"},
        {LLAMA "{{ strftime_now('%d') }}", "the date"},
        {"<|im_start|><|im_end|>", "role"},
        {"{{ '<|im_start|>' + m['role'] + '<|im_end|>' }}", "no newline"},
    };
    kd_chat chat;
    kd_chat_text text;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_refused(kd_chat_recognise(&chat, bad[i].form), KD_EDATA, bad[i].why);
    assert_ok(kd_chat_recognise(&chat, SMOLLM));
    assert_refused(kd_chat_render(&text, &chat, &(kd_chat_message){"tool", "x"}, 1, NULL, false),
                   KD_EDATA, "a message of 'tool'");
    kd_chat_text_clear(&text);
}

/* --- documents -------------------------------------------------------------------------------- */

/* Lines "place|text|" with ">" in front of what is learnt. */
static int note(void *context, const kd_chat_text *document, const char *place) {
    kd_text *out = context;
    size_t from = 0;
    kd_text_add(out, "%s|", strrchr(place, '/') + 1);
    for (int64_t i = 0; i < document->count; i++) {
        const size_t end = document->part[i].end;
        kd_text_add(out, "%s%.*s", document->part[i].answer ? ">" : "", (int)(end - from),
                    document->text.text + from);
        from = end;
    }
    kd_text_add(out, "|\n");
    return KD_OK;
}

static int visit(kd_text *out, const char *path, const kd_chat *chat) {
    kd_text_files files;
    const kd_text_writing writing = {.chat = chat, .why = "no template"};
    int status = kd_text_files_list(&files, &path, 1);
    if (status == KD_OK) status = kd_text_documents_visit(&files, &writing, note, out);
    kd_text_files_clear(&files);
    return status;
}

static void put_packed(test_folder *folder, const char *gz, const char *xz) {
    char packed[512];
    uint8_t block[1024];
    size_t used = 0;
    for (int half = 0; half < 2; half++) { /* two members */
        gzFile file = gzopen(test_path(folder, gz), half ? "ab" : "wb");
        assert_non_null(file);
        assert_true(gzputs(file, half ? "\"b\"}\n" : "{\"text\": ") > 0);
        assert_int_equal(gzclose(file), Z_OK);
    }
    snprintf(packed, sizeof packed, "packed\n");
    assert_int_equal(lzma_easy_buffer_encode(6, LZMA_CHECK_CRC32, NULL, (uint8_t *)packed,
                                             strlen(packed), block, &used, sizeof block),
                     LZMA_OK);
    test_write(test_path(folder, xz), block, used);
}

static void test_documents(void **state) {
    test_folder *folder = *state;
    kd_chat chat;
    kd_text out = {0};
    test_make_folder(folder, "a");
    put(folder, "a/one.txt", "\xEF\xBB\xBFOne\ntext");
    put(folder, "a/two.jsonl",
        "{\"text\": \"t\\u00e9\"}\n\n{\"prompt\": \"p\", \"completion\": \"c\"}");
    put(folder, "a/left.out", "x");
    put_packed(folder, "a/three.jsonl.gz", "a/zour.txt.xz");
    assert_ok(visit(&out, test_path(folder, "a"), NULL));
    assert_string_equal(out.text,
                        "one.txt|>One\ntext|\nthree.jsonl.gz:1|>b|\ntwo.jsonl:1|>t\xC3\xA9|\n"
                        "two.jsonl:3|p>c|\nzour.txt.xz|>packed\n|\n");
    out.length = 0;
    assert_ok(kd_chat_recognise(&chat, SMOLLM));
    put(folder, "m.jsonl",
        "{\"messages\": [{\"role\": \"system\", \"content\": \"s\"}, {\"role\": \"user\", "
        "\"content\": "
        "\"u\"}, {\"role\": \"assistant\", \"content\": \"a\"}]}\n"
        "{\"prompt\": [{\"role\": \"system\", \"content\": \"s\"}], \"completion\": \"a\"}\n");
    assert_ok(visit(&out, test_path(folder, "m.jsonl"), &chat));
    assert_string_equal(out.text,
                        "m.jsonl:1|<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nu<|im_end|>\n"
                        "<|im_start|>assistant\n>a<|im_end|>\n|\n"
                        "m.jsonl:2|<|im_start|>system\ns<|im_end|>\n<|im_start|>assistant\n"
                        ">a<|im_end|>\n|\n");
    free(out.text);
}

static void test_refused_documents(void **state) {
    test_folder *folder = *state;
    static const struct {
        const char *name, *text, *says;
    } bad[] = {
        {"a.jsonl", "{\"text\": \"x\"}\n{\"text\": 3}\n", "a.jsonl:2:10: should be a text"},
        {"a.jsonl", "{\"text\": \"\"}\n", "a.jsonl:1: an empty document"},
        {"a.jsonl", "\n{\"other\": \"x\"}\n", "a.jsonl:2:1: should be an object with text"},
        {"a.jsonl", "{\"text\": \"x\", \"messages\": []}", "with text, with messages, or"},
        {"a.jsonl", "{\"text\": \"x\"\n", "a.jsonl:1:"},
        {"a.jsonl", "{\"text\": \"\xFF\"}\n", "a.jsonl:1:11"},
        {"a.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}", "no template"},
        {"a.jsonl", "{\"messages\": [{\"role\": \"user\"}]}", "a.jsonl:1:15: should be a message"},
        {"a.jsonl", "{\"messages\": [{\"role\": 1, \"content\": \"x\"}]}", "should be a message"},
        {"a.jsonl", "{\"prompt\": [3], \"completion\": \"x\"}", "should be a message"},
        {"a.jsonl", "{\"prompt\": \"x\", \"completion\": \"\"}", "an empty document"},
        {"a.txt", "", "a.txt: an empty document"},
        {"a.txt.gz", "nothing of the kind", "a.txt.gz: is damaged, or no gzip file"},
        {"a.txt.xz", "nothing of the kind", "a.txt.xz: is damaged, or no xz file"},
        {"a.tar.xz", "x", "an archive"},
    };
    kd_text out = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put(folder, bad[i].name, bad[i].text);
        assert_refused(visit(&out, test_path(folder, bad[i].name), NULL), KD_EDATA, bad[i].says);
    }
    put(folder, "b.txt", "x\0y");
    test_write(test_path(folder, "b.txt"), "x\0y", 3);
    assert_refused(visit(&out, test_path(folder, "b.txt"), NULL), KD_EDATA, "a byte 0");
    assert_refused(visit(&out, test_path(folder, "none"), NULL), KD_ENOINPUT, "no such file");
    test_make_folder(folder, "empty");
    assert_refused(visit(&out, test_path(folder, "empty"), NULL), KD_EDATA, "no *.txt or *.jsonl");
    free(out.text);
}

/* A packed file that breaks off says so, wherever it does. */
static void test_cut_files(void **state) {
    test_folder *folder = *state;
    static const char *const name[] = {"x.jsonl.gz", "x.txt.xz"};
    put_packed(folder, name[0], name[1]);
    for (int k = 0; k < 2; k++) {
        char *bytes;
        size_t length;
        assert_ok(kd_file_read(&bytes, &length, test_path(folder, name[k]), 4096));
        for (size_t cut = 1; cut < length; cut++) {
            kd_text out = {0};
            test_write(test_path(folder, name[k]), bytes, length - cut);
            /* Between two members of gzip the first is whole, but its line is not. */
            assert_true(visit(&out, test_path(folder, name[k]), NULL) < 0);
            free(out.text);
        }
        free(bytes);
    }
}

/* A line beyond the limit is an error with its number, and is not gathered in memory. */
static void test_long_line(void **state) {
    test_folder *folder = *state;
    kd_text out = {0};
    put(folder, "a.jsonl", "{\"text\": \"x\"}\n");
    assert_int_equal(truncate(test_path(folder, "a.jsonl"), (off_t)10 << 30), 0);
    assert_refused(visit(&out, test_path(folder, "a.jsonl"), NULL), KD_EDATA,
                   "a.jsonl:2: a line of more than");
    free(out.text);
}

/* --- tokens on disk --------------------------------------------------------------------------- */

static int open_tokens(kd_text_tokens **out, test_folder *folder, const char *name,
                       const kd_text_tokenizer *t, const char *cache) {
    char path[KD_PATH_MAX];
    snprintf(path, sizeof path, "%s", test_path(folder, name));
    const char *list = path;
    const kd_text_source source = {.tokenizer = t, .path = &list, .count = 1, .end = 0};
    int status = kd_text_tokens_open(out, &source, cache, "texts");
    if (status == KD_OK && cache) status = kd_file_make_folders(cache);
    return status == KD_OK && cache ? kd_text_tokens_keep(*out, cache) : status;
}

static int cached(const char *folder, char path[KD_PATH_MAX]) {
    struct dirent **entry;
    int count;
    assert_ok(kd_file_list_folder(&entry, &count, folder));
    for (int i = 0; i < count; i++) {
        assert_ok(kd_path_join(path, folder, entry[i]->d_name));
        free(entry[i]);
    }
    free(entry);
    return count;
}

static void test_cache(void **state) {
    test_folder *folder = *state;
    kd_text_tokenizer *t = open_tokenizer("smollm.json"), *other = open_tokenizer("qwen2.json");
    kd_text_tokens *a, *b;
    char cache[KD_PATH_MAX], file[KD_PATH_MAX], *bytes;
    size_t length;
    int32_t token[64], *id;
    uint8_t learnt[64];
    int64_t start, end, size, count;
    snprintf(cache, sizeof cache, "%s", test_path(folder, "cache"));
    put(folder, "a.jsonl",
        "{\"text\": \"The fox.\"}\n{\"prompt\": \"ask\", \"completion\": \"it\"}\n");
    assert_ok(open_tokens(&a, folder, "a.jsonl", t, NULL));
    assert_ok(open_tokens(&b, folder, "a.jsonl", t, cache));
    assert_int_equal(cached(cache, file), 1);
    assert_string_equal(kd_text_tokens_key(a).hex, kd_text_tokens_key(b).hex);
    assert_int_equal(kd_text_tokens_documents(b), 2);
    kd_text_tokens_document(b, 0, &start, &end, &size);
    assert_int_equal(start, 0);
    assert_int_equal(size, 8);
    assert_ok(kd_text_tokenizer_encode(&id, &count, t, "The fox.", 8, false));
    assert_int_equal(end, count + 1);
    kd_text_tokens_read(b, 0, end, token, learnt);
    assert_memory_equal(token, id, (size_t)count * sizeof *id);
    assert_int_equal(token[count], 0);
    assert_true(learnt[0] && learnt[count]);
    free(id);
    kd_text_tokens_document(b, 1, &start, &end, &size);
    kd_text_tokens_read(b, start, end - start, token, learnt);
    assert_true(!learnt[0] && learnt[end - start - 1]);
    kd_text_tokens_close(a);
    kd_text_tokens_close(b);
    /* What was made from something else has another name. */
    assert_ok(open_tokens(&b, folder, "a.jsonl", other, cache));
    kd_text_tokens_close(b);
    assert_int_equal(cached(cache, file), 2);
    /* Every damaged byte is noticed, and mended. */
    assert_ok(kd_file_read(&bytes, &length, file, 1 << 20));
    for (size_t i = 0; i < length; i += 5) {
        kd_text_tokens *again;
        bytes[i] ^= 0x10;
        test_write(file, bytes, i % 3 ? length : i);
        bytes[i] ^= 0x10;
        assert_ok(open_tokens(&again, folder, "a.jsonl", i % 2 ? t : other, cache));
        kd_text_tokens_close(again);
        assert_ok(open_tokens(&again, folder, "a.jsonl", other, cache));
        kd_text_tokens_close(again);
        char *mended;
        size_t now;
        assert_ok(kd_file_read(&mended, &now, file, 1 << 20));
        if (strstr(file, "text-")) assert_int_equal(now, length);
        if (memcmp(mended, bytes, length) != 0) fail_msg("byte %zu is not mended", i);
        free(mended);
    }
    free(bytes);
    put(folder, "bad.jsonl", "{\"text\": \"x\"}\n{\"text\": \"\"}\n");
    assert_refused(open_tokens(&b, folder, "bad.jsonl", t, cache), KD_EDATA, "bad.jsonl:2");
    assert_int_equal(cached(cache, file), 2);
    kd_text_tokenizer_free(t);
    kd_text_tokenizer_free(other);
}

/* --- contexts --------------------------------------------------------------------------------- */

enum { DOCUMENTS = 40, LENGTH = 7 };

static void put_numbers(test_folder *folder) {
    kd_text text = {0};
    for (int i = 0; i < DOCUMENTS; i++) {
        kd_text_add(&text, "{\"text\": \"");
        for (int k = 0; k <= i % 9; k++) kd_text_add(&text, "%d", (i + k) % 10);
        kd_text_add(&text, "\"}\n");
    }
    test_write(test_path(folder, "n.jsonl"), text.text, text.length);
    free(text.text);
}

/* All tokens of both sets are those of all documents, and borders are where documents begin. */
static void test_contexts(void **state) {
    test_folder *folder = *state;
    kd_text_tokenizer *t = open_tokenizer("smollm.json");
    kd_text_tokens *tokens;
    int64_t seen = 0, validation = 0;
    put_numbers(folder);
    assert_ok(open_tokens(&tokens, folder, "n.jsonl", t, NULL));
    for (int set = 0; set < 2; set++) {
        kd_text_contexts *c;
        const kd_text_packing packing = {
            .length = LENGTH, .share = 0.2, .seed = 3, .validation = set == 1, .padding = 5};
        assert_ok(kd_text_contexts_open(&c, tokens, &packing, "texts"));
        int64_t whole = 0, ends = 0;
        for (int64_t i = 0; i < kd_text_contexts_count(c); i++) {
            int32_t token[LENGTH], first[LENGTH], label[LENGTH];
            uint8_t learnt[LENGTH], valid[LENGTH];
            kd_text_contexts_read(c, i, token, first, learnt);
            const int64_t n = kd_text_targets(label, valid, token, first, learnt, LENGTH);
            int64_t right = 0;
            for (int k = 0; k < LENGTH; k++) {
                const bool pad = i * LENGTH + k >= kd_text_contexts_tokens(c);
                whole += !pad;
                ends += !pad && token[k] == 0;
                assert_int_equal(learnt[k], !pad);
                if (pad) assert_int_equal(token[k], 5);
                const bool begins = k == 0 || pad || token[k - 1] == 0;
                assert_int_equal(first[k], begins ? k : first[k - 1]);
                if (valid[k]) assert_int_equal(label[k], token[k + 1]);
                right += k + 1 < LENGTH && first[k + 1] == first[k];
            }
            assert_int_equal(n, right);
        }
        assert_int_equal(whole, kd_text_contexts_tokens(c));
        seen += whole;
        if (set == 1) validation = ends;
        kd_text_contexts_close(c);
    }
    assert_int_equal(validation, DOCUMENTS / 5);
    assert_int_equal(seen, kd_text_tokens_count(tokens));
    kd_text_contexts *c;
    const kd_text_packing all = {.length = 1000};
    assert_ok(kd_text_contexts_open(&c, tokens, &all, "texts"));
    assert_int_equal(kd_text_contexts_count(c), 1);
    kd_text_contexts_close(c);
    kd_text_tokens_close(tokens);
    put(folder, "one.txt", "The fox");
    assert_ok(open_tokens(&tokens, folder, "one.txt", t, NULL));
    const kd_text_packing none = {.length = LENGTH, .share = 0.1};
    assert_refused(kd_text_contexts_open(&c, tokens, &none, "texts"), KD_EDATA,
                   "no document is left for learning");
    kd_text_tokens_close(tokens);
    kd_text_tokenizer_free(t);
}

static void test_masking(void **state) {
    (void)state;
    enum { N = 20000, V = 1000, MASK = 3 };
    static int32_t token[N], label[N], again[N];
    static uint8_t valid[N], learnt[N];
    static bool special[V] = {[0] = true, [MASK] = true};
    const kd_text_masking masking = {MASK, V, special, 7};
    int64_t masked = 0, kept = 0, special_ones = 0;
    for (int t = 0; t < N; t++) token[t] = again[t] = t % 50, learnt[t] = t % 11 != 0;
    const int64_t n = kd_text_mask(token, label, valid, learnt, N, &masking, 2, 5);
    for (int t = 0; t < N; t++) {
        assert_int_equal(label[t], t % 50);
        if (!valid[t]) assert_int_equal(token[t], label[t]);
        special_ones += valid[t] && (special[label[t]] || !learnt[t]);
        masked += valid[t] && token[t] == MASK;
        kept += valid[t] && token[t] == label[t];
    }
    assert_int_equal(special_ones, 0);
    const double open = N * (10.0 / 11) * (48.0 / 50); /* that may be chosen */
    assert_true((double)n > 0.14 * open && (double)n < 0.16 * open);
    assert_true((double)masked > 0.77 * (double)n && (double)masked < 0.83 * (double)n);
    assert_true((double)kept > 0.08 * (double)n && (double)kept < 0.12 * (double)n);
    assert_int_equal(kd_text_mask(again, label, valid, learnt, N, &masking, 2, 5), n);
    assert_memory_equal(again, token, sizeof token);
    for (int t = 0; t < N; t++) again[t] = t % 50;
    kd_text_mask(again, label, valid, learnt, N, &masking, 3, 5);
    assert_memory_not_equal(again, token, sizeof token);
}

int main(void) {
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, test_setup, test_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chat),    cmocka_unit_test(test_refused_chat),
        IN_FOLDER(test_documents),      IN_FOLDER(test_refused_documents),
        IN_FOLDER(test_cut_files),      IN_FOLDER(test_long_line),
        IN_FOLDER(test_cache),          IN_FOLDER(test_contexts),
        cmocka_unit_test(test_masking),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
