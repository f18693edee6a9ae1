/* What the writers of Whisper files state, key by key and number by number: a reader of ours would
 * not notice a number that it does not ask for, but other programs would. */
#include "test_data.h"

#include "base/text.h"
#include "files/gguf.h"
#include "whisper_tiny.h"

/* The ordinary tokens: 256 bytes, "ab", "abc", " t". */
enum {
    END = 259,
    START = 260,
    ENGLISH = 261,
    GERMAN = 263,
    TRANSLATE = 360,
    TIMESTAMP = 366,
    WHISPER_TOKENS = END + 1608,
    ADDED = 2
};

/* No two sizes are the same. */
static const kd_whisper_spec SPEC = {.mels = 80,
                                     .width = 32,
                                     .audio_context = 50,
                                     .audio_layers = 1,
                                     .audio_heads = 4,
                                     .text_context = 40,
                                     .text_layers = 3,
                                     .text_heads = 2};

static kd_tokenizer *make_tokenizer(int added) {
    static const kd_token_bytes joined[] = {{"ab", 2}, {"abc", 3}, {" t", 2}};
    static const kd_token_bytes more[ADDED] = {{"hey", 3}, {"<|laugh|>", 9}};
    static char bytes[256];
    kd_token_bytes token[END];
    kd_tokenizer *t;
    const kd_added_tokens list = {more, added};
    for (int i = 0; i < 256; i++) {
        bytes[i] = (char)i;
        token[i] = (kd_token_bytes){&bytes[i], 1};
    }
    memcpy(token + 256, joined, sizeof joined);
    assert_ok(kd_tokenizer_create_added(&t, token, END, WHISPER_TOKENS + added, &list, "written"));
    return t;
}

static kd_whisper_file *make_file(int added) {
    kd_whisper_spec spec = SPEC;
    kd_whisper_file *file = calloc(1, sizeof *file);
    assert_non_null(file);
    spec.vocabulary = WHISPER_TOKENS + added;
    file->model = tiny_whisper_of(&spec, KD_WHISPER_TRAIN_NOTHING);
    file->tokenizer = make_tokenizer(added);
    assert_ok(kd_whisper_add_filters(file, spec.mels));
    return file;
}

static void state_all(kd_whisper_file *file) {
    static const kd_whisper_head heads[] = {{0, 1}, {2, 0}};
    kd_whisper_generation *g = &file->model->generation;
    file->head = malloc(sizeof heads);
    assert_non_null(file->head);
    memcpy(file->head, heads, sizeof heads);
    file->head_count = 2;
    file->origin = "{\"from\": 1}";
    assert_ok(kd_token_list_set(&g->suppress, (const int32_t[]){5, 7}, 2));
    assert_ok(kd_token_list_set(&g->begin_suppress, (const int32_t[]){258}, 1));
    assert_ok(kd_token_list_set(&g->languages, (const int32_t[]){ENGLISH, GERMAN}, 2));
    g->max_length = 21;
    g->max_initial_timestamp = 9;
    g->language = GERMAN;
    g->task = TRANSLATE;
}

/* --- GGUF ----------------------------------------------------------------------------------------
 */

static kd_gguf *read_gguf(char **bytes, const char *path) {
    size_t length;
    kd_gguf *g;
    assert_ok(kd_file_read(bytes, &length, path, 1 << 24));
    assert_ok(kd_gguf_parse(&g, *bytes, length, path));
    assert_ok(kd_gguf_verify(g, path));
    return g;
}

