/* Whisper models as GGUF: what is written is read back, files from elsewhere are read, and nothing
 * broken is let through. */
#include "test_data.h"

#include "files/gguf.h"
#include "whisper_tiny.h"

static const char *const NAMES[] = {"f32", "f16", "q8_0", "q5_0", "q4_0", "int8"};
enum { FORMATS = 6, CHANGES = 600 };

/* Every format; block formats hold the very numbers of the `.bin`. */
static void every_format_comes_back(void **state) {
    kd_whisper_file *file = tiny_whisper_file(), *back, *bin;
    static kd_whisper_head heads[] = {{0, 1}, {2, 3}};
    file->head = heads;
    file->head_count = 2;
    for (int i = 0; i < FORMATS; i++) {
        const kd_number_format *format = kd_number_format_named(NAMES[i]);
        const char *path = test_path(*state, "tiny.gguf");
        assert_ok(kd_whisper_gguf_write(path, file, format));
        assert_ok(kd_whisper_file_open(&back, path, KD_WHISPER_TRAIN_NOTHING));
        assert_same_model(file, back, error_bound(format));
        assert_int_equal(back->head_count, 2);
        assert_memory_equal(back->head, heads, sizeof heads);
        path = test_path(*state, "tiny.bin");
        if (format == &kd_format_int8) {
            assert_refused(kd_whisper_bin_write(path, file, format), KD_EUSAGE, "a GGUF file has");
        } else {
            assert_ok(kd_whisper_bin_write(path, file, format));
            assert_ok(kd_whisper_file_open(&bin, path, KD_WHISPER_TRAIN_NOTHING));
            assert_same_model(bin, back, 0);
            kd_whisper_file_free(bin);
        }
        kd_whisper_file_free(back);
    }
    file->head = NULL;
    kd_whisper_file_free(file);
}

static void odd_widths_are_refused(void **state) {
    kd_whisper_file *file = tiny_whisper_file(), *back;
    kd_whisper_spec spec = TINY_SPEC;
    spec.width = 48;
    kd_whisper_free(file->model);
    file->model = tiny_whisper_of(&spec, KD_WHISPER_TRAIN_NOTHING);
    const char *path = test_path(*state, "odd.gguf");
    assert_refused(kd_whisper_gguf_write(path, file, &kd_format_q4_0), KD_EUSAGE, "blocks of 32");
    assert_false(kd_file_exists(path));
    assert_ok(kd_whisper_gguf_write(path, file, &kd_format_int8));
    assert_ok(kd_whisper_file_open(&back, path, KD_WHISPER_TRAIN_NOTHING));
    assert_same_model(file, back, error_bound(&kd_format_int8));
    kd_whisper_file_free(back);
    kd_whisper_file_free(file);
}

/* --- a file made by hand: what another program might write ------------------------------------ */

/* What is different about it; NULL and 0 are as they should be. */
typedef struct {
    const char *architecture;
    const char *without; /* this key */
    const char *size;    /* this key has ... */
    uint32_t value;      /* ... this value */
    const char *missing; /* this tensor */
    const char *extra;   /* one tensor more, of this name */
    const char *token;   /* token 5 */
    uint32_t type;       /* of decoder.ln.weight */
    const char *message;
} change;

static void add_sizes(kd_gguf_writer *w, const change *c) {
    static const struct {
        const char *key;
        uint32_t value;
    } size[] = {
        {"whisper.encoder.context_length", 50},      {"whisper.encoder.embedding_length", 32},
        {"whisper.encoder.block_count", 2},          {"whisper.encoder.mels_count", 80},
        {"whisper.encoder.attention.head_count", 2}, {"whisper.decoder.context_length", 32},
        {"whisper.decoder.embedding_length", 32},    {"whisper.decoder.block_count", 3},
        {"whisper.decoder.attention.head_count", 4}};
    for (size_t i = 0; i < sizeof size / sizeof *size; i++) {
        if (c->without && strcmp(c->without, size[i].key) == 0) continue;
        const bool changed = c->size && strcmp(c->size, size[i].key) == 0;
        kd_gguf_add_u32(w, size[i].key, changed ? c->value : size[i].value);
    }
}

