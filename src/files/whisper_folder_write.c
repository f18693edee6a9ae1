/* The way back of whisper_folder_read.c. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "data/tokenizer_write.h"
#include "files/folder_weights.h"
#include "files/whisper_file.h"
#include "files/whisper_names.h"
#include "files/whisper_suppressed.h"

static void make_config(kd_text *out, const kd_whisper_file *file, const char *packed,
                        const char *dtype) {
    const kd_whisper_spec *s = &file->model->spec;
    const kd_token_ids *ids = kd_tokenizer_ids(file->tokenizer);
    kd_text_add(out,
                "{\n  \"architectures\": [\"WhisperForConditionalGeneration\"],\n"
                "  \"model_type\": \"whisper\",\n  \"vocab_size\": %d,\n  \"num_mel_bins\": %d,\n"
                "  \"d_model\": %d,\n  \"max_source_positions\": %d,\n"
                "  \"max_target_positions\": %d,\n",
                s->vocabulary, s->mels, s->width, s->audio_context, s->text_context);
    kd_text_add(out,
                "  \"encoder_layers\": %d,\n  \"encoder_attention_heads\": %d,\n"
                "  \"encoder_ffn_dim\": %d,\n  \"decoder_layers\": %d,\n"
                "  \"decoder_attention_heads\": %d,\n  \"decoder_ffn_dim\": %d,\n"
                "  \"num_hidden_layers\": %d,\n",
                s->audio_layers, s->audio_heads, 4 * s->width, s->text_layers, s->text_heads,
                4 * s->width, s->audio_layers);
    kd_text_add(out, "  \"activation_function\": \"gelu\",\n  \"activation_dropout\": 0.0,\n"
                     "  \"attention_dropout\": 0.0,\n  \"dropout\": 0.0,\n"
                     "  \"encoder_layerdrop\": 0.0,\n  \"decoder_layerdrop\": 0.0,\n"
                     "  \"init_std\": 0.02,\n  \"is_encoder_decoder\": true,\n"
                     "  \"scale_embedding\": false,\n  \"tie_word_embeddings\": true,\n"
                     "  \"use_cache\": true,\n");
    kd_text_add(out, "%s", packed);
    kd_text_add(out,
                "  \"bos_token_id\": %d,\n  \"eos_token_id\": %d,\n  \"pad_token_id\": %d,\n"
                "  \"decoder_start_token_id\": %d,\n  \"torch_dtype\": \"%s\"\n}\n",
                (int)ids->end, (int)ids->end, (int)ids->end, (int)ids->start, dtype);
}

/* The heads the file brought, of layers and heads that exist; else the upper half of the layers. */
static void add_heads(kd_text *out, const kd_whisper_file *file) {
    const kd_whisper_spec *s = &file->model->spec;
    int count = 0;
    kd_text_add(out, "  \"alignment_heads\": [");
    for (int i = 0; i < file->head_count; i++) {
        const kd_whisper_head *h = &file->head[i];
        if (h->layer < 0 || h->layer >= s->text_layers || h->head < 0 || h->head >= s->text_heads)
            continue;
        kd_text_add(out, "%s[%d, %d]", count++ ? ", " : "", h->layer, h->head);
    }
    const bool none = count == 0;
    for (int layer = s->text_layers / 2; layer < s->text_layers && none; layer++)
        for (int head = 0; head < s->text_heads; head++)
            kd_text_add(out, "%s[%d, %d]", count++ ? ", " : "", layer, head);
    kd_text_add(out, "],\n");
}

static void add_languages(kd_text *out, const kd_token_list *list, const kd_tokenizer *t) {
    const kd_token_ids *ids = kd_tokenizer_ids(t);
    const int count = list->stated ? list->count : ids->languages;
    kd_text_add(out, "  \"lang_to_id\": {");
    for (int i = 0; i < count; i++) {
        const int32_t id = list->stated ? list->id[i] : ids->language + i;
        kd_text_add(out, "%s\"<|%s|>\": %d", i ? ", " : "", kd_tokenizer_language_code(t, id),
                    (int)id);
    }
    kd_text_add(out, "},\n  \"task_to_id\": {\"transcribe\": %d, \"translate\": %d},\n",
                (int)ids->transcribe, (int)ids->translate);
}

static void add_ids(kd_text *out, const char *key, const int32_t *id, int count) {
    kd_text_add(out, "  \"%s\": [", key);
    for (int i = 0; i < count; i++) kd_text_add(out, "%s%d", i ? ", " : "", (int)id[i]);
    kd_text_add(out, "],\n");
}

/* Which tokens are suppressed when text is generated. */
static int add_suppressed(kd_text *out, const kd_whisper_generation *generation,
                          const kd_tokenizer *t) {
    int32_t *id;
    int count = kd_whisper_suppressed(&id, generation, t);
    if (count < 0) return count;
    add_ids(out, "suppress_tokens", id, count);
    free(id);
    count = kd_whisper_begin_suppressed(&id, generation, t);
    if (count < 0) return count;
    add_ids(out, "begin_suppress_tokens", id, count);
    free(id);
    return KD_OK;
}