static uint32_t u32_at(const void *at) {
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* "key = value" of a number or text; of a list, its kind, number and first elements. */
static void add_key(kd_text *out, const kd_gguf_key *k) {
    kd_text_add(out, "%.*s = ", (int)k->name.length, k->name.text);
    const unsigned char *at = k->value;
    if (k->kind == KD_GGUF_STRING) {
        const kd_gguf_string s = kd_gguf_next_string(&at);
        kd_text_add(out, "'%.*s'", (int)s.length, s.text);
    } else if (k->kind == KD_GGUF_U32) {
        kd_text_add(out, "%u", u32_at(at));
    } else if (k->kind == KD_GGUF_ARRAY && k->element == KD_GGUF_I32) {
        kd_text_add(out, "i32[%d]", (int)k->count);
        for (uint64_t i = 0; i < k->count && i < 4; i++)
            kd_text_add(out, " %d", (int)u32_at(at + 4 * i));
    } else if (k->kind == KD_GGUF_ARRAY && k->element == KD_GGUF_STRING) {
        kd_text_add(out, "text[%d]", (int)k->count);
    } else {
        kd_text_add(out, "kind %d", (int)k->kind);
    }
    kd_text_add(out, "\n");
}

static void assert_keys(const kd_gguf *g, const char *right) {
    kd_text text = {0};
    for (uint64_t i = 0; i < g->key_count; i++) add_key(&text, &g->key[i]);
    assert_ok(kd_text_finish(&text, "keys"));
    assert_string_equal(text.text, right);
    free(text.text);
}

#define GENERAL                                                                                    \
    "general.architecture = 'whisper'\ngeneral.quantization_version = 2\n"                         \
    "general.alignment = 32\ndistill.checksum = kind 10\n"
#define SIZES                                                                                      \
    "whisper.encoder.context_length = 50\nwhisper.encoder.embedding_length = 32\n"                 \
    "whisper.encoder.block_count = 1\nwhisper.encoder.mels_count = 80\n"                           \
    "whisper.encoder.attention.head_count = 4\nwhisper.decoder.context_length = 40\n"              \
    "whisper.decoder.embedding_length = 32\nwhisper.decoder.block_count = 3\n"                     \
    "whisper.decoder.attention.head_count = 2\n"
#define TOKENS(count)                                                                              \
    "tokenizer.ggml.model = 'gpt2'\ntokenizer.ggml.tokens = text[" count                           \
    "]\ntokenizer.ggml.token_type = i32[" count                                                    \
    "] 1 1 1 1\ntokenizer.ggml.merges = text[3]\ntokenizer.ggml.bos_token_id = 260\n"              \
    "tokenizer.ggml.eos_token_id = 259\n"

static void gguf_keys_have_their_values(void **state) {
    static const char *const formats[][2] = {
        {"f32", GENERAL "general.file_type = 0\n" SIZES TOKENS("1867")},
        {"f16", GENERAL "general.file_type = 1\n" SIZES TOKENS("1867")},
        {"q4_0", GENERAL "general.file_type = 2\n" SIZES TOKENS("1867")},
        {"q8_0", GENERAL "general.file_type = 7\n" SIZES TOKENS("1867")},
        {"q5_0", GENERAL "general.file_type = 8\n" SIZES TOKENS("1867")},
        {"int8", GENERAL SIZES TOKENS("1867")}};
    const char *path = test_path(*state, "keys.gguf");
    kd_whisper_file *file = make_file(0);
    char *bytes;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        assert_ok(kd_whisper_gguf_write(path, file, kd_number_format_named(formats[i][0])));
        kd_gguf *g = read_gguf(&bytes, path);
        assert_keys(g, formats[i][1]);
        kd_gguf_free(g);
        free(bytes);
    }
    kd_whisper_file_free(file);
}

#define STATED(task)                                                                               \
    GENERAL "general.file_type = 0\ndistill.origin = '{\"from\": 1}'\n" SIZES                      \
            "whisper.decoder.suppress_tokens = i32[2] 5 7\n"                                       \
            "whisper.decoder.begin_suppress_tokens = i32[1] 258\n"                                 \
            "whisper.decoder.languages = i32[2] 261 263\nwhisper.decoder.max_length = 21\n"        \
            "whisper.decoder.max_initial_timestamp = 9\nwhisper.decoder.language = 'de'\n"         \
            "whisper.decoder.task = '" task                                                        \
            "'\nwhisper.decoder.alignment_heads = i32[4] 0 1 2 0\n" TOKENS("1869")

