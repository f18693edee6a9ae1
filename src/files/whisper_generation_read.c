/* How text is generated with the model of a Hugging Face folder: generation_config.json or, in
 * older folders that have none, config.json. As in transformers, generation_config.json stands
 * alone: a list it leaves out suppresses nothing, whatever config.json says. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "files/folder_config.h"
#include "files/whisper_folder.h"

enum { HEADS_MAX = 4096, OWN_MOST = 1024, LENGTH_MOST = 1 << 20 };

typedef struct {
    kd_json *json;
    const cJSON *root;
    char path[KD_PATH_MAX];
    bool whole; /* generation_config.json: what is not in it is stated to be none */
    const kd_tokenizer *tokenizer;
    const kd_token_ids *ids;
    kd_whisper_generation *to;
} source;

/* "file:line:column: KEY: should be WANTED" */
static int refuse(const source *s, const cJSON *item, const char *key, const char *wanted) {
    char place[KD_PATH_MAX + 64];
    return kd_fail(KD_EDATA, "%s: \"%s\" should be %s",
                   kd_json_place(place, sizeof place, s->json, item, false), key, wanted);
}

/* NULL when the key is missing or null. */
static const cJSON *get(const source *s, const char *key) {
    const cJSON *item = kd_json_get(s->root, key);
    return cJSON_IsNull(item) ? NULL : item;
}

static bool is_within(const cJSON *item, double least, double most) {
    return kd_json_is_integer(item) && item->valuedouble >= least && item->valuedouble <= most;
}

/* A key that must be the token's id, if it is there; "eos_token_id" may be a list of it alone. */
static int check_id(const source *s, const char *key, int32_t id) {
    const cJSON *item = get(s, key), *only = item;
    char wanted[96];
    if (!item) return KD_OK;
    if (cJSON_IsArray(item) && cJSON_GetArraySize(item) == 1) only = item->child;
    if (kd_json_is_integer(only) && only->valuedouble == (double)id) return KD_OK;
    snprintf(wanted, sizeof wanted, "%d: the tokenizer's %.*s", (int)id,
             (int)kd_tokenizer_token(s->tokenizer, id).length,
             kd_tokenizer_token(s->tokenizer, id).bytes);
    return refuse(s, item, key, wanted);
}

/* --- lists ------------------------------------------------------------------------------------ */

/* −1 in a list stands for all of `own`. */
static int read_list(kd_token_list *out, const source *s, const char *key,
                     int (*own)(const kd_tokenizer *, int32_t *, int)) {
    const cJSON *list = get(s, key);
    int32_t standard[OWN_MOST];
    char wanted[96];
    if (!list) return s->whole ? kd_token_list_set(out, NULL, 0) : KD_OK;
    if (!cJSON_IsArray(list)) return refuse(s, list, key, "a list of tokens, or null");
    const int known = own(s->tokenizer, standard, OWN_MOST);
    if (known < 0) return known;
    const size_t room = (size_t)cJSON_GetArraySize(list) + OWN_MOST;
    int32_t *id = malloc(room * sizeof *id);
    if (!id) return kd_fail_memory(room * sizeof *id, s->path);
    int count = 0, status = KD_OK;
    bool expanded = false;
    for (const cJSON *item = list->child; item && status == KD_OK; item = item->next) {
        snprintf(wanted, sizeof wanted, "a list of tokens, 0 to %d (or −1: Whisper's own)",
                 (int)s->ids->vocabulary - 1);
        if (!is_within(item, -1, s->ids->vocabulary - 1)) status = refuse(s, item, key, wanted);
        if (status < 0) break;
        if (item->valuedouble >= 0) {
            id[count++] = (int32_t)item->valuedouble;
        } else if (!expanded) {
            memcpy(id + count, standard, (size_t)known * sizeof *id);
            count += known;
            expanded = true;
        }
    }
    if (status == KD_OK) status = kd_token_list_set(out, id, count);
    free(id);
    return status;
}

/* "lang_to_id": {"<|en|>": 50259, …}: those that are looked for. */
static int read_languages(const source *s) {
    const cJSON *map = get(s, "lang_to_id");
    int32_t id[KD_LANGUAGES_MAX];
    int count = 0;
    if (!map || !s->ids->multilingual) return KD_OK;
    if (!cJSON_IsObject(map) || !map->child)
        return refuse(s, map, "lang_to_id", "an object: \"<|en|>\": id");
    for (const cJSON *item = map->child; item; item = item->next) {
        const int32_t known = kd_tokenizer_special(s->tokenizer, item->string);
        if (known < s->ids->language || known >= s->ids->translate || count == KD_LANGUAGES_MAX)
            return refuse(s, item, item->string, "a language that the tokenizer has");
        int status = check_id(
            &(source){.json = s->json, .root = map, .tokenizer = s->tokenizer, .ids = s->ids},
            item->string, known);
        if (status < 0) return status;
        id[count++] = known;
    }
    /* All of them, in their order: as if nothing was stated. */
    return count == s->ids->languages ? KD_OK : kd_token_list_set(&s->to->languages, id, count);
}

