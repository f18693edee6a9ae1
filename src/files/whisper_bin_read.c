/* whisper.cpp's `.bin`, little-endian and packed:
 *
 *   u32 0x67676d6c
 *   i32 × 11     vocabulary, audio context, width, heads, layers, text context, width, heads,
 *                layers, mels, type of the matrices
 *   i32 mels, i32 bins, f32 filters
 *   i32 tokens, for each: u32 length, bytes
 *   records to the end: i32 rank, i32 length of the name, i32 type; i32 sizes, fastest first;
 *                name; data without padding
 *
 * Two passes: the records are listed and held against the parameters of a model of this header
 * first, and only then is memory taken for the weights. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "files/whisper_file.h"
#include "layers/weights.h"

enum { MAGIC = 0x67676d6c, BINS_MAX = 1 << 16, TOKEN_BYTES = 1 << 24 };

/* The file: open, or in memory. */
typedef struct {
    const char *name;
    int fd; /* −1: in memory */
    const unsigned char *bytes;
    uint64_t length, at;
} source;

typedef struct {
    const kd_number_format *format;
    uint64_t at, bytes; /* of the data */
    bool found;
} record;

static int fetch(source *s, void *out, uint64_t n, const char *what) {
    if (n > s->length - s->at)
        return kd_fail(KD_EDATA, "%s: at byte %llu: %llu bytes for %s; the file ends at %llu",
                       s->name, (unsigned long long)s->at, (unsigned long long)n, what,
                       (unsigned long long)s->length);
    if (s->fd < 0) {
        if (n > 0) memcpy(out, s->bytes + s->at, n);
    } else {
        for (uint64_t done = 0; done < n;) {
            const ssize_t got = pread(s->fd, (char *)out + done, n - done, (off_t)(s->at + done));
            if (got < 0 && errno == EINTR) continue;
            if (got < 0) return kd_fail(KD_EIO, "%s: cannot read: %s", s->name, strerror(errno));
            if (got == 0) return kd_fail(KD_EIO, "%s: became shorter while it was read", s->name);
            done += (uint64_t)got;
        }
    }
    s->at += n;
    return KD_OK;
}

/* --- header, filters, tokens -------------------------------------------------------------------
 */

static int read_header(source *s, kd_whisper_spec *spec) {
    int32_t h[12];
    int status = fetch(s, h, sizeof h, "the header");
    if (status < 0) return status;
    if (h[0] != MAGIC)
        return kd_fail(KD_EDATA, "%s: starts with 0x%08x; whisper.cpp's files start with 0x%08x",
                       s->name, (unsigned)h[0], (unsigned)MAGIC);
    if (h[3] != h[7])
        return kd_fail(KD_EDATA, "%s: encoder of width %d, decoder of width %d; they must agree",
                       s->name, (int)h[3], (int)h[7]);
    *spec = (kd_whisper_spec){.vocabulary = h[1],
                              .audio_context = h[2],
                              .width = h[3],
                              .audio_heads = h[4],
                              .audio_layers = h[5],
                              .text_context = h[6],
                              .text_heads = h[8],
                              .text_layers = h[9],
                              .mels = h[10]};
    status = kd_whisper_spec_check(spec, s->name);
    if (status < 0) return status;
    /* Half a byte for each weight of the matrices is less than any format needs. */
    const uint64_t C = (uint64_t)spec->width;
    const uint64_t least = C *
                           (12 * C * (uint64_t)spec->audio_layers +
                            16 * C * (uint64_t)spec->text_layers + (uint64_t)spec->vocabulary) /
                           2;
    if (least > s->length)
        return kd_fail(
            KD_EDATA, "%s: the header describes a model of more than %llu bytes; the file has %llu",
            s->name, (unsigned long long)least, (unsigned long long)s->length);
    return KD_OK;
}

static int read_filters(source *s, kd_whisper_file *file, int mels) {
    int32_t size[2];
    int status = fetch(s, size, sizeof size, "the size of the mel filters");
    if (status < 0) return status;
    if (size[0] != mels || size[1] < 1 || size[1] > BINS_MAX)
        return kd_fail(KD_EDATA, "%s: mel filters of %d × %d; should be %d × 201", s->name,
                       (int)size[0], (int)size[1], mels);
    const uint64_t bytes = (uint64_t)size[0] * (uint64_t)size[1] * sizeof *file->filters;
    if (bytes > s->length - s->at)
        return kd_fail(KD_EDATA, "%s: mel filters of %llu bytes; the file ends before", s->name,
                       (unsigned long long)bytes);
    file->bins = size[1];
    file->filters = malloc(bytes);
    if (!file->filters) return kd_fail_memory(bytes, "mel filters");
    return fetch(s, file->filters, bytes, "the mel filters");
}

