/* How text is generated with a model: what its files state is read, kept in every format that can
 * hold it, and refused when it cannot be meant. */
#include "test_data.h"

#include "change_text.h"
#include "files/whisper_suppressed.h"
#include "run_cli.h"
#include "whisper_tiny.h"

/* end is 256; languages 258 …, translate, transcribe 357, 358; <|notimestamps|> 362 */
enum { V = TINY_VOCABULARY, END = 256, MULTILINGUAL = 51865, M_END = 50257 };

typedef struct {
    char folder[KD_PATH_MAX], config[KD_PATH_MAX], generation[KD_PATH_MAX];
} paths;

static void make_paths(paths *p, void **state, const char *name) {
    test_copy(p->folder, sizeof p->folder, test_path(*state, name));
    assert_ok(kd_path_join(p->config, p->folder, "config.json"));
    assert_ok(kd_path_join(p->generation, p->folder, "generation_config.json"));
}

/* The tiny model as a folder. */
static void make(paths *p, void **state) {
    kd_whisper_file *file = tiny_whisper_file();
    make_paths(p, state, "tiny");
    assert_ok(kd_whisper_folder_write(p->folder, file, &kd_format_f32));
    kd_whisper_file_free(file);
}

static void write_text(const char *path, const char *text) {
    test_write(path, text, strlen(text));
}

static kd_whisper_file *open_file(const char *path) {
    kd_whisper_file *file;
    assert_ok(kd_whisper_file_open(&file, path, KD_WHISPER_TRAIN_NOTHING));
    return file;
}

static void assert_list(const kd_token_list *list, int count, const int32_t *id) {
    assert_true(list->stated);
    assert_int_equal(list->count, count);
    for (int i = 0; i < count; i++) assert_int_equal(list->id[i], id[i]);
}

static void assert_same_generation(const kd_whisper_generation *a, const kd_whisper_generation *b) {
    assert_list(&a->suppress, b->suppress.count, b->suppress.id);
    assert_list(&a->begin_suppress, b->begin_suppress.count, b->begin_suppress.id);
    assert_int_equal(a->languages.stated, b->languages.stated);
    if (b->languages.stated) assert_list(&a->languages, b->languages.count, b->languages.id);
    assert_int_equal(a->max_length, b->max_length);
    assert_int_equal(a->max_initial_timestamp, b->max_initial_timestamp);
    assert_int_equal(a->language, b->language);
    assert_int_equal(a->task, b->task);
}

/* generation_config.json stands alone where it is: what it leaves out suppresses nothing. */
static void generation_config_is_followed(void **state) {
    paths p;
    make(&p, state);
    write_text(p.generation, "{\"suppress_tokens\": [97, 98, 1863], \"begin_suppress_tokens\": [],"
                             "\"max_length\": 7, \"max_initial_timestamp_index\": 9}");
    kd_whisper_file *file = open_file(p.folder);
    const kd_whisper_generation *g = &file->model->generation;
    assert_list(&g->suppress, 3, (const int32_t[]){97, 98, 1863});
    assert_list(&g->begin_suppress, 0, NULL);
    assert_int_equal(g->max_length, 7);
    assert_int_equal(g->max_initial_timestamp, 9);
    assert_int_equal(g->language, -1);
    kd_whisper_file_free(file);
    change_text(p.config, "{", "{\"suppress_tokens\": [5], \"max_length\": 3,");
    write_text(p.generation, "{\"begin_suppress_tokens\": null}");
    file = open_file(p.folder);
    g = &file->model->generation;
    assert_list(&g->suppress, 0, NULL);
    assert_list(&g->begin_suppress, 0, NULL);
    assert_int_equal(g->max_length, 0);
    assert_int_equal(g->max_initial_timestamp, KD_TIMESTAMPS - 1);
    kd_whisper_file_free(file);
}

