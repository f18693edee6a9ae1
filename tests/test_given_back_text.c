/* As test_given_back.c, of language models' tokenizers and texts: every allocation of theirs,
 * refused alone, ends in an error that says so, and all that was taken is given back. */
#include "test_data.h"

#include <omp.h>

#include "data/text_contexts.h"
#include "data/text_documents.h"
#include "files/text_tokenizer_gguf.h"
#include "given_back.h"

#define GOLDEN "tests/golden/text_tokenizers/"

static int open_golden(kd_text_tokenizer **out, const char *path) {
    char *bytes;
    size_t length;
    *out = NULL;
    int status = kd_file_read(&bytes, &length, path, 1 << 20);
    if (status < 0) return status;
    status = strstr(path, ".model") ? kd_text_tokenizer_parse_model(out, bytes, length, path)
                                    : kd_text_tokenizer_parse_json(out, bytes, length, path);
    free(bytes);
    return status;
}

/* Reads it, and takes a text there and back. */
static int use(const char *path) {
    static const char text[] = "The fox's 2nd caf\xC3\xA9 <|im_end|> \xE4\xBD\xA0\xE5\xA5\xBD";
    kd_text_tokenizer *t;
    int32_t *id = NULL;
    int64_t count;
    char *back = NULL;
    int status = open_golden(&t, path);
    if (status == KD_OK)
        status = kd_text_tokenizer_encode(&id, &count, t, text, sizeof text - 1, true);
    if (status == KD_OK) status = kd_text_tokenizer_decode(&back, NULL, t, id, count, true);
    free(back);
    free(id);
    kd_text_tokenizer_free(t);
    return status;
}

static int use_bytes(void) {
    return use(GOLDEN "qwen2.json");
}

static int use_unigram(void) {
    return use(GOLDEN "unigram.json");
}

static int use_words(void) {
    return use(GOLDEN "wordpiece.json");
}

static int use_model(void) {
    return use(GOLDEN "unigram.model");
}

static int read_words(void) {
    kd_text_tokenizer *t;
    const int status = kd_text_tokenizer_read(&t, in("bert"));
    kd_text_tokenizer_free(t);
    return status;
}

static int write_folder(void) {
    kd_text_tokenizer *t;
    int status = open_golden(&t, GOLDEN "bpe.model");
    if (status == KD_OK) status = kd_text_tokenizer_write(t, in("written"));
    kd_text_tokenizer_free(t);
    return status;
}

static int through_gguf(void) {
    kd_text_tokenizer *t, *again = NULL;
    kd_gguf_writer *writer = NULL;
    kd_gguf *gguf = NULL;
    char *bytes = NULL;
    size_t length;
    int status = open_golden(&t, GOLDEN "smollm.json");
    if (status == KD_OK) status = kd_gguf_writer_create(&writer, "llama");
    if (status == KD_OK) status = kd_text_tokenizer_add_gguf(writer, t, 500);
    if (status == KD_OK) status = kd_gguf_finish(&bytes, &length, writer);
    if (status == KD_OK) status = kd_gguf_parse(&gguf, bytes, length, "written");
    if (status == KD_OK) status = kd_text_tokenizer_read_gguf(&again, gguf, "written");
    kd_gguf_free(gguf);
    free(bytes);
    kd_gguf_writer_free(writer);
    kd_text_tokenizer_free(again);
    kd_text_tokenizer_free(t);
    return status;
}

static int read_texts(void) {
    kd_text_tokenizer *t;
    kd_text_tokens *tokens = NULL;
    kd_text_contexts *contexts = NULL;
    const char *path = in("texts");
    const kd_text_packing packing = {.length = 8, .share = 0.5};
    int status = open_golden(&t, GOLDEN "wordpiece.json");
    const kd_text_source source = {.tokenizer = t, .path = &path, .count = 1, .end = -1};
    if (status == KD_OK) status = kd_text_tokens_open(&tokens, &source, NULL, "texts");
    if (status == KD_OK) status = kd_text_contexts_open(&contexts, tokens, &packing, "texts");
    kd_text_contexts_close(contexts);
    kd_text_tokens_close(tokens);
    kd_text_tokenizer_free(t);
    return status;
}

static int converse(void) {
    static const char form[] =
        "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}";
    static const kd_chat_message message[] = {{"user", "a"}, {"assistant", "b"}};
    kd_chat chat;
    kd_chat_text text = {0};
    int status = kd_chat_recognise(&chat, form);
    if (status == KD_OK) status = kd_chat_render(&text, &chat, message, 2, NULL, true);
    kd_chat_text_clear(&text);
    return status;
}

static const operation OPERATIONS[] = {
    {"bytes", use_bytes, NULL, 0},       {"unigram", use_unigram, NULL, 0},
    {"words", use_words, NULL, 0},       {"a model", use_model, NULL, 0},
    {"vocab.txt", read_words, NULL, 0},  {"write", write_folder, NULL, 0},
    {"GGUF", through_gguf, NULL, 0},     {"texts", read_texts, NULL, 0},
    {"conversation", converse, NULL, 0},
};

static void every_allocation_may_be_refused(void **state) {
    (void)state;
    refuse_every_allocation(OPERATIONS, sizeof OPERATIONS / sizeof *OPERATIONS);
}

static int prepare(void **state) {
    static const char words[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##b\n";
    static const char line[] =
        "{\"text\": \"the fox\"}\n{\"prompt\": \"a\", \"completion\": \"b\"}\n";
    if (test_setup(state) != 0) return -1;
    folder = *state;
    test_make_folder(folder, "bert");
    test_make_folder(folder, "written");
    test_make_folder(folder, "texts");
    test_write(in("bert/vocab.txt"), words, sizeof words - 1);
    test_write(in("texts/a.jsonl"), line, sizeof line - 1);
    test_write(in("texts/b.txt"), "dog", 3);
    return 0;
}

int main(void) {
    omp_set_num_threads(1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_be_refused)};
    return cmocka_run_group_tests(tests, prepare, test_teardown);
}
