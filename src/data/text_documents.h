/* Texts for language models, document by document, out of files and folders:
 *
 *   *.jsonl   a document a line: {"text": "…"}, {"messages": [{"role": "user", "content": "…"},
 * …]}, or {"prompt": …, "completion": …}, each a text or a list of messages others    one document,
 * UTF-8
 *
 * either with .gz or .xz behind. Of a folder, all *.txt and *.jsonl below it, by the bytes of their
 * paths. Conversations are written by the model's chat template, and only answers are learnt; a
 * prompt and its completion without a template are one text, of which the completion is learnt.
 */
#ifndef KD_DATA_TEXT_DOCUMENTS_H
#define KD_DATA_TEXT_DOCUMENTS_H

#include "data/chat.h"

/* Longer lines, and longer files that are one document, are refused. */
enum { KD_DOCUMENT_BYTES_MAX = 1 << 28 };

typedef struct {
    char **path; /* (count) */
    int64_t count;
} kd_text_files;

/* The files of paths. KD_ENOINPUT when a path is not there, KD_EDATA for an archive (.tar.…) and
 * when there is no file. *out is to be cleared by the caller, after an error, too. */
int kd_text_files_list(kd_text_files *out, const char *const *path, int64_t count);
void kd_text_files_clear(kd_text_files *files);

/* How conversations are written. */
typedef struct {
    const kd_chat *chat; /* NULL: the model has no template; `messages` are refused with `why` */
    const char *why;
    const char *bos; /* the text of the token that begins texts, or NULL */
} kd_text_writing;

/* A document; `place` is its file, or file:line. A negative status ends all. */
typedef int (*kd_document_visitor)(void *context, const kd_chat_text *document, const char *place);

/* Visits all documents of the files in order. KD_EDATA with file and line for a document that is
 * empty, not UTF-8, too long, or a line that is none of the above. */
int kd_text_documents_visit(const kd_text_files *files, const kd_text_writing *writing,
                            kd_document_visitor visit, void *context);

#endif