static void gguf_keys_of_what_is_stated(void **state) {
    const char *path = test_path(*state, "stated.gguf");
    kd_whisper_file *file = make_file(ADDED);
    char *bytes;
    state_all(file);
    for (int i = 0; i < 2; i++) {
        file->model->generation.task = TRANSLATE + i;
        assert_ok(kd_whisper_gguf_write(path, file, &kd_format_f32));
        kd_gguf *g = read_gguf(&bytes, path);
        assert_keys(g, i ? STATED("transcribe") : STATED("translate"));
        kd_gguf_free(g);
        free(bytes);
    }
    kd_whisper_file_free(file);
}

static void gguf_tokens_are_spelt(void **state) {
    static const struct {
        int id;
        const char *text;
    } some[] = {{0, "\u0100"},
                {'\n', "\u010a"},
                {' ', "\u0120"},
                {'!', "!"},
                {'a', "a"},
                {'~', "~"},
                {0x7F, "\u0121"},
                {0xA0, "\u0142"},
                {0xA1, "\u00a1"},
                {0xAD, "\u0143"},
                {0xFF, "\u00ff"},
                {256, "ab"},
                {257, "abc"},
                {258, "\u0120t"},
                {END, "<|endoftext|>"},
                {START, "<|startoftranscript|>"},
                {ENGLISH, "<|en|>"},
                {GERMAN, "<|de|>"},
                {359, "<|su|>"},
                {TRANSLATE, "<|translate|>"},
                {361, "<|transcribe|>"},
                {362, "<|startoflm|>"},
                {363, "<|startofprev|>"},
                {364, "<|nospeech|>"},
                {365, "<|notimestamps|>"},
                {TIMESTAMP, "<|0.00|>"},
                {367, "<|0.02|>"},
                {1866, "<|30.00|>"},
                {1867, "hey"},
                {1868, "<|laugh|>"}};
    static const char *const merges[] = {"a b", "ab c", "\u0120 t"};
    const char *path = test_path(*state, "tokens.gguf");
    kd_whisper_file *file = make_file(ADDED);
    char *bytes;
    assert_ok(kd_whisper_gguf_write(path, file, &kd_format_f16));
    kd_gguf *g = read_gguf(&bytes, path);
    const unsigned char *at = kd_gguf_find_key(g, "tokenizer.ggml.tokens")->value;
    const unsigned char *type = kd_gguf_find_key(g, "tokenizer.ggml.token_type")->value;
    size_t next = 0;
    for (int id = 0; id < WHISPER_TOKENS + ADDED; id++) {
        const kd_gguf_string s = kd_gguf_next_string(&at);
        assert_int_equal(u32_at(type + 4 * id), id < END ? 1 : 3);
        if (next == sizeof some / sizeof *some || id != some[next].id) continue;
        if (s.length != strlen(some[next].text) || memcmp(s.text, some[next].text, s.length) != 0)
            fail_msg("token %d is '%.*s'", id, (int)s.length, s.text);
        next++;
    }
    assert_int_equal(next, sizeof some / sizeof *some);
    at = kd_gguf_find_key(g, "tokenizer.ggml.merges")->value;
    for (int i = 0; i < 3; i++) {
        const kd_gguf_string s = kd_gguf_next_string(&at);
        assert_int_equal(s.length, strlen(merges[i]));
        assert_memory_equal(s.text, merges[i], s.length);
    }
    kd_gguf_free(g);
    free(bytes);
    kd_whisper_file_free(file);
}

/* A matrix of int8: the largest of each row is 127 steps, and no value is off by more than half a
 * step. */
static void assert_steps(const kd_gguf_tensor *steps, const kd_gguf_tensor *scales,
                         const float *values, const kd_tensor *t) {
    const int64_t N = t->shape[0], C = t->size / N;
    const int8_t *q = (const int8_t *)steps->data;
    assert_int_equal(steps->type, KD_GGUF_TENSOR_I8);
    assert_int_equal(scales->type, KD_GGUF_TENSOR_F32);
    assert_int_equal(scales->rank, 1);
    assert_int_equal(scales->ne[0], N);
    for (int64_t n = 0; n < N; n++) {
        float scale, largest = 0;
        memcpy(&scale, scales->data + n * (int64_t)sizeof scale, sizeof scale);
        for (int64_t c = 0; c < C; c++) largest = fmaxf(largest, fabsf(values[n * C + c]));
        assert_true(fabsf(scale * 127 - largest) <= 1e-6f * largest);
        for (int64_t c = 0; c < C; c++)
            if (fabsf(scale * (float)q[n * C + c] - values[n * C + c]) > 0.5001f * scale)
                fail_msg("row %d, column %d", (int)n, (int)c);
    }
}

