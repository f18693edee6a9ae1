#include "data/text_tokens.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/ranks.h"
#include "data/spool.h"
#include "data/text_documents.h"
#include "data/text_stream.h"
#include "data/text_tokenizer_inside.h"

#define NOT_LEARNT 0x80000000u

typedef struct {
    char magic[8];
    uint32_t version, zero;
    uint64_t tokens, documents, checksum;
    char key[32];
} file_head;

struct kd_text_tokens {
    const unsigned char *map;
    size_t bytes;
    file_head head;
    int32_t vocabulary; /* ids are below */
};

static const char MAGIC[8] = "kdtokens";

/* --- reading ---------------------------------------------------------------------------------- */

int64_t kd_text_tokens_count(const kd_text_tokens *t) {
    return (int64_t)t->head.tokens;
}

int64_t kd_text_tokens_documents(const kd_text_tokens *t) {
    return (int64_t)t->head.documents;
}

kd_hash kd_text_tokens_key(const kd_text_tokens *t) {
    kd_hash key = {0};
    memcpy(key.hex, t->head.key, sizeof t->head.key);
    return key;
}

/* Number i of the table of u64 behind the tokens. */
static uint64_t border(const kd_text_tokens *t, uint64_t i) {
    uint64_t value;
    memcpy(&value, t->map + sizeof t->head + 4 * t->head.tokens + 8 * i, sizeof value);
    return value;
}

void kd_text_tokens_document(const kd_text_tokens *t, int64_t d, int64_t *start, int64_t *end,
                             int64_t *bytes) {
    KD_CONTRACT(d >= 0 && d < kd_text_tokens_documents(t), "document %lld", (long long)d);
    *start = (int64_t)border(t, (uint64_t)d);
    *end = (int64_t)border(t, (uint64_t)d + 1);
    *bytes = (int64_t)border(t, t->head.documents + 1 + (uint64_t)d);
}

void kd_text_tokens_read(const kd_text_tokens *t, int64_t at, int64_t n, int32_t *token,
                         uint8_t *learnt) {
    KD_CONTRACT(at >= 0 && n >= 0 && at + n <= kd_text_tokens_count(t), "tokens %lld to %lld",
                (long long)at, (long long)(at + n));
    for (int64_t i = 0; i < n; i++) {
        uint32_t word;
        memcpy(&word, t->map + sizeof t->head + 4 * (at + i), sizeof word);
        token[i] = (int32_t)(word & ~NOT_LEARNT);
        if (learnt) learnt[i] = !(word & NOT_LEARNT);
    }
}

/* NULL, or what is wrong with the file that was mapped. */
static const char *fault_of(const kd_text_tokens *t, const char *key, int32_t vocabulary) {
    const file_head *h = &t->head;
    if (t->bytes < sizeof *h || memcmp(h->magic, MAGIC, 8) != 0 || h->version != 1)
        return "is no file of tokens";
    if (memcmp(h->key, key, sizeof h->key) != 0) return "was made from something else";
    const uint64_t most = (t->bytes - sizeof *h) / 4;
    if (h->tokens > most || h->documents > most ||
        sizeof *h + 4 * h->tokens + 8 * (2 * h->documents + 1) != t->bytes)
        return "has another length than it says";
    if (kd_checksum64(t->map + sizeof *h, t->bytes - sizeof *h) != h->checksum)
        return "is damaged: its checksum differs";
    for (uint64_t d = 0; d < h->documents; d++)
        if (border(t, d) >= border(t, d + 1)) return "has a document that ends before it begins";
    if (border(t, 0) != 0 || border(t, h->documents) != h->tokens)
        return "has tokens of no document";
    for (uint64_t i = 0; i < h->tokens; i++) {
        int32_t token;
        kd_text_tokens_read(t, (int64_t)i, 1, &token, NULL);
        if (token >= vocabulary) return "has tokens beyond the vocabulary";
    }
    return NULL;
}

