/* What is allowed at a limit, and what is refused beside it; and that nothing is read in front of
 * or behind what was handed over: a page that must not be touched follows. */
#include "test_data.h"

#include <math.h>
#include <sys/mman.h>

#include "asserts.h"
#include "base/json.h"
#include "base/size.h"
#include "data/audio.h"
#include "data/dataset_source.h"
#include "data/h5.h"
#include "data/half.h"
#include "data/image.h"
#include "data/logmel.h"
#include "data/manifest.h"
#include "data/sound_decoder.h"
#include "data/store.h"
#include "data/tokenizer_internal.h"
#include "data/utterances.h"
#include "files/gguf.h"
#include "files/safetensors.h"
#include "files/whisper_file.h"
#include "tasks/speech/decode.h"
#include "whisper_tiny.h"

/* --- the page behind -----------------------------------------------------------------------------
 */

typedef struct {
    char *map;
    size_t size;
} fence;

/* A copy of `length` bytes that ends where memory ends. */
static void *fenced(fence *f, const void *bytes, size_t length) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    f->size = (length / page + 2) * page;
    f->map = mmap(NULL, f->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(f->map != MAP_FAILED);
    assert_int_equal(mprotect(f->map + f->size - page, page, PROT_NONE), 0);
    char *at = f->map + f->size - page - length;
    if (length) memcpy(at, bytes, length);
    return at;
}

static void unfence(fence *f) {
    munmap(f->map, f->size);
}

static int parse_json(const void *bytes, size_t length) {
    kd_json *json;
    const int status = kd_json_parse(&json, bytes, length, "fenced");
    if (status == KD_OK) kd_json_free(json);
    return status;
}

static int parse_ranks(const void *bytes, size_t length) {
    kd_tokenizer *t;
    const int status =
        kd_tokenizer_parse_ranks(&t, bytes, length, 512 + 8 + 99 + KD_TIMESTAMPS, "fenced");
    if (status == KD_OK) kd_tokenizer_free(t);
    return status;
}

static int parse_gguf(const void *bytes, size_t length) {
    kd_gguf *g;
    const int status = kd_gguf_parse(&g, bytes, length, "fenced");
    if (status == KD_OK) kd_gguf_free(g);
    return status;
}

static int decode_safetensors(const void *bytes, size_t length) {
    kd_safetensors *st;
    const int status = kd_safetensors_decode(&st, bytes, length, "fenced");
    if (status == KD_OK) kd_safetensors_close(st);
    return status;
}

static int decode_idx(const void *bytes, size_t length) {
    kd_idx idx;
    const int status = kd_idx_decode(&idx, 3, bytes, length, "fenced");
    if (status == KD_OK) free(idx.values);
    return status;
}

static int decode_picture(const void *bytes, size_t length) {
    uint8_t out[2 * 3];
    return kd_image_decode(out, bytes, length, "fenced", 2, 3, 1);
}

static const char SAFETENSORS[] =
    "\x42\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
    "\"b\":{}}             \0\0\0\0";
static const char IDX[] = "\0\0\x08\x03\0\0\0\x01\0\0\0\x02\0\0\0\x03"
                          "abcdef";
static const char PGM[] = "P5 3 2 255\nabcdef";
static const char JSON[] = "{\"a\": [1.5e3, \"\\u00e9\\ud83d\\ude00\", true], \"b\": -7}";