/* Older folders have it in config.json; where nothing is stated, Whisper's own lists are taken. */
static void config_is_followed_in_older_folders(void **state) {
    paths p;
    int32_t *id;
    make(&p, state);
    assert_int_equal(unlink(p.generation), 0);
    kd_whisper_file *file = open_file(p.folder);
    assert_false(file->model->generation.suppress.stated);
    assert_false(file->model->generation.begin_suppress.stated);
    const int own = kd_whisper_suppressed(&id, &file->model->generation, file->tokenizer);
    assert_true(own > 6); /* no speech, and six special ones at the end */
    assert_int_equal(id[own - 1], kd_tokenizer_ids(file->tokenizer)->no_speech);
    free(id);
    kd_whisper_file_free(file);
    change_text(p.config, "{", "{\"suppress_tokens\": [5], \"begin_suppress_tokens\": [6, 7],");
    file = open_file(p.folder);
    assert_list(&file->model->generation.suppress, 1, (const int32_t[]){5});
    assert_list(&file->model->generation.begin_suppress, 2, (const int32_t[]){6, 7});
    kd_whisper_file_free(file);
    /* −1 stands for Whisper's own list. */
    change_text(p.config, "[5]", "[5, -1]");
    file = open_file(p.folder);
    assert_int_equal(file->model->generation.suppress.count, own + 1);
    kd_whisper_file_free(file);
}

static void wrong_settings_are_refused(void **state) {
    static const char *const cases[][2] = {
        {"{\"suppress_tokens\": [1864]}",
         "\"suppress_tokens\" should be a list of tokens, 0 to 1863"},
        {"{\"suppress_tokens\": [-2]}", "suppress_tokens"},
        {"{\"suppress_tokens\": [1.5]}", "suppress_tokens"},
        {"{\"suppress_tokens\": [\"a\"]}", "suppress_tokens"},
        {"{\"suppress_tokens\": 5}", "suppress_tokens"},
        {"{\"begin_suppress_tokens\": [1e9]}", "begin_suppress_tokens"},
        {"{\"begin_suppress_tokens\": {}}", "begin_suppress_tokens"},
        {"{\"max_length\": 0}", "max_length"},
        {"{\"max_length\": 4.5}", "max_length"},
        {"{\"max_initial_timestamp_index\": -1}", "max_initial_timestamp_index"},
        {"{\"decoder_start_token_id\": 258}",
         "should be 257: the tokenizer's <|startoftranscript|>"},
        {"{\"eos_token_id\": [256, 10]}", "eos_token_id"},
        {"{\"no_timestamps_token_id\": 363}", "<|notimestamps|>"},
        {"{\"prev_sot_token_id\": 1}", "<|startofprev|>"},
        {"{\"is_multilingual\": true}", "the English one"},
        {"{\"forced_decoder_ids\": [[1, 97]]}", "forced_decoder_ids"},
        {"{\"forced_decoder_ids\": [[2, 362]]}", "places from 1 on"},
        {"{\"forced_decoder_ids\": [[1]]}", "forced_decoder_ids"},
        {"{\"alignment_heads\": [[0, -1]]}", "alignment_heads"},
        {"{\"alignment_heads\": 3}", "alignment_heads"},
        {"[]", "should be an object"}};
    static const char *const good[] = {
        "{\"forced_decoder_ids\": [[1, 362]], \"eos_token_id\": [256], \"language\": \"xx\"}",
        "{\"decoder_start_token_id\": null, \"max_length\": 448, \"forced_decoder_ids\": []}"};
    paths p;
    kd_whisper_file *file;
    make(&p, state);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text(p.generation, cases[i][0]);
        assert_refused(kd_whisper_file_open(&file, p.folder, KD_WHISPER_TRAIN_NOTHING), KD_EDATA,
                       cases[i][1]);
        assert_true(strstr(kd_error(), "generation_config.json:") != NULL || i == 20);
    }
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        write_text(p.generation, good[i]);
        kd_whisper_file_free(open_file(p.folder));
    }
}