/* The language and task that are taken when nobody names one. */
static void add_language(kd_text *out, const kd_whisper_generation *generation,
                         const kd_tokenizer *t) {
    if (generation->language >= 0)
        kd_text_add(out, "  \"language\": \"<|%s|>\",\n",
                    kd_tokenizer_language_code(t, generation->language));
    if (generation->task >= 0)
        kd_text_add(out, "  \"task\": \"%s\",\n",
                    generation->task == kd_tokenizer_ids(t)->translate ? "translate"
                                                                       : "transcribe");
}

static int make_generation(kd_text *out, const kd_whisper_file *file) {
    const kd_tokenizer *t = file->tokenizer;
    const kd_token_ids *ids = kd_tokenizer_ids(t);
    const kd_whisper_generation *generation = &file->model->generation;
    const int context = file->model->spec.text_context;
    kd_text_add(out, "{\n");
    add_heads(out, file);
    if (ids->multilingual) add_languages(out, &generation->languages, t);
    int status = add_suppressed(out, generation, t);
    add_language(out, generation, t);
    kd_text_add(out,
                "  \"is_multilingual\": %s,\n  \"bos_token_id\": %d,\n  \"eos_token_id\": %d,\n"
                "  \"pad_token_id\": %d,\n  \"decoder_start_token_id\": %d,\n"
                "  \"prev_sot_token_id\": %d,\n  \"no_timestamps_token_id\": %d,\n"
                "  \"max_initial_timestamp_index\": %d,\n  \"max_length\": %d,\n"
                "  \"return_timestamps\": false\n}\n",
                ids->multilingual ? "true" : "false", (int)ids->end, (int)ids->end, (int)ids->end,
                (int)ids->start, (int)ids->previous, (int)ids->no_timestamps,
                generation->max_initial_timestamp,
                generation->max_length > 0 ? generation->max_length : context);
    return status;
}

static void make_preprocessor(kd_text *out, const kd_whisper_spec *s) {
    kd_text_add(out,
                "{\n  \"feature_extractor_type\": \"WhisperFeatureExtractor\",\n"
                "  \"processor_class\": \"WhisperProcessor\",\n  \"feature_size\": %d,\n"
                "  \"sampling_rate\": 16000,\n  \"hop_length\": 160,\n  \"n_fft\": 400,\n"
                "  \"chunk_length\": %d,\n  \"n_samples\": %d,\n  \"nb_max_frames\": %d,\n"
                "  \"padding_side\": \"right\",\n  \"padding_value\": 0.0,\n"
                "  \"return_attention_mask\": false\n}\n",
                s->mels, s->audio_context / 50, s->audio_context * 320, s->audio_context * 2);
}

static int save(const char *folder, const char *name, kd_text *text, int status) {
    char path[KD_PATH_MAX];
    if (status == KD_OK) status = kd_text_finish(text, name);
    if (status == KD_OK) status = kd_path_join(path, folder, name);
    if (status == KD_OK) status = kd_file_replace(path, text->text, text->length);
    free(text->text);
    *text = (kd_text){0};
    return status;
}

/* All but the weights. */
static int write_texts(const char *folder, const kd_whisper_file *file, const char *packed,
                       const char *dtype) {
    kd_text text = {0};
    int status = kd_file_make_folders(folder);
    if (status < 0) return status;
    make_config(&text, file, packed, dtype);
    status = save(folder, "config.json", &text, KD_OK);
    if (status == KD_OK)
        status = save(folder, "generation_config.json", &text, make_generation(&text, file));
    if (status == KD_OK) {
        make_preprocessor(&text, &file->model->spec);
        status = save(folder, "preprocessor_config.json", &text, KD_OK);
    }
    return status == KD_OK ? kd_tokenizer_write_folder(file->tokenizer, folder) : status;
}

int kd_whisper_folder_write(const char *folder, const kd_whisper_file *file,
                            const kd_number_format *format) {
    if (format == &kd_format_f8_e5m2)
        return kd_whisper_folder_write_packed(folder, file, &(kd_packing){.format = format});
    if (format != &kd_format_f32 && format != &kd_format_f16)
        return kd_fail(KD_EUSAGE,
                       "%s: a Hugging Face folder without a layout is written in f32 or f16, "
                       "or f8_e5m2, not %s",
                       folder, format->name);
    const int status =
        write_texts(folder, file, "", format == &kd_format_f16 ? "float16" : "float32");
    return status == KD_OK
               ? kd_folder_weights_write(folder, file->model->params, &kd_whisper_hugging, format)
               : status;
}

int kd_whisper_folder_write_packed(const char *folder, const kd_whisper_file *file,
                                   const kd_packing *packing) {
    const kd_params *params = file->model->params;
    const kd_packed_folder out = {.path = folder,
                                  .params = params,
                                  .names = &kd_whisper_hugging,
                                  .repeated = "proj_out",
                                  .packing = packing};
    kd_encoding *own = NULL;
    const kd_encoding *how = file->encoding;
    kd_text config = {0};
    int status = kd_packed_folder_begin(&own, &how, &config, &out);
    if (status == KD_OK) status = write_texts(folder, file, config.text, "float16");
    if (status == KD_OK) status = kd_packed_folder_end(&out, how);
    free(config.text);
    free(own);
    return status;
}
