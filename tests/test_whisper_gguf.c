/* Whisper models as GGUF: what is written is read back, files from elsewhere are read, and nothing
 * broken is let through. */
#include "test_data.h"

#include "files/gguf.h"
#include "whisper_tiny.h"

enum { CHANGES = 600 };

/* Every format; block formats hold the very numbers of the `.bin`. */
static void every_format_comes_back(void **state) {
    kd_whisper_file *file = tiny_whisper_file(), *back, *bin;
    static kd_whisper_head heads[] = {{0, 1}, {2, 3}};
    file->head = heads;
    file->head_count = 2;
    const kd_number_format *format;
    for (int i = 0; (format = kd_number_format_at(i)); i++) {
        if (!format->encode || !kd_number_format_in_gguf(format)) continue;
        const char *path = test_path(*state, "tiny.gguf");
        assert_ok(kd_whisper_gguf_write(path, file, format));
        assert_ok(kd_whisper_file_open(&back, path, KD_WHISPER_TRAIN_NOTHING));
        assert_same_model(file, back, error_bound(format));
        assert_int_equal(back->head_count, 2);
        assert_memory_equal(back->head, heads, sizeof heads);
        path = test_path(*state, "tiny.bin");
        if (!kd_whisper_bin_fits(&file->model->spec, format)) {
            assert_refused(kd_whisper_bin_write(path, file, format), KD_EUSAGE,
                           format->file_type >= 0 ? "cannot be cut" : "a GGUF file may have");
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

/* The type of tensor `name` of the GGUF file. */
static uint32_t type_of(const char *path, const char *name) {
    char *bytes;
    size_t length;
    kd_gguf *g;
    assert_ok(kd_file_read(&bytes, &length, path, 1 << 24));
    assert_ok(kd_gguf_parse(&g, bytes, length, path));
    const kd_gguf_tensor *t = kd_gguf_find_tensor(g, name);
    assert_non_null(t);
    const uint32_t type = t->type;
    kd_gguf_free(g);
    free(bytes);
    return type;
}

/* Rows of 48 are no blocks of 32: they are f16; those of 192, of the layer behind, are in blocks.
 */
static void odd_widths_fall_back(void **state) {
    kd_whisper_file *file = tiny_whisper_file(), *back;
    kd_whisper_spec spec = TINY_SPEC;
    spec.width = 48;
    kd_whisper_free(file->model);
    file->model = tiny_whisper_of(&spec, KD_WHISPER_TRAIN_NOTHING);
    const char *path = test_path(*state, "odd.gguf");
    const kd_number_format *format;
    for (int i = 0; (format = kd_number_format_at(i)); i++) {
        if (!format->encode || !kd_number_format_in_gguf(format)) continue;
        assert_ok(kd_whisper_gguf_write(path, file, format));
        assert_ok(kd_whisper_file_open(&back, path, KD_WHISPER_TRAIN_NOTHING));
        assert_same_model(file, back, error_bound(format));
        kd_whisper_file_free(back);
        if (format == &kd_format_int8) continue; /* two tensors */
        assert_int_equal(type_of(path, "decoder.blocks.0.attn.query.weight"),
                         kd_number_format_fit(format, 48)->ggml_type);
        assert_int_equal(type_of(path, "decoder.blocks.0.mlp.2.weight"),
                         kd_number_format_fit(format, 192)->ggml_type);
    }
    kd_whisper_file_free(file);
}

/* A format that GGUF has no type for is no int8. */
static void strange_formats_are_refused(void **state) {
    kd_whisper_file *file = tiny_whisper_file();
    kd_number_format strange = kd_format_q4_0;
    strange.name = "t2_0";
    strange.ggml_type = KD_NO_GGML_TYPE;
    const char *path = test_path(*state, "strange.gguf");
    assert_refused(kd_whisper_gguf_write(path, file, &strange), KD_EUSAGE, "GGUF has no t2_0");
    assert_refused(kd_whisper_bin_write(path, file, &strange), KD_EUSAGE, "have no t2_0");
    assert_false(kd_file_exists(path));
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
    void (*more)(kd_gguf_writer *); /* adds to it */
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
    if (c->more) c->more(w);
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
        {.extra = "mel_filters", .message = "tensor mel_filters should be f32 of 201 × 80"},
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

/* What such a file says of how text is generated. */
#define ADDS(name, kind, key, ...)                                                                 \
    static void name(kd_gguf_writer *w) {                                                          \
        kd_gguf_add_##kind(w, "whisper.decoder." key, __VA_ARGS__);                                \
    }
enum { LANGUAGE = 258, TRANSLATE = 357, LAST = TINY_VOCABULARY - 1 };
ADDS(odd_heads, i32s, "alignment_heads", (int32_t[]){1, 2, 3}, 3)
ADDS(float_heads, f32s, "alignment_heads", (float[]){1, 2}, 2)
ADDS(one_head, u32, "alignment_heads", 1)
ADDS(float_list, f32s, "suppress_tokens", (float[]){1, 2}, 2)
ADDS(token_too_high, i32s, "suppress_tokens", (int32_t[]){1, LAST + 1}, 2)
ADDS(token_too_low, i32s, "begin_suppress_tokens", (int32_t[]){-1}, 1)
ADDS(no_language, i32s, "languages", (int32_t[]){LANGUAGE, TRANSLATE}, 2)
ADDS(below_languages, i32s, "languages", (int32_t[]){LANGUAGE - 1}, 1)
ADDS(no_languages, i32s, "languages", (int32_t[]){0}, 0)
ADDS(length_zero, u32, "max_length", 0)
ADDS(length_too_high, u32, "max_length", (1 << 20) + 1)
ADDS(late, u32, "max_initial_timestamp", 1501)
ADDS(unknown_language, string, "language", "xx")
ADDS(long_language, string, "language", "a language of thirty-two letters")
ADDS(empty_language, string, "language", "")
ADDS(numbered_language, u32, "language", 3)
ADDS(unknown_task, string, "task", "translated")
ADDS(small_filters, tensor, "x", KD_GGUF_TENSOR_F32, 1, (uint64_t[]){1}, &(float){0})
ADDS(all_good, i32s, "suppress_tokens", (int32_t[]){0, LAST}, 2)

static void bad_settings_are_refused(void **state) {
    (void)state;
    static const change cases[] = {
        {.more = odd_heads, .message = "alignment_heads should be a list of pairs of i32"},
        {.more = float_heads, .message = "alignment_heads should be a list of pairs of i32"},
        {.more = one_head, .message = "alignment_heads should be a list of pairs of i32"},
        {.more = float_list, .message = "suppress_tokens should be a list of i32"},
        {.more = token_too_high, .message = "token 1864 should be from 0 to 1863"},
        {.more = token_too_low, .message = "token -1 should be from 0 to 1863"},
        {.more = no_language, .message = "languages: token 357 should be from 258 to 356"},
        {.more = below_languages, .message = "languages: token 257 should be from 258 to 356"},
        {.more = no_languages, .message = "languages is empty"},
        {.more = length_zero, .message = "max_length is 0, should be 1 to 1048576"},
        {.more = length_too_high, .message = "max_length is 1048577, should be 1 to 1048576"},
        {.more = late, .message = "max_initial_timestamp is 1501, should be 0 to 1500"},
        {.more = unknown_language, .message = "no language of its tokens"},
        {.more = long_language, .message = "language should be a short text"},
        {.more = empty_language, .message = "language should be a short text"},
        {.more = numbered_language, .message = "language should be a short text"},
        {.more = unknown_task, .message = "task should be transcribe or translate"},
        {.more = small_filters, .message = "tensors"}};
    kd_whisper *m = tiny_whisper(KD_WHISPER_TRAIN_NOTHING);
    kd_whisper_file *back;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_refused(decode_changed(&back, m, &cases[i]), KD_EDATA, cases[i].message);
        assert_null(back);
    }
    assert_ok(decode_changed(&back, m, &(change){.more = all_good}));
    assert_true(back->model->generation.suppress.stated);
    assert_int_equal(back->model->generation.suppress.count, 2);
    assert_int_equal(back->model->generation.suppress.id[1], LAST);
    kd_whisper_file_free(back);
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
        cmocka_unit_test_setup_teardown(odd_widths_fall_back, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(strange_formats_are_refused, test_setup, test_teardown),
        cmocka_unit_test(the_least_file_is_read),
        cmocka_unit_test(wrong_files_are_refused),
        cmocka_unit_test(bad_settings_are_refused),
        cmocka_unit_test_setup_teardown(cut_files_are_refused, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(any_changed_bit_is_noticed, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(changed_files_do_no_harm, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(base_en_comes_back, test_setup, test_teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