static void assert_tensors(const kd_gguf *g, const kd_whisper_file *file, bool int8) {
    const kd_params *params = file->model->params;
    uint64_t at = 1;
    assert_memory_equal(g->tensor[0].name.text, "mel_filters", 11);
    assert_true(g->tensor[0].rank == 2 && g->tensor[0].ne[0] == 201 && g->tensor[0].ne[1] == 80);
    assert_memory_equal(g->tensor[0].data, file->filters, 201 * 80 * sizeof(float));
    for (int i = 0; i < params->count; i++) {
        const kd_param *p = params->list[i];
        const kd_gguf_tensor *t = &g->tensor[at++];
        float *values = malloc((size_t)p->tensor.size * sizeof *values);
        int64_t ne[4];
        assert_non_null(values);
        values_in_files(values, p);
        assert_int_equal(t->name.length, strlen(p->name));
        assert_memory_equal(t->name.text, p->name, t->name.length);
        assert_int_equal(t->rank, sizes_in_files(ne, p));
        for (int k = 0; k < t->rank; k++) assert_int_equal(t->ne[k], ne[k]);
        if (int8 && p->tensor.rank == 2 && !strstr(p->name, "positional_embedding")) {
            const kd_gguf_tensor *scales = &g->tensor[at++];
            char name[KD_NAME_MAX + 8];
            snprintf(name, sizeof name, "%s.scale", p->name);
            assert_ptr_equal(scales, kd_gguf_find_tensor(g, name));
            assert_steps(t, scales, values, &p->tensor);
        } else if (t->type == KD_GGUF_TENSOR_F32) {
            assert_memory_equal(t->data, values, t->bytes);
        } else { /* int8 has its convolutions in half precision */
            assert_true(int8 && p->tensor.rank == 3 && t->type == KD_GGUF_TENSOR_F16);
        }
        free(values);
    }
    assert_int_equal(at, g->tensor_count);
}

static void gguf_tensors_have_their_values(void **state) {
    const char *path = test_path(*state, "tensors.gguf");
    kd_whisper_file *file = make_file(0);
    char *bytes;
    for (int int8 = 0; int8 < 2; int8++) {
        assert_ok(kd_whisper_gguf_write(path, file, int8 ? &kd_format_int8 : &kd_format_f32));
        kd_gguf *g = read_gguf(&bytes, path);
        assert_tensors(g, file, int8);
        kd_gguf_free(g);
        free(bytes);
    }
    kd_whisper_file_free(file);
}

/* --- whisper.cpp's file --------------------------------------------------------------------------
 */

/* The next `length` bytes of a file in memory. */
typedef struct {
    const char *at, *end;
} walk;

static const char *take(walk *w, size_t length) {
    const char *at = w->at;
    assert_true(length <= (size_t)(w->end - w->at));
    w->at += length;
    return at;
}

static int take_int(walk *w) {
    return (int)u32_at(take(w, 4));
}

static void assert_record(walk *w, const kd_param *p, const kd_number_format *format) {
    int64_t ne[4];
    char name[KD_NAME_MAX];
    const int rank = sizes_in_files(ne, p);
    float *values = malloc((size_t)p->tensor.size * sizeof *values);
    const size_t bytes = (size_t)kd_number_format_bytes(format, p->tensor.size);
    unsigned char *encoded = malloc(bytes);
    assert_true(values && encoded);
    values_in_files(values, p);
    format->encode(encoded, values, NULL, p->tensor.size);
    assert_int_equal(take_int(w), rank);
    const size_t length = (size_t)take_int(w);
    assert_int_equal(take_int(w), format->ggml_type);
    for (int i = 0; i < rank; i++) assert_int_equal(take_int(w), ne[i]);
    assert_int_equal(length, strlen(p->name));
    memcpy(name, take(w, length), length);
    assert_memory_equal(name, p->name, length);
    assert_memory_equal(take(w, bytes), encoded, bytes);
    free(values);
    free(encoded);
}

