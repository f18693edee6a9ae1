/* What a student learns from: windows of sound of at most what the model hears at once (30 s), each
 * with the tokens that are said in it.
 *
 * Labels that are good enough (kd_label_kept) are taken speaker by speaker, in the order of the
 * list. A window takes up as many successive ones of one speaker as fit into its length, and one at
 * least, their sounds and tokens one behind the other; utterances without a speaker stay alone. Bad
 * labels are left out before anything is joined.
 *
 *   token   <|startoftranscript|> [language task] <|notimestamps|> text … <|endoftext|>
 *
 * The decoder reads token[0 … length−2] and is to say token[1 … length−1].
 */
#ifndef KD_TASKS_SPEECH_WINDOWS_H
#define KD_TASKS_SPEECH_WINDOWS_H

#include "tasks/speech/features.h"
#include "tasks/speech/label.h"

/* How long windows are. A student of full windows alone, of little data, does not know where the
 * text of a short recording ends: varied lengths teach it that. */
typedef enum {
    KD_JOIN_FULL,   /* as much as the model hears at once                             */
    KD_JOIN_VARIED, /* each up to a length of its own, uniform between 0 and the full */
    KD_JOIN_NONE    /* an utterance each                                              */
} kd_join;

typedef struct {
    kd_join join;
    uint64_t seed;          /* KD_JOIN_VARIED: of the lengths          */
    double wer_below;       /* of kd_label_kept                    */
    int32_t language, task; /* ids, for multilingual models        */
} kd_window_options;

typedef struct {
    uint64_t id;          /* names the window in a store: the same for the same parts and tokens  */
    int64_t first, count; /* its parts: kd_windows.part[first … first + count − 1]                */
    double seconds;       /* of sound                                                             */
    int32_t *token;       /* (length)                                                             */
    int length;       /* length − 1 ≤ text_context                                            */
    int first_target; /* the first of token[1 …] that is a target, counted from 0: 0          */
} kd_window;

typedef struct {
    const kd_labels *labels; /* borrowed */
    kd_features features;
    kd_window *item; /* (count) */
    int64_t count;
    int64_t *part;     /* (parts) places in labels->item, window after window */
    int64_t parts;     /* labels that are kept                                */
    int32_t *tokens;   /* of all windows                                      */
    int longest;       /* largest length                                      */
    int64_t positions; /* Σ (length − 1): what the decoder is to say in all   */
    double seconds;    /* of sound in all                                     */
    kd_hash hash;      /* of sounds, tokens and how the model hears           */
} kd_windows;

/* For models of `spec`. Labels, their utterances and the sounds' files must outlive *out, which the
 * caller frees. KD_EDATA when no label is good enough. */
int kd_windows_make(kd_windows **out, const kd_labels *labels, const kd_tokenizer *tokenizer,
                    const kd_whisper_spec *spec, const kd_window_options *options);
void kd_windows_free(kd_windows *windows);

/* How many tokens of a window are targets, and which. */
static inline int64_t kd_window_targets(const kd_window *window) {
    return window->length - 1 - window->first_target;
}
static inline const int32_t *kd_window_labels(const kd_window *window) {
    return window->token + 1 + window->first_target;
}

/* The log-mel of window i, out (frames,mels) with silence behind it. Several threads may. Errors as
 * kd_features_read's, and KD_EDATA when a sound is not as long as when it was labelled. */
int kd_windows_mel(const kd_windows *windows, int64_t i, kd_real *out);

#endif