/* Maps the file; *fault says what is wrong with it. */
static int map_file(kd_text_tokens **out, int fd, const char *path, const char *key,
                    int32_t vocabulary, const char **fault) {
    struct stat info;
    *out = NULL;
    if (fstat(fd, &info) < 0) return kd_fail(KD_EIO, "%s: %s", path, strerror(errno));
    if ((unsigned long long)info.st_size != (size_t)info.st_size)
        return kd_fail(KD_EDATA, "%s: %lld bytes, more than 32-bit addresses reach", path,
                       (long long)info.st_size);
    kd_text_tokens *t = calloc(1, sizeof *t);
    if (!t) return kd_fail_memory(sizeof *t, path);
    t->bytes = (size_t)info.st_size;
    void *map = t->bytes ? mmap(NULL, t->bytes, PROT_READ, MAP_SHARED, fd, 0) : NULL;
    if (map == MAP_FAILED) {
        free(t);
        return kd_fail(KD_EIO, "%s: cannot map: %s", path, strerror(errno));
    }
    t->map = map;
    if (t->bytes >= sizeof t->head) memcpy(&t->head, t->map, sizeof t->head);
    *fault = fault_of(t, key, vocabulary);
    if (*fault) {
        kd_text_tokens_close(t);
        return KD_OK;
    }
    *out = t;
    return KD_OK;
}

void kd_text_tokens_close(kd_text_tokens *t) {
    if (!t) return;
    if (t->map) munmap((void *)(uintptr_t)t->map, t->bytes);
    free(t);
}

/* --- the key ---------------------------------------------------------------------------------- */

static int hash_file(kd_hash *out, const char *path) {
    enum { BLOCK = 1 << 20 };
    kd_hasher *hasher = NULL;
    char *block = malloc(BLOCK);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    int status = fd < 0 ? kd_fail(errno == ENOENT ? KD_ENOINPUT : KD_EIO, "%s: cannot open: %s",
                                  path, strerror(errno))
                        : KD_OK;
    if (status == KD_OK && !block) status = kd_fail_memory(BLOCK, path);
    if (status == KD_OK) status = kd_hasher_create(&hasher);
    for (ssize_t n = 1; status == KD_OK && n != 0;) {
        n = read(fd, block, BLOCK);
        if (n < 0) status = kd_fail(KD_EIO, "%s: cannot read: %s", path, strerror(errno));
        if (n > 0) kd_hasher_add(hasher, block, (size_t)n);
    }
    if (status == KD_OK) *out = kd_hasher_value(hasher);
    kd_hasher_free(hasher);
    free(block);
    if (fd >= 0) close(fd);
    return status;
}

/* The kind of a file is part of what it means. */
static const char *ending_of(const char *path) {
    const char *name = strrchr(path, '/'), *dot = strchr(name ? name : path, '.');
    return dot ? dot : "";
}

static int make_key(kd_hash *out, const kd_text_files *files, const kd_text_source *source) {
    enum { OWN = 4 };
    const kd_text_tokenizer *t = source->tokenizer;
    const size_t n = OWN + 2 * (size_t)files->count;
    kd_hash *part = malloc(n * sizeof *part);
    if (!part) return kd_fail_memory(n * sizeof *part, "texts");
    const int32_t around[] = {1 /* the format */, source->end, t->before_count, t->after_count};
    int status = KD_OK;
    part[0] = kd_text_tokenizer_hash(t);
    part[1] = kd_hash_bytes(around, sizeof around);
    part[2] = kd_hash_bytes(t->before, sizeof t->before);
    part[3] = kd_hash_bytes(t->chat_template, t->chat_template ? strlen(t->chat_template) : 0);
    for (int64_t i = 0; i < files->count && status == KD_OK; i++) {
        const char *ending = ending_of(files->path[i]);
        part[OWN + 2 * i] = kd_hash_bytes(ending, strlen(ending));
        status = hash_file(&part[OWN + 2 * i + 1], files->path[i]);
    }
    if (status == KD_OK) *out = kd_hash_join(part, (int)n);
    free(part);
    return status;
}

/* --- making ----------------------------------------------------------------------------------- */

typedef struct {
    const kd_text_source *source;
    FILE *file;
    const char *path;
    kd_checksum *checksum;
    uint64_t tokens;
    size_t documents, capacity;
    uint64_t *start, *bytes; /* (capacity) of the documents */
} maker;

static int fail_to_write(const maker *m) {
    if (errno == ENOMEM) return kd_fail_memory(BUFSIZ, m->path);
    return kd_fail(KD_EIO, "%s: cannot write: %s", m->path, strerror(errno));
}

static int put(maker *m, const void *bytes, size_t length) {
    if (length && fwrite(bytes, 1, length, m->file) != length) return fail_to_write(m);
    if (m->checksum) kd_checksum_add(m->checksum, bytes, length);
    return KD_OK;
}

