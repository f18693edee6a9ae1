/* GGUF, the reading half. Nothing in the file is believed: every length is compared with the bytes
 * that are left before it is used, in a form that cannot overflow. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "files/formats/number_format.h"
#include "files/gguf.h"

/* More keys or tensors than any real file has; bounds what a hostile header can make us allocate.
 */
enum { ENTRIES_MAX = 1 << 16, ALIGNMENT_MAX = 1 << 16 };

/* The smallest encodings: key = length + name + type + value, tensor = length + name + … */
enum { KEY_BYTES_MIN = 8 + 1 + 4 + 1, TENSOR_BYTES_MIN = 8 + 1 + 4 + 8 + 4 + 8 };

typedef struct {
    const unsigned char *bytes;
    size_t at, length;
    const char *name; /* of the file, for messages */
} cursor;

static int fail_at(const cursor *c, const char *what) {
    return kd_fail(KD_EDATA, "%s: byte %zu: %s", c->name, c->at, what);
}

static size_t left(const cursor *c) {
    return c->length - c->at;
}

/* Copies the next `n` bytes. */
static int take(void *out, cursor *c, size_t n) {
    if (left(c) < n) return fail_at(c, "the file ends here, in the middle of its header");
    memcpy(out, c->bytes + c->at, n);
    c->at += n;
    return KD_OK;
}

static int take_string(kd_gguf_string *out, cursor *c) {
    int status = take(&out->length, c, sizeof out->length);
    if (status < 0) return status;
    if (out->length > left(c)) return fail_at(c, "a text is longer than what is left of the file");
    out->text = (const char *)c->bytes + c->at;
    c->at += (size_t)out->length;
    return KD_OK;
}

static int take_name(kd_gguf_string *out, cursor *c, uint64_t longest) {
    int status = take_string(out, c);
    if (status < 0) return status;
    if (out->length == 0 || out->length > longest || memchr(out->text, 0, (size_t)out->length))
        return fail_at(c, "a name is empty, too long or holds a 0 byte");
    return KD_OK;
}

/* --- keys ------------------------------------------------------------------------------------- */