static void bins_have_their_numbers(void **state) {
    static const struct {
        const char *name;
        int type;
    } formats[] = {{"f32", 0}, {"f16", 1}, {"q4_0", 2002}, {"q8_0", 2007}, {"q5_0", 2008}};
    const char *path = test_path(*state, "numbers.bin");
    kd_whisper_file *file = make_file(0);
    const kd_params *params = file->model->params;
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
        const kd_number_format *format = kd_number_format_named(formats[f].name);
        const int header[] = {0x67676d6c, WHISPER_TOKENS,  50, 32, 4, 1, 40, 32, 2, 3,
                              80,         formats[f].type, 80, 201};
        char *bytes;
        size_t length;
        assert_ok(kd_whisper_bin_write(path, file, format));
        assert_ok(kd_file_read(&bytes, &length, path, 1 << 24));
        walk w = {bytes, bytes + length};
        for (size_t i = 0; i < sizeof header / sizeof *header; i++)
            assert_int_equal(take_int(&w), header[i]);
        assert_memory_equal(take(&w, 80 * 201 * 4), file->filters, 80 * 201 * 4);
        assert_int_equal(take_int(&w), END + 1); /* an English list has the end */
        for (int id = 0; id <= END; id++) {
            const kd_token_bytes token = kd_tokenizer_token(file->tokenizer, id);
            assert_int_equal(take_int(&w), token.length);
            assert_memory_equal(take(&w, token.length), token.bytes, token.length);
        }
        for (int i = 0; i < params->count; i++)
            assert_record(&w, params->list[i], kd_whisper_format_of(params->list[i], format));
        assert_ptr_equal(w.at, w.end);
        free(bytes);
    }
    kd_whisper_file_free(file);
}

/* --- a folder ------------------------------------------------------------------------------------
 */

static char *read_text(void **state, const char *name) {
    char *text;
    size_t length;
    assert_ok(kd_file_read(&text, &length, test_path(*state, name), 1 << 24));
    return text;
}

static void assert_text(void **state, const char *name, const char *right) {
    char *text = read_text(state, name);
    assert_string_equal(text, right);
    free(text);
}

/* The first and last lines of a long text, and the number of all. */
static void assert_ends(void **state, const char *name, const char *first, const char *last,
                        int lines) {
    char *text = read_text(state, name);
    const size_t length = strlen(text), head = strlen(first), tail = strlen(last);
    assert_true(length > head && length > tail);
    assert_string_equal(text + length - tail, last);
    text[head] = text[head] == '\n' ? '\0' : '?';
    assert_string_equal(text, first);
    text[head] = '\n';
    int count = 0;
    for (const char *at = text; *at; at++) count += *at == '\n';
    assert_int_equal(count, lines);
    free(text);
}

static const char CONFIG[] =
    "{\n  \"architectures\": [\"WhisperForConditionalGeneration\"],\n"
    "  \"model_type\": \"whisper\",\n  \"vocab_size\": 1869,\n  \"num_mel_bins\": 80,\n"
    "  \"d_model\": 32,\n  \"max_source_positions\": 50,\n  \"max_target_positions\": 40,\n"
    "  \"encoder_layers\": 1,\n  \"encoder_attention_heads\": 4,\n  \"encoder_ffn_dim\": 128,\n"
    "  \"decoder_layers\": 3,\n  \"decoder_attention_heads\": 2,\n  \"decoder_ffn_dim\": 128,\n"
    "  \"num_hidden_layers\": 1,\n  \"activation_function\": \"gelu\",\n"
    "  \"activation_dropout\": 0.0,\n  \"attention_dropout\": 0.0,\n  \"dropout\": 0.0,\n"
    "  \"encoder_layerdrop\": 0.0,\n  \"decoder_layerdrop\": 0.0,\n  \"init_std\": 0.02,\n"
    "  \"is_encoder_decoder\": true,\n  \"scale_embedding\": false,\n"
    "  \"tie_word_embeddings\": true,\n  \"use_cache\": true,\n  \"bos_token_id\": 259,\n"
    "  \"eos_token_id\": 259,\n  \"pad_token_id\": 259,\n  \"decoder_start_token_id\": 260,\n"
    "  \"torch_dtype\": \"float32\"\n}\n";

