#include "files/ggml_records.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/size.h"

/* --- reading -----------------------------------------------------------------------------------
 */

int kd_ggml_take(kd_ggml_source *s, void *out, uint64_t n, const char *what) {
    if (n > s->length - s->at)
        return kd_fail(KD_EDATA, "%s: at byte %llu: %llu bytes for %s; the file ends at %llu",
                       s->name, (unsigned long long)s->at, (unsigned long long)n, what,
                       (unsigned long long)s->length);
    if (n > 0) memcpy(out, s->bytes + s->at, (size_t)n);
    s->at += n;
    return KD_OK;
}

/* The parameter called `name`, looked for first at `hint`, where it is when the file is in our
 * order; −1 when there is none. */
static int find(const kd_named *named, int count, const char *name, int hint) {
    if (hint < count && strcmp(named[hint].name, name) == 0) return hint;
    for (int i = 0; i < count; i++)
        if (strcmp(named[i].name, name) == 0) return i;
    return -1;
}

static int check_record(kd_stored *out, kd_ggml_source *s, const kd_param *p, const kd_named *named,
                        int rank, const int32_t *ne, int32_t type) {
    const kd_number_format *format = kd_number_format_typed((uint32_t)type);
    char list[KD_FORMAT_LIST_MAX];
    if (!format)
        return kd_fail(KD_EDATA, "%s: tensor %s has ggml type %d (%s); %s can be read", s->name,
                       named->name, (int)type, kd_ggml_type_name((uint32_t)type),
                       kd_number_format_list_ggml(list));
    const int64_t sizes[4] = {ne[0], ne[1], ne[2], ne[3]};
    if (!kd_ggml_sizes_fit(named, format, rank, sizes))
        return kd_fail(KD_EDATA, "%s: tensor %s has the wrong shape for this model's header",
                       s->name, named->name);
    if (ne[0] % format->block)
        return kd_fail(KD_EDATA, "%s: tensor %s: rows of %d are no multiple of %s's blocks of %d",
                       s->name, named->name, (int)ne[0], format->name, format->block);
    int status = kd_ggml_check_rows(p, named, format, s->name);
    if (status < 0) return status;
    if (out->format) return kd_fail(KD_EDATA, "%s: tensor %s is there twice", s->name, named->name);
    const uint64_t bytes = kd_number_format_bytes(format, p->tensor.size);
    if (bytes > s->length - s->at)
        return kd_fail(KD_EDATA,
                       "%s: tensor %s has %llu bytes from byte %llu; the file ends at %llu",
                       s->name, named->name, (unsigned long long)bytes, (unsigned long long)s->at,
                       (unsigned long long)s->length);
    *out = (kd_stored){.format = format, .bytes = s->bytes + s->at, .order = named->order};
    s->at += bytes;
    return KD_OK;
}

static int list_record(kd_stored *list, kd_ggml_source *s, const kd_params *params,
                       const kd_named *named, int hint) {
    const uint64_t start = s->at;
    int32_t head[3], ne[4] = {1, 1, 1, 1};
    char name[KD_FILE_NAME_MAX] = {0};
    int status = kd_ggml_take(s, head, sizeof head, "a tensor's header");
    if (status < 0) return status;
    if (head[0] < 1 || head[0] > 4 || head[1] < 1 || head[1] >= KD_FILE_NAME_MAX)
        return kd_fail(KD_EDATA,
                       "%s: at byte %llu: tensor of %d dimensions with a name of %d bytes; there "
                       "are 1 to 4 dimensions and names of less than %d",
                       s->name, (unsigned long long)start, (int)head[0], (int)head[1],
                       (int)KD_FILE_NAME_MAX);
    status = kd_ggml_take(s, ne, (uint64_t)head[0] * sizeof *ne, "a tensor's sizes");
    if (status == KD_OK) status = kd_ggml_take(s, name, (uint64_t)head[1], "a tensor's name");
    if (status < 0) return status;
    const int i = find(named, params->count, name, hint);
    if (i >= 0) return check_record(&list[i], s, params->list[i], &named[i], head[0], ne, head[2]);
    for (int k = 0; name[k]; k++)
        if (name[k] < ' ' || name[k] > '~') name[k] = '?';
    return kd_fail(KD_EDATA, "%s: tensor '%s' belongs to no part of this model", s->name, name);
}

int kd_ggml_records_list(kd_stored *list, kd_ggml_source *source, const kd_params *params,
                         const kd_names *names) {
    kd_named *named;
    int status = kd_names_list(&named, names, params);
    if (status < 0) return status;
    memset(list, 0, (size_t)params->count * sizeof *list);
    for (int hint = 0; source->at < source->length && status == KD_OK; hint++)
        status = list_record(list, source, params, named, hint);
    for (int i = 0; i < params->count && status == KD_OK; i++)
        if (!list[i].format)
            status = kd_fail(KD_EDATA, "%s: tensor %s is missing", source->name, named[i].name);
    free(named);
    return status;
}

/* --- writing -----------------------------------------------------------------------------------
 */

void kd_ggml_put(kd_ggml_sink *s, const void *bytes, size_t length) {
    if (s->status < 0 || fwrite(bytes, 1, length, s->file) == length) return;
    s->status = kd_fail(KD_EIO, "%s: cannot write: %s", s->path, strerror(errno));
}

void kd_ggml_put_int(kd_ggml_sink *s, int64_t value) {
    const int32_t v = (int32_t)value;
    kd_ggml_put(s, &v, sizeof v);
}

static void write_record(kd_ggml_sink *s, const kd_param *p, const kd_named *named,
                         const kd_encoding *how) {
    const int64_t size = p->tensor.size;
    const size_t bytes = kd_array_bytes((int64_t)kd_encoding_bytes(how, p), 1);
    int64_t ne[4];
    const int rank = kd_ggml_sizes(ne, named, how->format);
    float *values = malloc(kd_array_bytes(size, sizeof *values));
    unsigned char *encoded = malloc(bytes);
    if (values && encoded) {
        kd_param_get(values, p, named->order);
        s->status = kd_encoding_put(encoded, how, p, named->order, values);
        kd_ggml_put_int(s, rank);
        kd_ggml_put_int(s, (int64_t)strlen(named->name));
        kd_ggml_put_int(s, how->format->ggml_type);
        for (int i = 0; i < rank; i++) kd_ggml_put_int(s, ne[i]);
        kd_ggml_put(s, named->name, strlen(named->name));
        kd_ggml_put(s, encoded, bytes);
    } else {
        s->status = kd_fail_memory((size_t)size * sizeof *values, p->name);
    }
    free(values);
    free(encoded);
}

void kd_ggml_records_write(kd_ggml_sink *sink, const kd_params *params, const kd_names *names,
                           const kd_encoding *how) {
    for (int i = 0; i < params->count && sink->status == KD_OK; i++) {
        kd_named named;
        kd_names_find(&named, names, params->list[i]);
        write_record(sink, params->list[i], &named, &how[i]);
    }
}