/* The list of tokens, held in one block of bytes. */
static int read_token_list(source *s, kd_token_bytes *token, int count, char *bytes,
                           uint64_t room) {
    uint64_t used = 0;
    for (int i = 0; i < count; i++) {
        uint32_t length;
        int status = fetch(s, &length, sizeof length, "the length of a token");
        if (status < 0) return status;
        if (length > room - used)
            return kd_fail(
                KD_EDATA, "%s: at byte %llu: token %d of %u bytes; all have at most %llu", s->name,
                (unsigned long long)s->at, i, (unsigned)length, (unsigned long long)room);
        status = fetch(s, bytes + used, length, "a token");
        if (status < 0) return status;
        token[i] = (kd_token_bytes){bytes + used, length};
        used += length;
    }
    return KD_OK;
}

static int read_tokens(source *s, kd_whisper_file *file, int vocabulary) {
    int32_t count;
    int status = fetch(s, &count, sizeof count, "the number of tokens");
    if (status < 0) return status;
    if (count < 1 || count > vocabulary)
        return kd_fail(KD_EDATA, "%s: %d tokens; the vocabulary has %d", s->name, (int)count,
                       vocabulary);
    const uint64_t left = s->length - s->at, room = left < TOKEN_BYTES ? left : TOKEN_BYTES;
    kd_token_bytes *token = malloc((size_t)count * sizeof *token);
    char *bytes = malloc(room + 1);
    status = token && bytes ? read_token_list(s, token, count, bytes, room)
                            : kd_fail_memory(room, "tokens");
    if (status == KD_OK)
        status = kd_tokenizer_create(&file->tokenizer, token, count, vocabulary, s->name);
    free(token);
    free(bytes);
    return status;
}

/* --- records -----------------------------------------------------------------------------------
 */

/* The parameter called `name`, looked for first at `hint`, where it is when the file is in our
 * order; −1 when there is none. */
static int find_param(const kd_params *params, const char *name, int hint) {
    if (hint < params->count && strcmp(params->list[hint]->name, name) == 0) return hint;
    for (int i = 0; i < params->count; i++)
        if (strcmp(params->list[i]->name, name) == 0) return i;
    return -1;
}

static int check_record(source *s, const kd_param *p, int rank, const int32_t *ne, int32_t type,
                        record *r) {
    const kd_number_format *format = kd_number_format_typed((uint32_t)type);
    char list[KD_FORMAT_LIST_MAX];
    if (!format)
        return kd_fail(KD_EDATA, "%s: tensor %s has ggml type %d (%s); %s can be read", s->name,
                       p->name, (int)type, kd_ggml_type_name((uint32_t)type),
                       kd_number_format_list(list, true));
    const int64_t sizes[4] = {ne[0], ne[1], ne[2], ne[3]};
    if (!kd_whisper_sizes_fit(p, rank, sizes))
        return kd_fail(KD_EDATA, "%s: tensor %s has the wrong shape for this model's header",
                       s->name, p->name);
    if (ne[0] % format->block)
        return kd_fail(KD_EDATA, "%s: tensor %s: rows of %d are no multiple of %s's blocks of %d",
                       s->name, p->name, (int)ne[0], format->name, format->block);
    if (r->found) return kd_fail(KD_EDATA, "%s: tensor %s is there twice", s->name, p->name);
    *r = (record){.format = format, .at = s->at, .found = true};
    r->bytes = kd_number_format_bytes(format, p->tensor.size);
    if (r->bytes > s->length - s->at)
        return kd_fail(KD_EDATA,
                       "%s: tensor %s has %llu bytes from byte %llu; the file ends at %llu",
                       s->name, p->name, (unsigned long long)r->bytes, (unsigned long long)s->at,
                       (unsigned long long)s->length);
    s->at += r->bytes;
    return KD_OK;
}