/* Folder to folder and to GGUF and back: the same; to a .bin: a warning of what is lost. */
static void settings_are_kept(void **state) {
    static const char *const settings[] = {
        "{\"suppress_tokens\": [98, 97], \"begin_suppress_tokens\": [99], \"max_length\": 9,"
        "\"max_initial_timestamp_index\": 3}",
        "{\"suppress_tokens\": [], \"begin_suppress_tokens\": []}"};
    paths p;
    char copy[KD_PATH_MAX], gguf[KD_PATH_MAX], bin[KD_PATH_MAX];
    make(&p, state);
    test_copy(copy, sizeof copy, test_path(*state, "copy"));
    test_copy(gguf, sizeof gguf, test_path(*state, "copy.gguf"));
    test_copy(bin, sizeof bin, test_path(*state, "copy.bin"));
    assert_int_equal(DISTILL("convert", p.folder, bin), 0);
    assert_string_equal(complained, ""); /* Whisper's own lists lose nothing */
    for (int i = 0; i < 2; i++) {
        write_text(p.generation, settings[i]);
        kd_whisper_file *file = open_file(p.folder), *back;
        assert_int_equal(DISTILL("convert", p.folder, gguf), 0);
        assert_int_equal(DISTILL("convert", gguf, copy), 0);
        assert_string_equal(complained, "");
        back = open_file(gguf);
        assert_same_generation(&back->model->generation, &file->model->generation);
        kd_whisper_file_free(back);
        back = open_file(copy);
        if (i == 1) { /* a folder always has a length: all of the context */
            assert_int_equal(back->model->generation.max_length, TINY_SPEC.text_context);
            back->model->generation.max_length = 0;
        }
        assert_same_generation(&back->model->generation, &file->model->generation);
        kd_whisper_file_free(back);
        kd_whisper_file_free(file);
        assert_int_equal(DISTILL("convert", p.folder, bin), 0);
        assert_says(complained, "suppress_tokens begin_suppress_tokens");
        if (i == 0) assert_says(complained, " max_length");
    }
    assert_int_equal(DISTILL("inspect", p.folder), 0);
    assert_says(printed, "never    0 tokens are suppressed");
}

/* Settings of transformers that are not followed are named. */
static void others_are_named(void **state) {
    paths p;
    make(&p, state);
    change_text(p.generation, "{",
                "{\"num_beams\": 5, \"repetition_penalty\": 1.0, "
                "\"no_repeat_ngram_size\": 3,");
    assert_int_equal(DISTILL("inspect", p.folder), 0);
    assert_says(complained, "\"num_beams\" is not followed here; --beam");
    assert_says(complained, "\"no_repeat_ngram_size\" is not followed");
    assert_null(strstr(complained, "repetition_penalty"));
}

/* A multilingual model: bytes, and numbers in base 95 from '!' on, three letters each. */
static kd_tokenizer *make_multilingual(void) {
    static char text[M_END][3];
    static kd_token_bytes token[M_END];
    kd_tokenizer *t;
    for (int i = 0; i < M_END; i++) {
        const int n = i - 256;
        text[i][0] = (char)(i < 256 ? i : '!' + n / (94 * 94));
        text[i][1] = (char)('!' + n / 94 % 94);
        text[i][2] = (char)('!' + n % 94);
        token[i] = (kd_token_bytes){text[i], i < 256 ? 1 : 3};
    }
    assert_ok(kd_tokenizer_create(&t, token, M_END, MULTILINGUAL, "multilingual"));
    return t;
}

static void multilingual_settings_are_followed(void **state) {
    static const struct {
        const char *text, *refused; /* NULL: taken, with these */
        int32_t language, task, languages;
    } cases[] = {
        {"{\"language\": \"<|de|>\", \"task\": \"translate\"}", NULL, 50261, 50358, 0},
        {"{\"language\": \"Castilian\"}", NULL, 50262, -1, 0},
        {"{\"language\": \"it\", \"forced_decoder_ids\": [[1, 50261]]}", NULL, 50274, -1, 0},
        {"{\"forced_decoder_ids\": [[1, null], [2, 50359]]}", NULL, -1, 50359, 0},
        {"{\"forced_decoder_ids\": [[1, 50261], [2, 50358], [3, 50363]]}", NULL, 50261, 50358, 0},
        {"{\"lang_to_id\": {\"<|de|>\": 50261, \"<|iw|>\": 50279}}", NULL, -1, -1, 2},
        {"{\"language\": \"klingon\"}", "\"language\" should be", 0, 0, 0},
        {"{\"language\": [\"de\"]}", "\"language\" should be", 0, 0, 0},
        {"{\"task\": \"sing\"}", "\"task\" should be", 0, 0, 0},
        {"{\"forced_decoder_ids\": [[1, 50358]]}", "in this order", 0, 0, 0},
        {"{\"forced_decoder_ids\": [[1, 50363], [2, 50359]]}", "in this order", 0, 0, 0},
        {"{\"lang_to_id\": {\"<|de|>\": 50262}}", "should be 50261: the tokenizer's <|de|>", 0, 0,
         0},
        {"{\"lang_to_id\": {\"<|xx|>\": 50262}}", "\"<|xx|>\" should be a language", 0, 0, 0},
        {"{\"lang_to_id\": {}}", "lang_to_id", 0, 0, 0},
        {"{\"task_to_id\": {\"translate\": 50359}}", "should be 50358", 0, 0, 0},
        {"{\"is_multilingual\": false}", "has languages", 0, 0, 0}};
    paths p;
    kd_whisper_spec spec = TINY_SPEC;
    spec.vocabulary = MULTILINGUAL;
    spec.width = 8;
    kd_whisper_file *file = tiny_whisper_file(), *back;
    make_paths(&p, state, "multilingual");
    kd_whisper_free(file->model);
    kd_tokenizer_free(file->tokenizer);
    file->model = tiny_whisper_of(&spec, KD_WHISPER_TRAIN_NOTHING);
    file->tokenizer = make_multilingual();
    assert_ok(kd_whisper_folder_write(p.folder, file, &kd_format_f32));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text(p.generation, cases[i].text);
        if (cases[i].refused) {
            assert_refused(kd_whisper_file_open(&back, p.folder, KD_WHISPER_TRAIN_NOTHING),
                           KD_EDATA, cases[i].refused);
            continue;
        }
        back = open_file(p.folder);
        const kd_whisper_generation *g = &back->model->generation;
        assert_int_equal(g->language, cases[i].language);
        assert_int_equal(g->task, cases[i].task);
        assert_int_equal(g->languages.count, cases[i].languages);
        if (i == 0 || i == 5) { /* and kept */
            kd_whisper_file *again;
            const char *gguf = test_path(*state, "multilingual.gguf");
            assert_ok(kd_whisper_gguf_write(gguf, back, &kd_format_f32));
            again = open_file(gguf);
            assert_same_generation(&again->model->generation, g);
            kd_whisper_file_free(again);
            assert_ok(kd_whisper_folder_write(p.folder, back, &kd_format_f32));
            again = open_file(p.folder);
            again->model->generation.max_length = 0;
            assert_same_generation(&again->model->generation, g);
            kd_whisper_file_free(again);
        }
        kd_whisper_file_free(back);
    }
    kd_whisper_file_free(file);
}