/* The bytes in GPT-2's letters, then any text for the special ones. */
static void add_tokens(kd_gguf_writer *w, const change *c) {
    static char letters[256][3];
    const char *token[TINY_VOCABULARY];
    for (int b = 0; b < 256; b++) {
        const bool prints = (b > 0x20 && b < 0x7F) || (b > 0xA0 && b != 0xAD);
        const int letter = prints ? b : b <= 0x20 ? 256 + b : b == 0xAD ? 256 + 67 : 256 + b - 94;
        if (letter < 0x80) {
            letters[b][0] = (char)letter;
        } else {
            letters[b][0] = (char)(0xC0 | letter >> 6);
            letters[b][1] = (char)(0x80 | (letter & 63));
        }
        token[b] = letters[b];
    }
    token[256] = "<|endoftext|>";
    for (int i = 257; i < TINY_VOCABULARY; i++) token[i] = "<|anything|>";
    if (c->token) token[5] = c->token;
    kd_gguf_add_strings(w, "tokenizer.ggml.tokens", token, TINY_VOCABULARY);
}

static void add_tensors(kd_gguf_writer *w, const kd_whisper *m, const change *c) {
    for (int i = 0; i < m->params->count; i++) {
        const kd_param *p = m->params->list[i];
        float *values = malloc((size_t)p->tensor.size * sizeof *values);
        int64_t ne[4];
        uint64_t sizes[4];
        assert_non_null(values);
        values_in_files(values, p);
        const int rank = sizes_in_files(ne, p);
        for (int k = 0; k < rank; k++) sizes[k] = (uint64_t)ne[k];
        const bool odd = c->type && strcmp(p->name, "decoder.ln.weight") == 0;
        if (!c->missing || strcmp(c->missing, p->name) != 0)
            kd_gguf_add_tensor(w, p->name, odd ? c->type : KD_GGUF_TENSOR_F32, rank, sizes, values);
        free(values);
    }
    if (c->extra)
        kd_gguf_add_tensor(w, c->extra, KD_GGUF_TENSOR_F32, 1, (uint64_t[]){1}, &(float){0});
}

static int decode_changed(kd_whisper_file **out, const kd_whisper *m, const change *c) {
    kd_gguf_writer *w;
    char *bytes;
    size_t length;
    assert_ok(kd_gguf_writer_create(&w, c->architecture ? c->architecture : "whisper"));
    add_sizes(w, c);
    if (!c->without || strcmp(c->without, "tokenizer.ggml.tokens") != 0) add_tokens(w, c);
    add_tensors(w, m, c);
    assert_ok(kd_gguf_finish(&bytes, &length, w));
    const int status = kd_whisper_gguf_decode(out, bytes, length, "hand", KD_WHISPER_TRAIN_NOTHING);
    free(bytes);
    kd_gguf_writer_free(w);
    return status;
}

/* Without filters, merges, token types, file type and heads. */
static void the_least_file_is_read(void **state) {
    (void)state;
    kd_whisper_file *file = tiny_whisper_file(), *back;
    assert_ok(decode_changed(&back, file->model, &(change){0}));
    assert_same_model(file, back, 0);
    assert_int_equal(back->head_count, 0);
    kd_whisper_file_free(back);
    kd_whisper_file_free(file);
}

static void wrong_files_are_refused(void **state) {
    (void)state;
    static const change cases[] = {
        {.architecture = "llama", .message = "general.architecture"},
        {.without = "whisper.encoder.block_count", .message = "no key whisper.encoder.block_count"},
        {.without = "tokenizer.ggml.tokens", .message = "tokenizer.ggml.tokens"},
        {.size = "whisper.decoder.embedding_length", .value = 64, .message = "width is 32"},
        {.size = "whisper.encoder.mels_count", .value = 0, .message = "mel bands"},
        {.size = "whisper.encoder.block_count", .value = UINT32_MAX, .message = "out of range"},
        {.size = "whisper.encoder.block_count", .value = 3, .message = "is missing"},
        {.size = "whisper.encoder.block_count", .value = 1, .message = "tensors"},
        {.size = "whisper.encoder.attention.head_count", .value = 3, .message = "heads"},
        {.size = "whisper.decoder.context_length", .value = 33, .message = "wrong shape"},
        {.missing = "decoder.blocks.1.cross_attn.key.weight", .message = "key.weight is missing"},
        {.extra = "decoder.blocks.3.attn.key.weight", .message = "tensors"},
        {.token = "\xc3\x97\xe2\x82\xac", .message = "token 5 is not written"},
        {.token = "A", .message = "the same"},
        {.type = KD_GGUF_TENSOR_I32, .message = "ggml type 26"},
        {.type = KD_GGUF_TENSOR_I8, .message = "scales"}};
    kd_whisper *m = tiny_whisper(KD_WHISPER_TRAIN_NOTHING);
    kd_whisper_file *back;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_refused(decode_changed(&back, m, &cases[i]), KD_EDATA, cases[i].message);
        assert_null(back);
    }
    kd_whisper_free(m);
}