static const char GENERATION[] =
    "{\n  \"alignment_heads\": [[0, 1], [2, 0]],\n  \"suppress_tokens\": [5, 7],\n"
    "  \"begin_suppress_tokens\": [258],\n  \"language\": \"<|de|>\",\n"
    "  \"task\": \"translate\",\n  \"is_multilingual\": false,\n  \"bos_token_id\": 259,\n"
    "  \"eos_token_id\": 259,\n  \"pad_token_id\": 259,\n  \"decoder_start_token_id\": 260,\n"
    "  \"prev_sot_token_id\": 363,\n  \"no_timestamps_token_id\": 365,\n"
    "  \"max_initial_timestamp_index\": 9,\n  \"max_length\": 21,\n"
    "  \"return_timestamps\": false\n}\n";

static const char PREPROCESSOR[] =
    "{\n  \"feature_extractor_type\": \"WhisperFeatureExtractor\",\n"
    "  \"processor_class\": \"WhisperProcessor\",\n  \"feature_size\": 80,\n"
    "  \"sampling_rate\": 16000,\n  \"hop_length\": 160,\n  \"n_fft\": 400,\n"
    "  \"chunk_length\": 1,\n  \"n_samples\": 16000,\n  \"nb_max_frames\": 100,\n"
    "  \"padding_side\": \"right\",\n  \"padding_value\": 0.0,\n"
    "  \"return_attention_mask\": false\n}\n";

#define ALL_ARE_THE_END                                                                            \
    "  \"bos_token\": \"<|endoftext|>\",\n  \"eos_token\": \"<|endoftext|>\",\n"                   \
    "  \"pad_token\": \"<|endoftext|>\",\n  \"unk_token\": \"<|endoftext|>\",\n"

static const char TOKENIZER_CONFIG[] =
    "{\n  \"tokenizer_class\": \"WhisperTokenizer\",\n"
    "  \"processor_class\": \"WhisperProcessor\",\n  \"add_prefix_space\": false,\n"
    "  \"add_bos_token\": false,\n" ALL_ARE_THE_END
    "  \"errors\": \"replace\",\n  \"model_max_length\": 1024,\n"
    "  \"return_attention_mask\": false\n}\n";

static void folders_have_their_texts(void **state) {
    const test_folder *folder = *state;
    kd_whisper_file *file = make_file(ADDED);
    state_all(file);
    assert_ok(kd_whisper_folder_write(folder->path, file, &kd_format_f32));
    assert_text(state, "config.json", CONFIG);
    assert_text(state, "generation_config.json", GENERATION);
    assert_text(state, "preprocessor_config.json", PREPROCESSOR);
    assert_text(state, "tokenizer_config.json", TOKENIZER_CONFIG);
    assert_text(state, "merges.txt", "#version: 0.2\na b\nab c\n\u0120 t\n");
    assert_ends(state, "vocab.json", "{\n\"\u0100\": 0,\n\"\u0101\": 1,",
                "\"\u00ff\": 255,\n\"ab\": 256,\n\"abc\": 257,\n\"\u0120t\": 258,\n"
                "\"<|endoftext|>\": 259\n}\n",
                END + 3);
    assert_ends(state, "added_tokens.json",
                "{\n  \"<|startoftranscript|>\": 260,\n  \"<|en|>\": 261,\n  \"<|zh|>\": 262,",
                "  \"<|29.98|>\": 1865,\n  \"<|30.00|>\": 1866,\n  \"hey\": 1867,\n"
                "  \"<|laugh|>\": 1868\n}\n",
                WHISPER_TOKENS - START + ADDED + 2);
    assert_ends(state, "special_tokens_map.json",
                "{\n" ALL_ARE_THE_END "  \"additional_special_tokens\": [\n"
                "    \"<|endoftext|>\",\n    \"<|startoftranscript|>\",",
                "    \"<|nospeech|>\",\n    \"<|notimestamps|>\"\n  ]\n}\n",
                1 + 4 + 1 + TIMESTAMP - END + 2);
    kd_whisper_file_free(file);
}