static int check_tasks(const source *s) {
    const cJSON *map = get(s, "task_to_id");
    const source inner = {.json = s->json, .root = map, .tokenizer = s->tokenizer, .ids = s->ids};
    if (!map || !s->ids->multilingual) return KD_OK;
    int status = check_id(&inner, "transcribe", s->ids->transcribe);
    return status == KD_OK ? check_id(&inner, "translate", s->ids->translate) : status;
}

/* --- language and task ------------------------------------------------------------------------ */

static int read_language(const source *s) {
    const cJSON *item = get(s, "language");
    if (!item || !s->ids->multilingual) return KD_OK;
    if (cJSON_IsString(item)) {
        const int32_t special = kd_tokenizer_special(s->tokenizer, item->valuestring);
        s->to->language = special >= s->ids->language && special < s->ids->translate
                              ? special
                              : kd_tokenizer_language(s->tokenizer, item->valuestring);
    }
    return s->to->language >= 0 ? KD_OK
                                : refuse(s, item, "language", "a language of the tokenizer");
}

static int read_task(const source *s) {
    const cJSON *item = get(s, "task");
    if (!item || !s->ids->multilingual) return KD_OK;
    if (cJSON_IsString(item) && strcmp(item->valuestring, "transcribe") == 0)
        s->to->task = s->ids->transcribe;
    else if (cJSON_IsString(item) && strcmp(item->valuestring, "translate") == 0)
        s->to->task = s->ids->translate;
    else
        return refuse(s, item, "task", "\"transcribe\" or \"translate\"");
    return KD_OK;
}

/* "forced_decoder_ids": [[1, language or null], [2, task], [3, no_timestamps]], the older way,
 * which counts where neither language nor task is stated. Whether there are timestamps is the
 * caller's. */
static int read_forced(const source *s) {
    static const char key[] = "forced_decoder_ids";
    const cJSON *list = get(s, key);
    const kd_token_ids *ids = s->ids;
    int place = 1;
    if (!list || s->to->language >= 0 || s->to->task >= 0) return KD_OK;
    if (!cJSON_IsArray(list)) return refuse(s, list, key, "a list of [place, token]");
    for (const cJSON *pair = list->child; pair; pair = pair->next, place++) {
        const cJSON *at = cJSON_IsArray(pair) ? pair->child : NULL, *token = at ? at->next : NULL;
        if (!token || token->next || !is_within(at, place, place))
            return refuse(s, pair, key, "a list of [place, token], places from 1 on");
        if (cJSON_IsNull(token)) continue;
        const int32_t id =
            is_within(token, 0, ids->vocabulary - 1) ? (int32_t)token->valuedouble : -1;
        if (place == 1 && ids->multilingual && id >= ids->language && id < ids->translate)
            s->to->language = id;
        else if (place == 2 && ids->multilingual && (id == ids->translate || id == ids->transcribe))
            s->to->task = id;
        else if (id != ids->no_timestamps || pair->next)
            return refuse(s, token, key, "a language, a task and <|notimestamps|>, in this order");
    }
    return KD_OK;
}

/* --- the rest --------------------------------------------------------------------------------- */

static int read_whole(int *out, const source *s, const char *key, int least, int most) {
    const cJSON *item = get(s, key);
    char wanted[64];
    if (!item) return KD_OK;
    snprintf(wanted, sizeof wanted, "a whole number from %d to %d", least, most);
    if (!is_within(item, least, most)) return refuse(s, item, key, wanted);
    *out = (int)item->valuedouble;
    return KD_OK;
}

/* What transformers would follow and we do not: said, when it asks for something. */
static void warn_of_others(const source *s) {
    static const struct {
        const char *key;
        double neutral;
    } others[] = {{"num_beams", 1},
                  {"num_beam_groups", 1},
                  {"repetition_penalty", 1},
                  {"length_penalty", 1},
                  {"no_repeat_ngram_size", 0},
                  {"diversity_penalty", 0},
                  {"min_length", 0},
                  {"min_new_tokens", 0},
                  {"max_new_tokens", 0},
                  {"guidance_scale", 1},
                  {"do_sample", 0},
                  {"penalty_alpha", 0},
                  {"bad_words_ids", 0},
                  {"force_words_ids", 0},
                  {"sequence_bias", 0},
                  {"forced_bos_token_id", 0},
                  {"forced_eos_token_id", 0},
                  {"encoder_no_repeat_ngram_size", 0},
                  {"encoder_repetition_penalty", 1}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        const cJSON *item = get(s, others[i].key);
        char place[KD_PATH_MAX + 64];
        if (!item || cJSON_IsFalse(item)) continue;
        if (cJSON_IsNumber(item) && item->valuedouble == others[i].neutral) continue;
        kd_warn("%s: \"%s\" is not followed here%s",
                kd_json_place(place, sizeof place, s->json, item, false), others[i].key,
                strcmp(others[i].key, "num_beams") == 0 ? "; --beam gives the rows of a beam search"
                                                        : "");
    }
}