/* Whether what is stated makes other words, and a name of it: order and OpenAI's own lists do not.
 */
static void other_words_have_other_names(void **state) {
    (void)state;
    kd_whisper_file *file = tiny_whisper_file();
    kd_whisper_generation *g = &file->model->generation;
    kd_whisper_words own, words;
    int32_t *id;
    const int count = kd_whisper_suppressed(&id, g, file->tokenizer);
    assert_true(count > 1);
    assert_ok(kd_whisper_words_stated(&own, file));
    assert_false(own.suppress || own.begin || own.length);
    const int32_t kept = id[0];
    id[0] = id[1];
    id[1] = kept;
    assert_ok(kd_token_list_set(&g->suppress, id, count));
    g->max_length = 16; /* no less than half the context */
    assert_ok(kd_whisper_words_stated(&words, file));
    assert_memory_equal(&words, &own, sizeof own);
    assert_ok(kd_token_list_set(&g->suppress, id, count - 1));
    free(id);
    assert_ok(kd_whisper_words_stated(&words, file));
    assert_true(words.suppress && !words.begin && !words.length);
    assert_string_not_equal(words.hash.hex, own.hash.hex);
    kd_whisper_generation_clear(g);
    assert_ok(kd_token_list_set(&g->begin_suppress, NULL, 0));
    assert_ok(kd_whisper_words_stated(&words, file));
    assert_true(!words.suppress && words.begin);
    assert_string_not_equal(words.hash.hex, own.hash.hex);
    kd_whisper_generation_clear(g);
    g->max_length = 15;
    assert_ok(kd_whisper_words_stated(&words, file));
    assert_true(words.length);
    assert_string_not_equal(words.hash.hex, own.hash.hex);
    kd_whisper_file_free(file);
}