/* What is not stated: the upper half's heads, the whole context, no language and no task. */
static void folders_have_what_is_not_stated(void **state) {
    const test_folder *folder = *state;
    kd_whisper_file *file = make_file(0);
    assert_ok(kd_whisper_folder_write(folder->path, file, &kd_format_f16));
    char *text = read_text(state, "generation_config.json");
    assert_non_null(strstr(text, "\"alignment_heads\": [[1, 0], [1, 1], [2, 0], [2, 1]],"));
    assert_non_null(strstr(text, "\"max_initial_timestamp_index\": 50,\n  \"max_length\": 40,"));
    assert_non_null(strstr(text, "\"begin_suppress_tokens\": [32, 259],"));
    assert_null(strstr(text, "\"language\""));
    assert_null(strstr(text, "\"task\""));
    free(text);
    text = read_text(state, "config.json");
    assert_non_null(strstr(text, "\"vocab_size\": 1867,"));
    assert_non_null(strstr(text, "\"torch_dtype\": \"float16\""));
    free(text);
    kd_whisper_file_free(file);
}

/* Hugging Face's names, PyTorch's shapes. */
static void folders_have_foreign_names(void **state) {
    static const char *const entries[] = {
        "\"model.encoder.conv1.weight\":{\"dtype\":\"F32\",\"shape\":[32,80,3]",
        "\"model.encoder.conv2.bias\":{\"dtype\":\"F32\",\"shape\":[32]",
        "\"model.encoder.embed_positions.weight\":{\"dtype\":\"F32\",\"shape\":[50,32]",
        "\"model.encoder.layers.0.self_attn.q_proj.weight\":{\"dtype\":\"F32\",\"shape\":[32,32]",
        "\"model.encoder.layers.0.self_attn_layer_norm.bias\"",
        "\"model.encoder.layers.0.fc1.weight\":{\"dtype\":\"F32\",\"shape\":[128,32]",
        "\"model.encoder.layers.0.fc2.weight\":{\"dtype\":\"F32\",\"shape\":[32,128]",
        "\"model.encoder.layers.0.final_layer_norm.weight\"",
        "\"model.encoder.layer_norm.weight\"",
        "\"model.decoder.embed_tokens.weight\":{\"dtype\":\"F32\",\"shape\":[1867,32]",
        "\"model.decoder.embed_positions.weight\":{\"dtype\":\"F32\",\"shape\":[40,32]",
        "\"model.decoder.layers.2.encoder_attn.k_proj.weight\"",
        "\"model.decoder.layers.2.encoder_attn.v_proj.bias\"",
        "\"model.decoder.layers.1.encoder_attn.out_proj.bias\"",
        "\"model.decoder.layers.2.encoder_attn_layer_norm.weight\"",
        "\"model.decoder.layer_norm.bias\""};
    const test_folder *folder = *state;
    kd_whisper_file *file = make_file(0);
    char *bytes;
    size_t length;
    assert_ok(kd_whisper_folder_write(folder->path, file, &kd_format_f32));
    assert_ok(kd_file_read(&bytes, &length, test_path(*state, "model.safetensors"), 1 << 24));
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++)
        if (!memmem(bytes, length, entries[i], strlen(entries[i]))) fail_msg("no %s", entries[i]);
    free(bytes);
    kd_whisper_file_free(file);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)
    const struct CMUnitTest tests[] = {
        TEST(gguf_keys_have_their_values),     TEST(gguf_keys_of_what_is_stated),
        TEST(gguf_tokens_are_spelt),           TEST(gguf_tensors_have_their_values),
        TEST(bins_have_their_numbers),         TEST(folders_have_their_texts),
        TEST(folders_have_what_is_not_stated), TEST(folders_have_foreign_names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