/* Bytes of one value of a kind; 0 for texts and lists. */
static size_t kind_bytes(kd_gguf_kind kind) {
    static const unsigned char bytes[KD_GGUF_KIND_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return bytes[kind];
}

static int take_kind(kd_gguf_kind *out, cursor *c) {
    uint32_t number = 0;
    int status = take(&number, c, sizeof number);
    if (status < 0) return status;
    if (number >= KD_GGUF_KIND_COUNT)
        return kd_fail(KD_EDATA, "%s: byte %zu: value type %u does not exist", c->name, c->at - 4,
                       number);
    *out = (kd_gguf_kind)number;
    return KD_OK;
}

/* Steps over `count` values of a kind. */
static int skip_values(cursor *c, kd_gguf_kind kind, uint64_t count) {
    if (kind == KD_GGUF_STRING) {
        if (count > left(c) / 8) return fail_at(c, "a list has more texts than the file has room");
        for (uint64_t i = 0; i < count; i++) {
            kd_gguf_string ignored = {0};
            int status = take_string(&ignored, c);
            if (status < 0) return status;
        }
        return KD_OK;
    }
    const size_t each = kind_bytes(kind);
    if (count > left(c) / each) return fail_at(c, "a value goes beyond the end of the file");
    c->at += (size_t)count * each;
    return KD_OK;
}

static int take_key(kd_gguf_key *out, cursor *c) {
    int status = take_name(&out->name, c, UINT16_MAX);
    if (status == KD_OK) status = take_kind(&out->kind, c);
    if (status < 0) return status;
    out->count = 1;
    out->element = out->kind;
    if (out->kind == KD_GGUF_ARRAY) {
        status = take_kind(&out->element, c);
        if (status == KD_OK) status = take(&out->count, c, sizeof out->count);
        if (status < 0) return status;
        if (out->element == KD_GGUF_ARRAY) return fail_at(c, "a list of lists is not supported");
    }
    out->value = c->bytes + c->at;
    return skip_values(c, out->element, out->count);
}

/* --- tensors ---------------------------------------------------------------------------------- */

static int take_tensor(kd_gguf_tensor *out, cursor *c, uint64_t *offset) {
    int status = take_name(&out->name, c, KD_GGUF_NAME_MAX);
    uint32_t rank = 0;
    if (status == KD_OK) status = take(&rank, c, sizeof rank);
    if (status < 0) return status;
    if (rank < 1 || rank > KD_GGUF_RANK_MAX)
        return kd_fail(KD_EDATA, "%s: byte %zu: tensor \"%.*s\" has %u axes: must be 1 … 4",
                       c->name, c->at - 4, (int)out->name.length, out->name.text, rank);
    out->rank = (int)rank;
    out->count = 1;
    for (int i = 0; i < KD_GGUF_RANK_MAX; i++) {
        out->ne[i] = 1;
        if (i >= out->rank) continue;
        status = take(&out->ne[i], c, sizeof out->ne[i]);
        if (status < 0) return status;
        if (out->ne[i] == 0 || out->count > (UINT64_MAX >> 4) / out->ne[i])
            return fail_at(c, "a tensor's size is 0 or overflows");
        out->count *= out->ne[i];
    }
    status = take(&out->type, c, sizeof out->type);
    if (status == KD_OK) status = take(offset, c, sizeof *offset);
    if (status < 0) return status;
    out->bytes = kd_ggml_type_bytes(out->type, out->ne[0], out->count);
    if (out->bytes == 0)
        return kd_fail(KD_EDATA,
                       "%s: byte %zu: tensor \"%.*s\" has type %u, which is unknown or "
                       "does not fit its size",
                       c->name, c->at - 12, (int)out->name.length, out->name.text, out->type);
    return KD_OK;
}

/* Tensors must follow each other, each padded to the alignment, and fill the file to its end. */
static int place_tensors(kd_gguf *g, const cursor *c, const uint64_t *offset, uint64_t alignment) {
    uint64_t start = (c->at + alignment - 1) / alignment * alignment, at = 0;
    if (start > c->length) {
        if (g->tensor_count == 0) return KD_OK;
        return fail_at(c, "the file ends before its tensors begin");
    }
    const uint64_t room = c->length - start;
    for (uint64_t i = 0; i < g->tensor_count; i++) {
        kd_gguf_tensor *t = &g->tensor[i];
        if (offset[i] != at)
            return kd_fail(KD_EDATA,
                           "%s: tensor \"%.*s\" lies at %llu, not behind the one before "
                           "it, at %llu",
                           c->name, (int)t->name.length, t->name.text,
                           (unsigned long long)offset[i], (unsigned long long)at);
        if (t->bytes > room - at ||
            room - at - t->bytes < (alignment - t->bytes % alignment) % alignment)
            return kd_fail(KD_EDATA, "%s: tensor \"%.*s\" goes beyond the end of the file", c->name,
                           (int)t->name.length, t->name.text);
        t->data = c->bytes + start + at;
        at += (t->bytes + alignment - 1) / alignment * alignment;
    }
    if (at != room)
        return kd_fail(KD_EDATA, "%s: %llu bytes are left over behind the last tensor", c->name,
                       (unsigned long long)(room - at));
    return KD_OK;
}

/* --- the whole -------------------------------------------------------------------------------- */

static int compare_names(const void *a, const void *b) {
    const kd_gguf_string *x = a, *y = b;
    const uint64_t shorter = x->length < y->length ? x->length : y->length;
    int order = memcmp(x->text, y->text, (size_t)shorter);
    return order ? order : (x->length > y->length) - (x->length < y->length);
}

static int check_unique(kd_gguf_string *names, uint64_t n, const char *file) {
    if (n) qsort(names, (size_t)n, sizeof *names, compare_names);
    for (uint64_t i = 1; i < n; i++)
        if (compare_names(&names[i - 1], &names[i]) == 0)
            return kd_fail(KD_EDATA, "%s: the name \"%.*s\" occurs twice", file,
                           (int)(names[i].length < 64 ? names[i].length : 64), names[i].text);
    return KD_OK;
}

static int check_names(const kd_gguf *g, const char *file) {
    const uint64_t most = g->key_count > g->tensor_count ? g->key_count : g->tensor_count;
    kd_gguf_string *names = calloc((size_t)most + 1, sizeof *names);
    if (!names) return kd_fail_memory((most + 1) * sizeof *names, file);
    for (uint64_t i = 0; i < g->key_count; i++) names[i] = g->key[i].name;
    int status = check_unique(names, g->key_count, file);
    for (uint64_t i = 0; i < g->tensor_count; i++) names[i] = g->tensor[i].name;
    if (status == KD_OK) status = check_unique(names, g->tensor_count, file);
    free(names);
    return status;
}

static int read_header(kd_gguf *g, cursor *c) {
    char magic[4] = {0};
    uint32_t version = 0;
    int status = take(magic, c, sizeof magic);
    if (status == KD_OK && memcmp(magic, "GGUF", 4) != 0)
        return kd_fail(KD_EDATA, "%s: is not a GGUF file (its first bytes are not \"GGUF\")",
                       c->name);
    if (status == KD_OK) status = take(&version, c, sizeof version);
    if (status == KD_OK && version != 3)
        return kd_fail(KD_EDATA, "%s: GGUF version %u: must be 3", c->name, version);
    if (status == KD_OK) status = take(&g->tensor_count, c, sizeof g->tensor_count);
    if (status == KD_OK) status = take(&g->key_count, c, sizeof g->key_count);
    if (status < 0) return status;
    if (g->tensor_count > ENTRIES_MAX || g->key_count > ENTRIES_MAX ||
        g->tensor_count > left(c) / TENSOR_BYTES_MIN || g->key_count > left(c) / KEY_BYTES_MIN)
        return kd_fail(KD_EDATA, "%s: byte 8: %llu tensors and %llu keys do not fit in the file",
                       c->name, (unsigned long long)g->tensor_count,
                       (unsigned long long)g->key_count);
    return KD_OK;
}

static int read_alignment(uint64_t *out, const kd_gguf *g, const char *file) {
    const kd_gguf_key *key = kd_gguf_find_key(g, "general.alignment");
    uint32_t alignment = KD_GGUF_ALIGNMENT;
    if (key && key->kind == KD_GGUF_U32) memcpy(&alignment, key->value, sizeof alignment);
    if ((key && key->kind != KD_GGUF_U32) || alignment == 0 || alignment > ALIGNMENT_MAX ||
        (alignment & (alignment - 1)))
        return kd_fail(KD_EDATA, "%s: general.alignment must be a power of two up to %d", file,
                       ALIGNMENT_MAX);
    *out = alignment;
    return KD_OK;
}

int kd_gguf_parse(kd_gguf **out, const void *bytes, size_t length, const char *name) {
    cursor c = {.bytes = bytes, .length = length, .name = name};
    uint64_t *offset = NULL, alignment = 0;
    kd_gguf *g = calloc(1, sizeof *g);
    if (!g) return kd_fail_memory(sizeof *g, name);
    g->bytes = bytes;
    g->length = length;
    int status = read_header(g, &c);
    if (status < 0) goto done;
    g->key = calloc((size_t)g->key_count + 1, sizeof *g->key);
    g->tensor = calloc((size_t)g->tensor_count + 1, sizeof *g->tensor);
    offset = calloc((size_t)g->tensor_count + 1, sizeof *offset);
    if (!g->key || !g->tensor || !offset) {
        status = kd_fail_memory((g->key_count + g->tensor_count) * sizeof *g->tensor, name);
        goto done;
    }
    for (uint64_t i = 0; i < g->key_count && status == KD_OK; i++)
        status = take_key(&g->key[i], &c);
    if (status == KD_OK) status = read_alignment(&alignment, g, name);
    for (uint64_t i = 0; i < g->tensor_count && status == KD_OK; i++)
        status = take_tensor(&g->tensor[i], &c, &offset[i]);
    if (status == KD_OK) status = check_names(g, name);
    if (status == KD_OK) status = place_tensors(g, &c, offset, alignment);
done:
    free(offset);
    if (status < 0)
        kd_gguf_free(g);
    else
        *out = g;
    return status;
}

int kd_gguf_open(kd_gguf **out, const char *path) {
    static const size_t limit = (size_t)1 << (sizeof(size_t) > 4 ? 36 : 30);
    char *bytes;
    size_t length;
    *out = NULL;
    int status = kd_file_read(&bytes, &length, path, limit);
    if (status < 0) return status;
    status = kd_gguf_parse(out, bytes, length, path);
    if (status == KD_OK)
        (*out)->own = bytes;
    else
        free(bytes);
    return status;
}

void kd_gguf_free(kd_gguf *g) {
    if (!g) return;
    free(g->key);
    free(g->tensor);
    free(g->own);
    free(g);
}

static bool is_called(const kd_gguf_string *name, const char *text) {
    return name->length == strlen(text) && memcmp(name->text, text, strlen(text)) == 0;
}

const kd_gguf_key *kd_gguf_find_key(const kd_gguf *g, const char *name) {
    for (uint64_t i = 0; i < g->key_count; i++)
        if (g->key[i].name.text && is_called(&g->key[i].name, name)) return &g->key[i];
    return NULL;
}

const kd_gguf_tensor *kd_gguf_find_tensor(const kd_gguf *g, const char *name) {
    for (uint64_t i = 0; i < g->tensor_count; i++)
        if (is_called(&g->tensor[i].name, name)) return &g->tensor[i];
    return NULL;
}

kd_gguf_string kd_gguf_next_string(const unsigned char **at) {
    kd_gguf_string s;
    memcpy(&s.length, *at, sizeof s.length);
    s.text = (const char *)*at + sizeof s.length;
    *at += sizeof s.length + s.length;
    return s;
}

/* --- the checksum ----------------------------------------------------------------------------- */

const unsigned char *kd_gguf_checksum_place(const kd_gguf *g) {
    const kd_gguf_key *key = kd_gguf_find_key(g, "distill.checksum");
    return key && key->kind == KD_GGUF_U64 ? key->value : NULL;
}

uint64_t kd_gguf_checksum(const kd_gguf *g) {
    const unsigned char *place = kd_gguf_checksum_place(g);
    if (!place) return 0;
    const unsigned char *behind = place + sizeof(uint64_t);
    const uint64_t part[2] = {
        kd_checksum64(g->bytes, (size_t)(place - g->bytes)),
        kd_checksum64(behind, g->length - (size_t)(behind - g->bytes)),
    };
    return kd_checksum64(part, sizeof part);
}

int kd_gguf_verify(const kd_gguf *g, const char *name) {
    const unsigned char *place = kd_gguf_checksum_place(g);
    if (!place)
        return kd_fail(KD_EDATA,
                       "%s: has no \"distill.checksum\": not written by distill, or "
                       "damaged",
                       name);
    uint64_t found;
    memcpy(&found, place, sizeof found);
    const uint64_t right = kd_gguf_checksum(g);
    if (found != right)
        return kd_fail(KD_EDATA,
                       "%s: is damaged: its checksum is %016llx, its content gives "
                       "%016llx",
                       name, (unsigned long long)found, (unsigned long long)right);
    return KD_OK;
}

/* A text value: its length, then its bytes. */
static int copy_text(char **out, const kd_gguf_key *key, const char *path) {
    const unsigned char *at = key->value;
    const kd_gguf_string text = kd_gguf_next_string(&at);
    *out = malloc((size_t)text.length + 1);
    if (!*out) return kd_fail_memory(text.length, path);
    memcpy(*out, text.text, (size_t)text.length);
    (*out)[text.length] = '\0';
    return KD_OK;
}

int kd_gguf_read_text(char **out, const char *path, const char *key) {
    kd_gguf *gguf;
    *out = NULL;
    int status = kd_gguf_open(&gguf, path);
    if (status == KD_OK && kd_gguf_checksum_place(gguf)) status = kd_gguf_verify(gguf, path);
    const kd_gguf_key *found = status == KD_OK ? kd_gguf_find_key(gguf, key) : NULL;
    if (found && found->kind == KD_GGUF_STRING) status = copy_text(out, found, path);
    kd_gguf_free(gguf);
    return status;
}