static int list_record(source *s, const kd_params *params, int hint, record *list) {
    const uint64_t start = s->at;
    int32_t head[3], ne[4] = {1, 1, 1, 1};
    char name[KD_NAME_MAX] = {0};
    int status = fetch(s, head, sizeof head, "a tensor's header");
    if (status < 0) return status;
    if (head[0] < 1 || head[0] > 4 || head[1] < 1 || head[1] >= KD_NAME_MAX)
        return kd_fail(KD_EDATA,
                       "%s: at byte %llu: tensor of %d dimensions with a name of %d bytes; there "
                       "are 1 to 4 dimensions and names of less than %d",
                       s->name, (unsigned long long)start, (int)head[0], (int)head[1],
                       (int)KD_NAME_MAX);
    status = fetch(s, ne, (uint64_t)head[0] * sizeof *ne, "a tensor's sizes");
    if (status == KD_OK) status = fetch(s, name, (uint64_t)head[1], "a tensor's name");
    if (status < 0) return status;
    const int which = find_param(params, name, hint);
    if (which < 0) {
        for (int i = 0; name[i]; i++)
            if (name[i] < ' ' || name[i] > '~') name[i] = '?';
        return kd_fail(KD_EDATA, "%s: tensor '%s' belongs to no part of this model", s->name, name);
    }
    return check_record(s, params->list[which], head[0], ne, head[2], &list[which]);
}

static int list_records(source *s, const kd_params *params, record *list) {
    int status = KD_OK;
    for (int hint = 0; s->at < s->length && status == KD_OK; hint++)
        status = list_record(s, params, hint, list);
    for (int i = 0; i < params->count && status == KD_OK; i++)
        if (!list[i].found)
            status = kd_fail(KD_EDATA, "%s: tensor %s is missing", s->name, params->list[i]->name);
    return status;
}

/* --- values ------------------------------------------------------------------------------------
 */

static int read_values(source *s, kd_param *p, const record *r) {
    unsigned char *raw = malloc(r->bytes);
    float *values = malloc((size_t)p->tensor.size * sizeof *values);
    int status = raw && values ? KD_OK : kd_fail_memory(r->bytes, p->name);
    s->at = r->at;
    if (status == KD_OK) status = fetch(s, raw, r->bytes, p->name);
    if (status == KD_OK) {
        r->format->decode(values, raw, p->tensor.size);
        kd_whisper_set_values(p, values);
    }
    free(raw);
    free(values);
    return status;
}

static int read_weights(source *s, kd_whisper_file *file) {
    const kd_params *params = file->model->params;
    const size_t count = (size_t)params->count;
    record *list = calloc(count, sizeof *list);
    file->stored = calloc(count, sizeof *file->stored);
    int status = list && file->stored ? list_records(s, params, list)
                                      : kd_fail_memory(count * sizeof *list, s->name);
    if (status == KD_OK) status = kd_whisper_layout_blank(file->model);
    for (int i = 0; i < params->count && status == KD_OK; i++) {
        file->stored[i] = list[i].format;
        status = read_values(s, params->list[i], &list[i]);
    }
    free(list);
    return status;
}

static int read_file(kd_whisper_file **out, source *s, kd_whisper_training training) {
    kd_whisper_spec spec;
    *out = NULL;
    kd_whisper_file *file = calloc(1, sizeof *file);
    if (!file) return kd_fail_memory(sizeof *file, s->name);
    int status = read_header(s, &spec);
    if (status == KD_OK) status = read_filters(s, file, spec.mels);
    if (status == KD_OK) status = read_tokens(s, file, spec.vocabulary);
    if (status == KD_OK) status = kd_whisper_create(&file->model, &spec, training);
    if (status == KD_OK) status = read_weights(s, file);
    if (status == KD_OK) status = kd_params_check(file->model->params, s->name);
    if (status < 0) {
        kd_whisper_file_free(file);
        return status;
    }
    kd_params_touch(file->model->params);
    *out = file;
    return KD_OK;
}

int kd_whisper_bin_decode(kd_whisper_file **out, const void *bytes, size_t length, const char *name,
                          kd_whisper_training training) {
    source s = {.name = name, .fd = -1, .bytes = bytes, .length = length};
    return read_file(out, &s, training);
}

int kd_whisper_bin_read(kd_whisper_file **out, const char *path, kd_whisper_training training) {
    struct stat info;
    *out = NULL;
    source s = {.name = path, .fd = open(path, O_RDONLY | O_CLOEXEC)};
    int status;
    if (s.fd < 0 || fstat(s.fd, &info) < 0)
        status = kd_fail(errno == ENOENT ? KD_ENOINPUT : KD_EIO, "%s: cannot open: %s", path,
                         strerror(errno));
    else if (!S_ISREG(info.st_mode))
        status = kd_fail(KD_ENOINPUT, "%s: is not a regular file", path);
    else {
        s.length = (uint64_t)info.st_size;
        status = read_file(out, &s, training);
    }
    if (s.fd >= 0) close(s.fd);
    return status;
}
