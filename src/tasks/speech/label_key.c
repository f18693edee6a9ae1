/* What decides a label besides the sound, and how its text is compared with a list's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "data/text_normalizer.h"
#include "files/whisper_suppressed.h"
#include "tasks/speech/label_file.h"

/* Bumped when the same sound and teacher would give another label. */
static const char *const DECODING = "greedy-1";
static const char *const DECODING_BFLOAT16 = "greedy-1, heard in bfloat16";

/* --- languages ----------------------------------------------------------------------------------
 */

static const char *language_code(const kd_tokenizer *tokenizer, int32_t language) {
    if (!kd_tokenizer_ids(tokenizer)->multilingual) return "en";
    return kd_tokenizer_language_code(tokenizer, language);
}

bool kd_label_counts_letters(const kd_tokenizer *tokenizer, int32_t language) {
    static const char *const code[] = {"zh", "yue", "ja", "th", "lo", "my"};
    const char *spoken = language_code(tokenizer, language);
    for (size_t i = 0; i < sizeof code / sizeof *code; i++)
        if (strcmp(spoken, code[i]) == 0) return true;
    return false;
}

const char *kd_label_rate_name(const kd_tokenizer *tokenizer, int32_t language) {
    return kd_label_counts_letters(tokenizer, language) ? "character error rate"
                                                        : "word error rate";
}

int kd_label_normalize(char **out, const char *text, const kd_tokenizer *tokenizer,
                       int32_t language) {
    if (strcmp(language_code(tokenizer, language), "en") == 0)
        return kd_normalize_english(out, text);
    if (kd_label_counts_letters(tokenizer, language)) return kd_normalize_letters(out, text);
    return kd_normalize_basic(out, text);
}

/* --- keys ---------------------------------------------------------------------------------------
 */

kd_label_options kd_label_options_for(const kd_whisper_file *teacher,
                                      const kd_label_options *options) {
    kd_label_options how = *options;
    if (!kd_tokenizer_ids(teacher->tokenizer)->multilingual) how.language = how.task = -1;
    return how;
}

/* Names what the model's files state about its texts, as far as it matters here. */
static int hash_generation(kd_hash *out, const kd_whisper_file *teacher) {
    const kd_whisper_generation *generation = &teacher->model->generation;
    int32_t *list[2] = {NULL, NULL};
    kd_hash named[3] = {kd_hash_bytes(&generation->max_length, sizeof generation->max_length)};
    const int count[2] = {kd_whisper_suppressed(&list[0], generation, teacher->tokenizer),
                          kd_whisper_begin_suppressed(&list[1], generation, teacher->tokenizer)};
    int status = count[0] < 0 ? count[0] : count[1] < 0 ? count[1] : KD_OK;
    for (int i = 0; i < 2; i++) {
        if (status == KD_OK)
            named[1 + i] = kd_hash_bytes(list[i], (size_t)count[i] * sizeof *list[i]);
        free(list[i]);
    }
    *out = kd_hash_join(named, 3);
    return status;
}

int kd_label_key_of(kd_label_key *out, const kd_whisper_file *teacher, const kd_hash *hash,
                    const kd_label_options *options) {
    const kd_label_options how = kd_label_options_for(teacher, options);
    const kd_tokenizer *tokenizer = teacher->tokenizer;
    const kd_hash tokens = kd_tokenizer_hash(tokenizer);
    const bool translate = how.task == kd_tokenizer_ids(tokenizer)->translate;
    kd_hash generation;
    int status = hash_generation(&generation, teacher);
    const char *const fact[KD_LABEL_FACTS][2] = {
        {"teacher", hash->hex},
        {"tokens", tokens.hex},
        {"language", language_code(tokenizer, how.language)},
        {"task", translate ? "translate" : "transcribe"},
        {"generation", generation.hex},
        {"decoding", how.precision == KD_PRECISION_FLOAT32 ? DECODING : DECODING_BFLOAT16}};
    for (int i = 0; i < KD_LABEL_FACTS; i++) {
        out->fact[i].name = fact[i][0];
        snprintf(out->fact[i].value, sizeof out->fact[i].value, "%s", fact[i][1]);
    }
    return status;
}

int kd_label_check(const char *folder, const kd_whisper_file *teacher, kd_hash teacher_hash,
                   const kd_label_options *options) {
    kd_label_key key;
    kd_label_files *files = NULL;
    int status = kd_label_key_of(&key, teacher, &teacher_hash, options);
    if (status == KD_OK)
        status = kd_label_files_open(&files, folder, &key, teacher->model->spec.vocabulary);
    kd_label_files_free(files);
    return status;
}
