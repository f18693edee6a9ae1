/* The teacher's stage of speech: what its decoder finds likely at every target of every window,
 * written to a store of sequences (data/store.h). */
#ifndef KD_TASKS_SPEECH_SPEECH_TEACH_H
#define KD_TASKS_SPEECH_SPEECH_TEACH_H

#include "data/store.h"
#include "distill/origin.h"
#include "files/whisper_file.h"
#include "tasks/speech/encoder_cache.h"
#include "tasks/speech/speech_config.h"

typedef struct {
    const kd_whisper_file *teacher;
    kd_hash hash; /* of its weights */
    const kd_windows *windows;
    kd_encoder_cache *encoder_cache; /* of `windows`, by the teacher's encoder     */
    const kd_speech_teacher *how;    /* kind, type and k of what is stored         */
    double temperature;              /* top-k: the tail is summed at it            */
    kd_precision precision;          /* of the teacher's products                   */
    const char *description;         /* for people: where the teacher comes from   */
    const kd_origin *origin;         /* what the store is made from                */
} kd_speech_teaching;

/* Makes the store in the folder `path`, going on behind its last whole shard, and opens it; says
 * what storing cost: the divergence between the teacher and what the store has of it, on a sample
 * of windows. *content is its hash. KD_EAGAIN after kd_train_request_stop. The caller frees *out.
 */
int kd_speech_teach(kd_store **out, kd_hash *content, const char *path,
                    const kd_speech_teaching *teaching);

/* Bytes that the store of so many targets takes, for --dry-run. */
double kd_speech_teach_bytes(const kd_speech_teacher *how, const kd_whisper_spec *teacher,
                             double targets);

#endif
