/* How a Whisper model wants its text to be generated, as its files state it (generation_config.json
 * of a Hugging Face folder, our keys of a GGUF file). What no file states is as OpenAI does it.
 */
#ifndef KD_LAYERS_WHISPER_GENERATION_H
#define KD_LAYERS_WHISPER_GENERATION_H

#include <stdbool.h>
#include <stdint.h>

/* Ids of tokens. Not stated: OpenAI's own; stated with none: none. */
typedef struct {
    int32_t *id; /* (count) */
    int count;
    bool stated;
} kd_token_list;

typedef struct {
    kd_token_list suppress;       /* never said                                                  */
    kd_token_list begin_suppress; /* not said first                                              */
    kd_token_list languages;      /* looked for when none is given; not stated: all of them      */
    int max_length;               /* most tokens of a window's text with its end; 0: not stated  */
    int max_initial_timestamp;    /* of a window, in steps of 0.02 s                             */
    int32_t language, task; /* ids to take when none is given; −1: find out, transcribe     */
} kd_whisper_generation;

/* Nothing stated. */
kd_whisper_generation kd_whisper_generation_own(void);
void kd_whisper_generation_clear(kd_whisper_generation *generation);

/* A copy; *out is cleared first. KD_EINTERNAL: no memory. */
int kd_whisper_generation_copy(kd_whisper_generation *out, const kd_whisper_generation *from);

/* count ids become a stated list, copied; what was there is freed. */
int kd_token_list_set(kd_token_list *out, const int32_t *id, int count);

#endif