/* What a GGUF file states is checked as well. */
static void wrong_gguf_settings_are_refused(void **state) {
    kd_whisper_file *file = tiny_whisper_file(), *back;
    kd_whisper_generation *g = &file->model->generation;
    const int32_t list[] = {97, V}, german = 260;
    char *bytes;
    size_t length;
    const char *path = test_path(*state, "wrong.gguf");
    for (int i = 0; i < 6; i++) {
        static const char *const said[] = {"suppress_tokens: token 1864", "begin_suppress_tokens",
                                           "languages: token 97",         "max_initial_timestamp",
                                           "languages is empty",          "max_length"};
        kd_whisper_generation_clear(g);
        if (i < 3)
            assert_ok(kd_token_list_set(i == 0   ? &g->suppress
                                        : i == 1 ? &g->begin_suppress
                                                 : &g->languages,
                                        list, 2));
        if (i == 3) g->max_initial_timestamp = KD_TIMESTAMPS;
        if (i == 4) assert_ok(kd_token_list_set(&g->languages, NULL, 0));
        if (i == 5) g->max_length = INT32_MAX;
        assert_ok(kd_whisper_gguf_write(path, file, &kd_format_f32));
        assert_refused(kd_whisper_file_open(&back, path, KD_WHISPER_TRAIN_NOTHING), KD_EDATA,
                       said[i]);
    }
    kd_whisper_generation_clear(g);
    g->language = german;
    assert_ok(kd_whisper_gguf_write(path, file, &kd_format_f32));
    assert_ok(kd_file_read(&bytes, &length, path, 1 << 24));
    memcpy(memmem(bytes, length, "distill.checksum", 16), "x", 1);
    assert_ok(kd_whisper_gguf_decode(&back, bytes, length, "x", KD_WHISPER_TRAIN_NOTHING));
    assert_int_equal(back->model->generation.language, german);
    kd_whisper_file_free(back);
    char *token = memmem(bytes, length, "<|de|>", 6);
    memcpy(token, "<|en|>", 6);
    assert_refused(kd_whisper_gguf_decode(&back, bytes, length, "x", KD_WHISPER_TRAIN_NOTHING),
                   KD_EDATA, "'<|en|>' has the id 260, should be 258");
    memcpy(token, "<|de|>", 6);
    char *value = memmem(bytes, length, "whisper.decoder.language", 24);
    memcpy(value + 24 + 4 + 8, "qq", 2); /* behind the type and the length */
    assert_refused(kd_whisper_gguf_decode(&back, bytes, length, "x", KD_WHISPER_TRAIN_NOTHING),
                   KD_EDATA, "whisper.decoder.language");
    free(bytes);
    kd_whisper_file_free(file);
}

/* Tokens beyond Whisper's go through folder and GGUF with their ids, and into no .bin; they can be
 * said, and are no timestamps. */
static void added_tokens_are_kept(void **state) {
    static const char text[] = "<|laugh|> \xE2\x99\xAA";
    const kd_token_bytes added[] = {{text, 9}, {text + 9, 4}};
    paths p;
    char gguf[KD_PATH_MAX];
    kd_whisper_spec spec = TINY_SPEC;
    spec.vocabulary = V + 2;
    kd_whisper_file *file = tiny_whisper_file(), *back;
    kd_token_bytes token[V];
    make_paths(&p, state, "added");
    test_copy(gguf, sizeof gguf, test_path(*state, "added.gguf"));
    for (int i = 0; i < END; i++) token[i] = kd_tokenizer_token(file->tokenizer, i);
    kd_tokenizer *tokenizer;
    assert_ok(kd_tokenizer_create_added(&tokenizer, token, END, V + 2,
                                        &(kd_added_tokens){.token = added, .count = 2}, "added"));
    kd_tokenizer_free(file->tokenizer);
    kd_whisper_free(file->model);
    file->tokenizer = tokenizer;
    file->model = tiny_whisper_of(&spec, KD_WHISPER_TRAIN_NOTHING);
    assert_refused(kd_whisper_bin_write(test_path(*state, "added.bin"), file, &kd_format_f32),
                   KD_EUSAGE, "cannot hold the 2 tokens");
    assert_ok(kd_whisper_folder_write(p.folder, file, &kd_format_f32));
    assert_int_equal(DISTILL("convert", p.folder, gguf, "--type", "f32"), 0);
    assert_says(complained, "2 tokens beyond Whisper's, which keep their ids, 1864 to 1865: "
                            "'<|laugh|>', '");
    back = open_file(gguf);
    assert_same_model(file, back, 0);
    assert_int_equal(kd_tokenizer_ids(back->tokenizer)->added, V);
    kd_whisper_file_free(back);
    assert_int_equal(DISTILL("inspect", gguf), 0);
    assert_says(printed, "2 of them beyond Whisper's, from id 1864 on");
    kd_whisper_file_free(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(generation_config_is_followed, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(config_is_followed_in_older_folders, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(wrong_settings_are_refused, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(settings_are_kept, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(others_are_named, test_setup, test_teardown),
        cmocka_unit_test(other_words_have_other_names),
        cmocka_unit_test_setup_teardown(wrong_gguf_settings_are_refused, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(added_tokens_are_kept, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(multilingual_settings_are_followed, test_setup,
                                        test_teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