/* --- damage --------------------------------------------------------------------------------------
 */

static char *tiny_bytes(void **state, size_t *length, const kd_number_format *format) {
    return tiny_whisper_bytes(kd_whisper_gguf_write, test_path(*state, "bytes.gguf"), format,
                              length);
}

static void cut_files_are_refused(void **state) {
    size_t length;
    char *bytes = tiny_bytes(state, &length, &kd_format_int8);
    assert_cuts_refused(kd_whisper_gguf_decode, bytes, length);
    free(bytes);
}

static void any_changed_bit_is_noticed(void **state) {
    size_t length;
    char *bytes = tiny_bytes(state, &length, &kd_format_q4_0);
    kd_whisper_file *back;
    for (size_t i = 0; i < 300; i++) {
        const size_t at = i * (length - 1) / 299;
        bytes[at] = (char)(bytes[at] ^ 1 << i % 8);
        assert_int_equal(
            kd_whisper_gguf_decode(&back, bytes, length, "flip", KD_WHISPER_TRAIN_NOTHING),
            KD_EDATA);
        bytes[at] = (char)(bytes[at] ^ 1 << i % 8);
    }
    free(bytes);
}

/* Without a checksum, changed bytes of keys and sizes must be refused or make another whole model:
 * with sanitizers, nothing beyond the file is read. */
static void changed_files_do_no_harm(void **state) {
    size_t length;
    char *bytes = tiny_bytes(state, &length, &kd_format_int8);
    kd_rng rng = kd_rng_init(5, 1);
    int refused = 0;
    *(char *)memmem(bytes, length, "distill.checksum", 16) = 'x';
    const char *data = memmem(bytes, length, "decoder.ln.bias", 15);
    assert_non_null(data);
    const uint64_t header = (uint64_t)(data - bytes) + 64;
    for (int i = 0; i < CHANGES; i++) {
        char *copy = malloc(length); /* its own block */
        kd_whisper_file *back;
        assert_non_null(copy);
        memcpy(copy, bytes, length);
        for (int k = 0; k <= i % 3; k++)
            copy[kd_rng_below(&rng, header)] = (char)kd_rng_below(&rng, 256);
        const int status =
            kd_whisper_gguf_decode(&back, copy, length, "changed", KD_WHISPER_TRAIN_NOTHING);
        assert_true(status == KD_EDATA || status == KD_OK);
        refused += status != KD_OK;
        kd_whisper_file_free(back);
        free(copy);
    }
    assert_true(refused > CHANGES / 10);
    free(bytes);
}

/* The genuine base.en: through GGUF and back to the bytes it came from. */
static void base_en_comes_back(void **state) {
    char path[KD_PATH_MAX], gguf[KD_PATH_MAX];
    test_need(path, "whisper/ggml-base.en.bin");
    kd_whisper_file *file, *back;
    test_copy(gguf, sizeof gguf, test_path(*state, "base.en.gguf"));
    assert_ok(kd_whisper_file_open(&file, path, KD_WHISPER_TRAIN_NOTHING));
    assert_ok(kd_whisper_gguf_write(gguf, file, &kd_format_f16));
    assert_ok(kd_whisper_file_open(&back, gguf, KD_WHISPER_TRAIN_NOTHING));
    assert_same_model(file, back, 0);
    kd_whisper_file_free(back);
    kd_whisper_file_free(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_format_comes_back, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(odd_widths_are_refused, test_setup, test_teardown),
        cmocka_unit_test(the_least_file_is_read),
        cmocka_unit_test(wrong_files_are_refused),
        cmocka_unit_test_setup_teardown(cut_files_are_refused, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(any_changed_bit_is_noticed, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(changed_files_do_no_harm, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(base_en_comes_back, test_setup, test_teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