static int put_tokens(maker *m, const int32_t *id, int64_t count, bool learnt) {
    int status = KD_OK;
    for (int64_t i = 0; i < count && status == KD_OK; i++) {
        const uint32_t word = (uint32_t)id[i] | (learnt ? 0 : NOT_LEARNT);
        status = put(m, &word, sizeof word);
    }
    m->tokens += (uint64_t)count;
    return status;
}

static int add_document(maker *m, size_t bytes) {
    if (m->documents + 1 >= m->capacity) {
        const size_t capacity = m->capacity ? 2 * m->capacity : 256;
        uint64_t *start = realloc(m->start, (capacity + 1) * sizeof *start);
        if (start) m->start = start;
        uint64_t *sizes = realloc(m->bytes, (capacity + 1) * sizeof *sizes);
        if (sizes) m->bytes = sizes;
        if (!start || !sizes) return kd_fail_memory(capacity * sizeof *start, "documents");
        m->capacity = capacity;
    }
    m->start[m->documents] = m->tokens;
    m->bytes[m->documents++] = bytes;
    return KD_OK;
}

/* Tokens around a text stand around a document, too, unless a template has written it. */
static int tokenize(void *context, const kd_chat_text *document, const char *place) {
    maker *m = context;
    const kd_text_tokenizer *t = m->source->tokenizer;
    const bool own = !document->conversation;
    int status = add_document(m, document->text.length);
    const uint64_t first = m->tokens;
    if (status == KD_OK && own) status = put_tokens(m, t->before, t->before_count, false);
    size_t from = 0;
    int32_t last = -1;
    for (int64_t i = 0; i < document->count && status == KD_OK; i++) {
        int32_t *id;
        int64_t count;
        const size_t end = document->part[i].end;
        status =
            kd_text_tokenizer_encode(&id, &count, t, document->text.text + from, end - from, false);
        if (status < 0) return kd_fail_in(status, "%s", place);
        status = put_tokens(m, id, count, document->part[i].answer);
        if (count > 0) last = id[count - 1];
        free(id);
        from = end;
    }
    if (status == KD_OK && own) status = put_tokens(m, t->after, t->after_count, true);
    if (status == KD_OK && own && t->after_count > 0) last = t->after[t->after_count - 1];
    if (status == KD_OK && own && m->source->end >= 0 && last != m->source->end)
        status = put_tokens(m, &m->source->end, 1, true);
    if (status == KD_OK && m->tokens == first)
        status = kd_fail(KD_EDATA, "%s: a document without tokens", place);
    return status;
}

/* Tables and head, once all tokens are there. */
static int put_rest(maker *m, const char *key) {
    file_head head = {.version = 1, .tokens = m->tokens, .documents = m->documents};
    int status = put(m, m->start, m->documents * sizeof *m->start);
    if (status == KD_OK) status = put(m, &m->tokens, sizeof m->tokens);
    if (status == KD_OK) status = put(m, m->bytes, m->documents * sizeof *m->bytes);
    if (status < 0) return status;
    memcpy(head.magic, MAGIC, sizeof head.magic);
    memcpy(head.key, key, sizeof head.key);
    head.checksum = kd_checksum_value(m->checksum);
    if (fseek(m->file, 0, SEEK_SET) != 0 || fwrite(&head, 1, sizeof head, m->file) != sizeof head ||
        fflush(m->file) != 0)
        return fail_to_write(m);
    return KD_OK;
}

/* All tokens into the file of `fd`, which stays open. */
static int make_file(int fd, const char *path, const kd_text_files *files,
                     const kd_text_source *source, const char *key) {
    static const file_head empty;
    const kd_text_tokenizer *t = source->tokenizer;
    kd_chat chat;
    const char *why = "the model's folder has no chat template";
    char reason[512], begin[256] = "";
    maker m = {.source = source, .path = path};
    kd_text_writing writing = {.why = why};
    if (t->chat_template) {
        if (kd_chat_recognise(&chat, t->chat_template) == KD_OK) writing.chat = &chat;
        snprintf(reason, sizeof reason, "%s", kd_error());
        writing.why = reason;
    }
    if (t->ids.bos >= 0) {
        const kd_token_bytes bos = kd_token_table_get(&t->table, t->ids.bos);
        snprintf(begin, sizeof begin, "%.*s", (int)bos.length, bos.bytes);
        writing.bos = begin;
    }
    const int own = dup(fd); /* a FILE closes its descriptor */
    m.file = own < 0 ? NULL : fdopen(own, "r+b");
    int status = m.file ? KD_OK : fail_to_write(&m);
    if (!m.file && own >= 0) close(own);
    if (status == KD_OK) status = put(&m, &empty, sizeof empty);
    if (status == KD_OK) status = kd_checksum_create(&m.checksum);
    if (status == KD_OK) status = kd_text_documents_visit(files, &writing, tokenize, &m);
    if (status == KD_OK && m.documents == 0)
        status = kd_fail(KD_EDATA, "no document in %lld files", (long long)files->count);
    if (status == KD_OK) status = put_rest(&m, key);
    if (m.file && fclose(m.file) != 0 && status == KD_OK) status = fail_to_write(&m);
    kd_checksum_free(m.checksum);
    free(m.start);
    free(m.bytes);
    return status;
}