static int check_ids(const source *s) {
    const kd_token_ids *ids = s->ids;
    const cJSON *multilingual = get(s, "is_multilingual");
    int status = check_id(s, "decoder_start_token_id", ids->start);
    if (status == KD_OK) status = check_id(s, "eos_token_id", ids->end);
    if (status == KD_OK) status = check_id(s, "no_timestamps_token_id", ids->no_timestamps);
    if (status == KD_OK) status = check_id(s, "prev_sot_token_id", ids->previous);
    if (status == KD_OK && multilingual && ids->multilingual != cJSON_IsTrue(multilingual))
        status = refuse(s, multilingual, "is_multilingual",
                        ids->multilingual ? "true: the vocabulary has languages"
                                          : "false: the vocabulary is the English one");
    return status;
}

static int read_generation(const source *s) {
    kd_whisper_generation *to = s->to;
    int status = check_ids(s);
    if (status == KD_OK)
        status = read_list(&to->suppress, s, "suppress_tokens", kd_tokenizer_suppressed);
    if (status == KD_OK)
        status = read_list(&to->begin_suppress, s, "begin_suppress_tokens",
                           kd_tokenizer_begin_suppressed);
    if (status == KD_OK) status = read_languages(s);
    if (status == KD_OK) status = check_tasks(s);
    if (status == KD_OK) status = read_language(s);
    if (status == KD_OK) status = read_task(s);
    if (status == KD_OK) status = read_forced(s);
    if (status == KD_OK) status = read_whole(&to->max_length, s, "max_length", 1, LENGTH_MOST);
    if (s->whole) to->max_initial_timestamp = KD_TIMESTAMPS - 1; /* any, unless it says otherwise */
    if (status == KD_OK)
        status = read_whole(&to->max_initial_timestamp, s, "max_initial_timestamp_index", 0,
                            KD_TIMESTAMPS - 1);
    if (status == KD_OK) warn_of_others(s);
    return status;
}

/* "alignment_heads": [[layer, head], …] */
static int read_heads(kd_whisper_file *file, const source *s) {
    const cJSON *list = get(s, "alignment_heads");
    const int count = cJSON_IsArray(list) ? cJSON_GetArraySize(list) : 0;
    if (!list) return KD_OK;
    if (!cJSON_IsArray(list) || count > HEADS_MAX)
        return refuse(s, list, "alignment_heads", "a list of at most 4096 [layer, head]");
    file->head = calloc((size_t)count + 1, sizeof *file->head);
    if (!file->head) return kd_fail_memory(((size_t)count + 1) * sizeof *file->head, s->path);
    for (const cJSON *pair = list->child; pair; pair = pair->next) {
        const cJSON *layer = cJSON_IsArray(pair) ? pair->child : NULL;
        const cJSON *head = layer ? layer->next : NULL;
        if (!head || head->next || !is_within(layer, 0, INT32_MAX) ||
            !is_within(head, 0, INT32_MAX))
            return refuse(s, pair, "alignment_heads", "a list of [layer, head]");
        file->head[file->head_count++] =
            (kd_whisper_head){(int)layer->valuedouble, (int)head->valuedouble};
    }
    return KD_OK;
}

static int open_source(source *s, const kd_whisper_file *file, const char *folder,
                       const char *name) {
    *s = (source){.tokenizer = file->tokenizer,
                  .ids = kd_tokenizer_ids(file->tokenizer),
                  .to = &file->model->generation};
    int status = kd_folder_json(&s->json, s->path, folder, name);
    if (status == KD_OK) s->root = kd_json_root(s->json);
    return status;
}

int kd_whisper_generation_read(kd_whisper_file *file, const char *folder) {
    static const char name[] = "generation_config.json";
    source own = {0}, config;
    char path[KD_PATH_MAX];
    int status = kd_path_join(path, folder, name);
    if (status < 0) return status;
    const bool whole = kd_file_exists(path);
    status = open_source(&config, file, folder, "config.json");
    if (status == KD_OK && whole) status = open_source(&own, file, folder, name);
    own.whole = whole;
    if (status == KD_OK) status = read_generation(whole ? &own : &config);
    if (status == KD_OK && whole) status = read_heads(file, &own);
    /* The one key that transformers takes from config.json even so. */
    if (status == KD_OK && whole && !get(&own, "forced_decoder_ids")) status = read_forced(&config);
    kd_json_free(own.json);
    kd_json_free(config.json);
    return status;
}
