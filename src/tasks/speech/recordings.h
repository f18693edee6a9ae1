/* What is known of the recordings of a list before a model listens to them: what their files hold,
 * and which cannot be read. */
#ifndef KD_TASKS_SPEECH_RECORDINGS_H
#define KD_TASKS_SPEECH_RECORDINGS_H

#include <stdbool.h>

#include "base/hash.h"
#include "data/utterances.h"

typedef struct {
    kd_hash sound; /* of the file's content; "" when it cannot be opened and read     */
    int64_t bytes; /* of the file */
    char *fault;   /* why it cannot be read; NULL: it can be                          */
    bool missing;  /* it is not there                                                 */
} kd_recording;

typedef struct {
    const kd_utterances *utterances; /* borrowed */
    kd_recording *item;              /* (count), in the order of the utterances */
    int64_t count;
} kd_recordings;

/* Reads every file and names it by its content; what cannot be read has a fault. Called by all
 * ranks, which read some each; so is kd_recordings_decode. KD_EAGAIN after kd_train_request_stop,
 * KD_EINTERNAL without memory. The caller clears, on errors too; utterances must outlive *out. */
int kd_recordings_look(kd_recordings *out, const kd_utterances *utterances);
/* Decodes every sound from its beginning to its end: what is no sound, or damaged, gets a fault. */
int kd_recordings_decode(kd_recordings *recordings);
void kd_recordings_clear(kd_recordings *recordings);

/* Keeps why recording i cannot be read: a message about it, with or without its path in front.
 * KD_EINTERNAL without memory. */
int kd_recordings_set_fault(kd_recordings *recordings, int64_t i, const char *message);

/* How many have a fault. */
int64_t kd_recordings_faults(const kd_recordings *recordings);
/* Names up to `most` of those with a fault (all when 0) on stderr, with list and line. */
void kd_recordings_name_faults(const kd_recordings *recordings, int64_t most);
/* Names the first of those with a fault and refuses "<what>: 3 of 20 recordings cannot be read;
 * <remedy>": KD_ENOINPUT when all of them are missing, or KD_EDATA. */
int kd_recordings_refuse(const kd_recordings *recordings, const char *what, const char *remedy);

/* The recording of `among` with the content of each of `of` → out (count of `of`), or −1: the same
 * file, or a copy under another name. KD_EINTERNAL without memory. */
int kd_recordings_match(int64_t *out, const kd_recordings *of, const kd_recordings *among);

/* The same for a list nobody has looked at: only files as large as one of `of` are read. */
int kd_recordings_find(int64_t *out, const kd_recordings *of, const kd_utterances *among);

#endif