/* --- opening ---------------------------------------------------------------------------------- */

/* *out stays NULL when the file is not there, or is not what it should be. */
static int open_cached(kd_text_tokens **out, const char *path, const char *key,
                       int32_t vocabulary) {
    const char *fault = NULL;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    *out = NULL;
    if (fd < 0) return errno == ENOENT ? KD_OK : kd_fail(KD_EIO, "%s: %s", path, strerror(errno));
    const int status = map_file(out, fd, path, key, vocabulary, &fault);
    close(fd);
    if (fault) kd_warn("%s: %s; it is made anew", path, fault);
    return status;
}

static int make_nameless(kd_text_tokens **out, const kd_text_files *files,
                         const kd_text_source *source, const char *key) {
    static const char path[] = "a temporary file";
    const char *fault = NULL;
    int fd;
    int status = kd_spool_open(&fd);
    if (status < 0) return status;
    status = make_file(fd, path, files, source, key);
    if (status == KD_OK)
        status = map_file(out, fd, path, key, source->tokenizer->ids.vocabulary, &fault);
    if (status == KD_OK && fault) status = kd_fail(KD_EIO, "%s %s", path, fault);
    close(fd);
    return status;
}

static int path_in(char out[KD_PATH_MAX], const char *cache, const char *key) {
    char file[64];
    snprintf(file, sizeof file, "text-%s.tokens", key);
    return kd_path_join(out, cache, file);
}

static int open_texts(kd_text_tokens **out, const kd_text_files *files,
                      const kd_text_source *source, const char *cache) {
    const int32_t V = source->tokenizer->ids.vocabulary;
    char path[KD_PATH_MAX];
    kd_hash key;
    int status = make_key(&key, files, source);
    if (status == KD_OK && cache) status = path_in(path, cache, key.hex);
    if (status == KD_OK && cache) status = open_cached(out, path, key.hex, V);
    if (status == KD_OK && !*out) status = make_nameless(out, files, source, key.hex);
    if (status == KD_OK) (*out)->vocabulary = V;
    return status;
}

int kd_text_tokens_open(kd_text_tokens **out, const kd_text_source *source, const char *cache,
                        const char *name) {
    kd_text_files files;
    *out = NULL;
    int status = kd_text_files_list(&files, source->path, source->count);
    if (status == KD_OK && files.count == 0) status = kd_fail(KD_EDATA, "no file is named");
    if (status == KD_OK) status = open_texts(out, &files, source, cache);
    kd_text_files_clear(&files);
    return status < 0 ? kd_fail_in(status, "%s", name) : KD_OK;
}

int kd_text_tokens_keep(kd_text_tokens *tokens, const char *cache) {
    const kd_hash key = kd_text_tokens_key(tokens);
    char path[KD_PATH_MAX];
    kd_text_tokens *kept;
    int status = path_in(path, cache, key.hex);
    if (status < 0 || !kd_rank_writes()) return status;
    status = open_cached(&kept, path, key.hex, tokens->vocabulary);
    if (status == KD_OK && !kept) {
        status = kd_file_replace(path, tokens->map, tokens->bytes);
        if (status == KD_OK) status = open_cached(&kept, path, key.hex, tokens->vocabulary);
        if (status == KD_OK && !kept) status = kd_fail(KD_EIO, "%s: cannot be read back", path);
    }
    if (status < 0) return status;
    munmap((void *)(uintptr_t)tokens->map, tokens->bytes);
    tokens->map = kept->map;
    free(kept);
    return KD_OK;
}