/* Every beginning of good bytes, up to all of them, and what is refused of them. */
static void nothing_behind_is_read(void **state) {
    (void)state;
    char *ranks, *gguf;
    size_t ranks_length, gguf_length;
    assert_ok(kd_file_read(&ranks, &ranks_length, "tests/golden/tokenizer.tiktoken", 1 << 20));
    assert_ok(kd_file_read(&gguf, &gguf_length, "tests/golden/tiny.gguf", 1 << 20));
    const struct {
        int (*parse)(const void *, size_t);
        const void *bytes;
        size_t length;
        bool whole; /* all of it is good */
    } cases[] = {{parse_json, JSON, sizeof JSON - 1, true},
                 {decode_safetensors, SAFETENSORS, sizeof SAFETENSORS - 1, false},
                 {decode_idx, IDX, sizeof IDX - 1, true},
                 {decode_picture, PGM, sizeof PGM - 1, true},
                 {parse_ranks, ranks, ranks_length, true},
                 {parse_gguf, gguf, gguf_length, true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const size_t step = cases[i].length / 100 + 1;
        for (size_t n = 0; n <= cases[i].length; n += n + step > cases[i].length ? 1 : step) {
            fence f;
            const void *bytes = fenced(&f, cases[i].bytes, n);
            const int status = cases[i].parse(bytes, n);
            if (n == cases[i].length && cases[i].whole) assert_ok(status);
            /* One token fewer makes one language more. */
            if (n < cases[i].length && cases[i].bytes != ranks) assert_int_equal(status, KD_EDATA);
            unfence(&f);
        }
    }
    free(ranks);
    free(gguf);
}

/* Lists of tokens and of numbers, too. */
static void no_element_behind_is_read(void **state) {
    (void)state;
    kd_token_bytes token[256];
    char bytes[256];
    kd_tokenizer *t;
    fence f, g;
    for (int i = 0; i < 256; i++) {
        bytes[i] = (char)i;
        token[i] = (kd_token_bytes){&bytes[i], 1};
    }
    assert_ok(kd_tokenizer_create(&t, fenced(&f, token, sizeof token), 256, TINY_VOCABULARY, "t"));
    int32_t *id;
    int64_t count;
    assert_ok(kd_tokenizer_encode(&id, &count, t, fenced(&g, "abc", 3), 3));
    assert_int_equal(count, 3);
    free(id);
    kd_tokenizer_free(t);
    unfence(&f);
    unfence(&g);
    for (int64_t n = 0; n < 20; n++) {
        float x[20] = {1, 2, 3}, back[20];
        uint16_t half[20] = {0};
        kd_half_encode(fenced(&g, half, (size_t)n * 2), fenced(&f, x, (size_t)n * 4), n);
        const uint16_t *made =
            (uint16_t *)(void *)(g.map + g.size - (size_t)sysconf(_SC_PAGESIZE)) - n;
        memcpy(half, made, (size_t)n * 2);
        unfence(&f);
        kd_half_decode(fenced(&f, back, (size_t)n * 4), made, n);
        if (n > 1) assert_int_equal(half[1], 0x4000);
        unfence(&f);
        unfence(&g);
    }
}

/* --- limits --------------------------------------------------------------------------------------
 */

static int logmel(int rate, int window, int hop, int mels) {
    kd_logmel *l;
    const int status = kd_logmel_create(&l, rate, window, hop, mels);
    if (status == KD_OK) kd_logmel_free(l);
    return status;
}

static void sounds(void **state) {
    (void)state;
    assert_ok(kd_sound_check_format("s", 1, 1000));
    assert_ok(kd_sound_check_format("s", 64, 768000));
    assert_int_equal(kd_sound_check_format("s", 0, 16000), KD_EDATA);
    assert_int_equal(kd_sound_check_format("s", 65, 16000), KD_EDATA);
    assert_int_equal(kd_sound_check_format("s", 1, 999), KD_EDATA);
    assert_int_equal(kd_sound_check_format("s", 1, 768001), KD_EDATA);
    assert_ok(logmel(1000, 256, 100, 1));
    assert_ok(logmel(16000, 16384, 16384, 512));
    assert_ok(logmel(768000, 16384, 1, 8));
    assert_int_equal(logmel(999, 256, 100, 1), KD_ECONFIG);
    assert_int_equal(logmel(768001, 16384, 100, 1), KD_ECONFIG);
    assert_int_equal(logmel(16000, 1, 100, 1), KD_ECONFIG);
    assert_int_equal(logmel(16000, 16385, 100, 1), KD_ECONFIG);
    assert_int_equal(logmel(16000, 400, 0, 1), KD_ECONFIG);
    assert_int_equal(logmel(16000, 400, 16385, 1), KD_ECONFIG);
    assert_int_equal(logmel(16000, 400, 160, 0), KD_ECONFIG);
    assert_int_equal(logmel(16000, 16384, 160, 513), KD_ECONFIG);
}

static void pictures(void **state) {
    (void)state;
    uint8_t out[6 * 3];
    for (int h = 1; h <= 3; h++)
        for (int w = 2; w <= 4; w++)
            assert_int_equal(kd_image_decode(out, PGM, sizeof PGM - 1, "p", h, w, 1),
                             h == 2 && w == 3 ? KD_OK : KD_EDATA);
    assert_memory_equal(PGM + sizeof PGM - 7, "abcdef", 6);
    assert_int_equal(decode_picture(PGM, sizeof PGM), KD_EDATA); /* a byte behind */
    assert_int_equal(decode_picture("P5 3 2 254\nabcdef", 17), KD_EDATA);
    assert_int_equal(decode_picture("P5 3 2 256\nabcdef", 17), KD_EDATA);
    assert_int_equal(decode_idx(IDX, sizeof IDX), KD_EDATA);
    uint8_t record[KD_CIFAR_RECORD] = {9};
    uint8_t pixels[KD_CIFAR_PIXELS];
    int32_t label;
    int64_t count;
    assert_ok(kd_cifar_decode(&label, pixels, record, 1, "c"));
    assert_int_equal(label, 9);
    record[0] = 10;
    assert_refused(kd_cifar_decode(&label, pixels, record, 1, "c"), KD_EDATA, "label 10");
    assert_ok(kd_cifar_count(&count, 2 * KD_CIFAR_RECORD, "c"));
    assert_int_equal(count, 2);
    assert_int_equal(kd_cifar_count(&count, 0, "c"), KD_EDATA);
    assert_int_equal(kd_cifar_count(&count, KD_CIFAR_RECORD - 1, "c"), KD_EDATA);
    assert_int_equal(kd_cifar_count(&count, KD_CIFAR_RECORD + 1, "c"), KD_EDATA);
}

/* An array is as long as its count says, or larger than any memory. */
static void test_array_sizes(void **state) {
    (void)state;
    const int64_t most = (int64_t)(PTRDIFF_MAX / 8), wrong[] = {-1, INT64_MIN, INT64_MAX, most + 1};
    assert_int_equal(kd_array_bytes(0, 8), 0);
    assert_int_equal(kd_array_bytes(3, 8), 24);
    assert_int_equal(kd_array_bytes(most, 8), (size_t)most * 8);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) { /* no allocator gives so much */
        const size_t bytes = kd_array_bytes(wrong[i], 8);
        assert_true(bytes > PTRDIFF_MAX && bytes <= SIZE_MAX - 100);
    }
}

