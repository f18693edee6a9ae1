/* Labels on disk, for label.c: shards `labels-00000.jsonl` … of a folder, in the format that
 * label.h shows. A label belongs to the content of a sound file, whatever list names it and where.
 */
#ifndef KD_TASKS_SPEECH_LABEL_FILE_H
#define KD_TASKS_SPEECH_LABEL_FILE_H

#include "base/text.h"
#include "tasks/speech/label.h"

/* What decides a label besides the sound, fact by fact. */
enum { KD_LABEL_FACTS = 6 };
typedef struct {
    const char *name;
    char value[64];
} kd_label_fact;
typedef struct {
    kd_label_fact fact[KD_LABEL_FACTS];
} kd_label_key;

/* The options as they matter to a teacher: one of English alone has no languages and tasks. */
kd_label_options kd_label_options_for(const kd_whisper_file *teacher,
                                      const kd_label_options *options);
/* `hash` is of the teacher's weights. */
int kd_label_key_of(kd_label_key *out, const kd_whisper_file *teacher, const kd_hash *hash,
                    const kd_label_options *options);

typedef struct kd_label_files kd_label_files;

/* Reads all shards of `folder`, which need not be there. KD_EDATA names the line that is damaged,
 * or the fact that is another and both its values. Nothing is written. The caller frees. */
int kd_label_files_open(kd_label_files **out, const char *folder, const kd_label_key *key,
                        int vocabulary);
void kd_label_files_free(kd_label_files *files);

/* What is known of a sound, or NULL; without an utterance. Of what is added later nothing is said.
 */
const kd_label *kd_label_files_find(const kd_label_files *files, const kd_hash *sound);

/* Adds a label; `name` is for people. It is on disk after kd_label_files_save, which writes the
 * shards that have changed, each whole or not at all, and makes the folder. */
int kd_label_files_add(kd_label_files *files, const kd_label *label, const char *name);
int kd_label_files_save(kd_label_files *files);

/* Labels as they travel from rank to rank: as the text of a shard, appended to *out, and back. */
int kd_label_files_text(kd_text *out, const kd_label_files *files, const kd_label *const *label,
                        int count);
int kd_label_files_parse(kd_labels *out, const kd_label_files *files, const char *text,
                         size_t length);

/* A shard's text (`length` bytes, any) whose labels are appended to *out; `name` is for messages.
 */
int kd_label_file_parse(kd_labels *out, const char *text, size_t length, const char *name,
                        const kd_label_key *key, int vocabulary);

#endif