/* A list of `count` classes, the label of the first made longer by `more` bytes. */
static int read_classes(int count, int more) {
    char *text = malloc((size_t)count * 16 + 128), *at = text;
    char(*names)[KD_CLASS_NAME_MAX] = NULL;
    kd_manifest m = {0};
    int found = 0;
    assert_non_null(text);
    for (int i = 0; i < count; i++) {
        at += sprintf(at, "a.wav\tc%d", i);
        if (i == 0)
            at += sprintf(at, "%.*s", more, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
        *at++ = '\n';
    }
    *at = '\0';
    int status = kd_manifest_parse(&m, text, (size_t)(at - text), "list.tsv");
    if (status == KD_OK) status = kd_manifest_labels(&names, &found, &m, "list.tsv");
    if (status == KD_OK) assert_int_equal(found, count);
    free(names); /* also when there are too many */
    kd_manifest_free(&m);
    free(text);
    return status;
}

static void classes(void **state) {
    (void)state;
    assert_ok(read_classes(1, KD_CLASS_NAME_MAX - 1 - 2));
    assert_refused(read_classes(1, KD_CLASS_NAME_MAX - 2), KD_EDATA, "1 to 47");
    assert_ok(read_classes(KD_CLASSES_MAX, 0));
    assert_int_equal(read_classes(KD_CLASSES_MAX + 1, 0), KD_EDATA);
}

static int layout(int64_t ordinary, int64_t languages, bool *multilingual) {
    kd_token_ids ids;
    const int status = kd_token_ids_layout(
        &ids, ordinary, ordinary + KD_SPECIALS + KD_TIMESTAMPS + languages, 0, "t");
    if (status == KD_OK) *multilingual = ids.multilingual;
    return status;
}

static void tokens(void **state) {
    (void)state;
    bool m;
    assert_ok(layout(0, 1, &m));
    assert_ok(layout(256, 100, &m));
    assert_int_equal(layout(256, 0, &m), KD_EDATA);
    assert_int_equal(layout(256, 101, &m), KD_EDATA);
    assert_int_equal(layout(-1, 1, &m), KD_EDATA);
    assert_ok(layout(KD_ORDINARY_TOKENS_MAX, 1, &m));
    assert_int_equal(layout(KD_ORDINARY_TOKENS_MAX + 1, 1, &m), KD_EDATA);
    assert_ok(layout(50256, 99, &m));
    assert_false(m); /* 51864 */
    assert_ok(layout(50257, 99, &m));
    assert_true(m);
}

static int open_store(test_folder *folder, const kd_store_header *h) {
    kd_store_writer *w;
    int64_t done;
    const int status = kd_store_writer_open(&w, test_path(folder, "store"), h, 8, &done);
    if (status == KD_OK) kd_store_writer_abort(w);
    return status;
}

static void stores(void **state) {
    static const float output[2] = {1, 2};
    const kd_store_header top = {.kind = KD_STORE_TOPK,
                                 .dtype = KD_STORE_F32,
                                 .classes = 5,
                                 .k = 4,
                                 .temperature_count = 8,
                                 .temperature = {1, 2, 3, 4, 5, 6, 7, 8},
                                 .views = 1};
    kd_store_header h = top;
    assert_ok(open_store(*state, &h));
    h.k = 1, h.temperature_count = 1;
    assert_ok(open_store(*state, &h));
    h.k = 0;
    assert_int_equal(open_store(*state, &h), KD_ECONFIG);
    h.k = 5;
    assert_int_equal(open_store(*state, &h), KD_ECONFIG);
    h = top, h.temperature_count = 0;
    assert_int_equal(open_store(*state, &h), KD_ECONFIG);
    h.temperature_count = 9;
    assert_int_equal(open_store(*state, &h), KD_ECONFIG);
    h = top, h.temperature[7] = 0;
    assert_int_equal(open_store(*state, &h), KD_ECONFIG);
    h.temperature[7] = INFINITY;
    assert_int_equal(open_store(*state, &h), KD_ECONFIG);
    h = (kd_store_header){.classes = 2, .views = 1};
    assert_ok(open_store(*state, &h));
    h.classes = 1;
    assert_int_equal(open_store(*state, &h), KD_ECONFIG);
    h = (kd_store_header){.classes = 2, .views = 0};
    assert_int_equal(open_store(*state, &h), KD_ECONFIG);
    h = (kd_store_header){.kind = KD_STORE_HIDDEN, .classes = 2, .views = 1, .output = output};
    assert_int_equal(open_store(*state, &h), KD_ECONFIG);
    h.width = 1;
    assert_ok(open_store(*state, &h));
    h.output = NULL;
    assert_int_equal(open_store(*state, &h), KD_ECONFIG);
}

static void attributes(void **state) {
    hid_t file;
    char *whole, text[6];
    double list[3];
    int n;
    assert_ok(kd_h5_create(&file, test_path(*state, "a.h5")));
    assert_ok(kd_h5_set_string(file, "text", "words"));
    assert_ok(kd_h5_set_doubles(file, "list", 3, (double[]){1, 2, 4}));
    assert_ok(kd_h5_get_text(file, "text", 5, &whole));
    assert_string_equal(whole, "words");
    free(whole);
    assert_int_equal(kd_h5_get_text(file, "text", 4, &whole), KD_EDATA);
    assert_null(whole);
    assert_ok(kd_h5_get_string(file, "text", text, 6));
    assert_int_equal(kd_h5_get_string(file, "text", text, 5), KD_EDATA);
    assert_ok(kd_h5_get_doubles(file, "list", 3, &n, list));
    assert_int_equal(n, 3);
    assert_int_equal(kd_h5_get_doubles(file, "list", 2, &n, list), KD_EDATA);
    assert_int_equal(kd_h5_get_double(file, "list", list), KD_EDATA);
    kd_h5_close(file);
}

static int read_line(const char *line) {
    kd_utterances u = {0};
    char text[2 * KD_PATH_MAX];
    test_copy(text, sizeof text, line);
    const int status = kd_utterances_parse(&u, text, strlen(text), "d/list.tsv");
    kd_utterances_free(&u);
    return status;
}

static void utterances(void **state) {
    (void)state;
    char line[KD_PATH_MAX + 16];
    assert_ok(read_line("a.wav\ttext\n"));
    assert_ok(read_line("a.wav\ttext\tann\n"));
    assert_refused(read_line("a.wav\n"), KD_EDATA, "1 cells");
    assert_refused(read_line("a.wav\ttext\tann\tmore\n"), KD_EDATA, "4 cells");
    for (int more = 0; more < 2; more++) { /* d/ and the name and the 0 */
        const int n = KD_PATH_MAX - 3 + more;
        memset(line, 'a', (size_t)n);
        strcpy(line + n, "\thello\n");
        const int status = read_line(line);
        if (status != (more ? KD_EDATA : KD_OK)) fail_msg("%d: %.200s", n, kd_error());
    }
}

static int make_decoder(int context, int beam) {
    const kd_decode_options options = {.language = -1, .beam = beam};
    kd_whisper_spec spec = TINY_SPEC;
    kd_decoder d;
    spec.text_context = context;
    kd_whisper *model = tiny_whisper_of(&spec, KD_WHISPER_TRAIN_NOTHING);
    kd_tokenizer *t = tiny_tokenizer(TINY_VOCABULARY);
    const int status = kd_decoder_init(&d, model, t, &options);
    if (status == KD_OK) assert_int_equal(d.most, beam > 5 ? beam : 5);
    kd_decoder_clear(&d);
    kd_tokenizer_free(t);
    kd_whisper_free(model);
    return status;
}

static void decoders(void **state) {
    (void)state;
    assert_ok(make_decoder(16, 1));
    assert_ok(make_decoder(16, 6));
    assert_ok(make_decoder(17, KD_BEAM_MOST));
    assert_refused(make_decoder(15, 1), KD_EDATA, "needs 16");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_array_sizes),
                                       cmocka_unit_test(nothing_behind_is_read),
                                       cmocka_unit_test(no_element_behind_is_read),
                                       cmocka_unit_test(sounds),
                                       cmocka_unit_test(pictures),
                                       cmocka_unit_test(classes),
                                       cmocka_unit_test(tokens),
                                       TEST(stores),
                                       TEST(attributes),
                                       cmocka_unit_test(utterances),
                                       cmocka_unit_test(decoders)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
