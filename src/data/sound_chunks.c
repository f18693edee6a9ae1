/* Containers of chunks: a name, a size, that many bytes. Writers that write into a pipe cannot go
 * back to put the sizes right; what they leave is known and means "to the end". */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "data/sound_decoder.h"

/* The form of a container's chunks. */
typedef struct {
    int name, size; /* bytes of the name and of the size behind it */
    bool big;       /* endian                                      */
    int counted;    /* bytes of the head that the size counts too  */
    int align;      /* chunks begin at multiples of this           */
} form;

static const form RIFF = {4, 4, false, 0, 2}, RIFX = {4, 4, true, 0, 2},
                  W64 = {16, 8, false, 24, 8}, CAF = {4, 8, true, 0, 1};

typedef struct {
    int64_t at, body; /* the chunk begins at `at`, its bytes at `body` */
    uint64_t size;    /* of its bytes, as stated               */
    char name[4];
} chunk;

static uint64_t number(const uint8_t *b, int n, bool big) {
    uint64_t value = 0;
    for (int i = 0; i < n; i++) value = value << 8 | b[big ? i : n - 1 - i];
    return value;
}

static bool is_printable(const char *name) {
    for (int i = 0; i < 4; i++)
        if (name[i] < ' ' || name[i] > '~') return false;
    return true;
}

static bool read_chunk(chunk *out, kd_sound_bytes *file, const form *f, int64_t at) {
    uint8_t head[24];
    const int n = f->name + f->size;
    if (kd_sound_bytes_read(file, head, n, at) < n) return false;
    memcpy(out->name, head, 4);
    out->at = at;
    out->body = at + n;
    out->size = number(head + f->name, f->size, f->big);
    out->size -= out->size < (uint64_t)f->counted ? out->size : (uint64_t)f->counted;
    return is_printable(out->name);
}

/* Where the chunk behind this one begins, or −1 when this one goes beyond the end. */
static int64_t next_chunk(const chunk *c, const kd_sound_bytes *file, const form *f,
                          int64_t start) {
    if (c->size > (uint64_t)(file->length - c->body)) return -1;
    const int64_t end = c->body + (int64_t)c->size - start;
    return start + (end + f->align - 1) / f->align * f->align;
}

/* The first chunk of that name from `at` on; chunks are counted from `start`. */
static bool find_chunk(chunk *out, kd_sound_bytes *file, const form *f, int64_t start, int64_t at,
                       const char *name) {
    while (at >= 0 && read_chunk(out, file, f, at)) {
        if (memcmp(out->name, name, 4) == 0) return true;
        at = next_chunk(out, file, f, start);
    }
    return false;
}

/* Does nothing but whole chunks lie between `at` and the end? Then a size of 0 before is meant. */
static bool only_chunks(kd_sound_bytes *file, const form *f, int64_t start, int64_t at) {
    chunk c;
    while (at >= 0 && at < file->length && read_chunk(&c, file, f, at))
        at = next_chunk(&c, file, f, start);
    return at >= file->length;
}

/* Sizes that stand for "unknown": 0, all ones or nearly, and the round numbers that writers choose
 * so that readers who do not know better read far enough: 0x7FFFFFFF, 0x80000000, sox's 0x7F000000,
 * each give or take the size of a header. */
static bool stands_for_unknown(uint64_t size, int bytes) {
    const uint64_t slack = 1 << 16, ones = bytes == 8 ? UINT64_MAX : UINT32_MAX;
    if (size > ones - slack) return true;
    if (bytes == 8) return size >= INT64_MAX - slack && size <= INT64_MAX + slack;
    return (size >= 0x7f000000 && size < 0x7f000000 + 4096) ||
           (size >= 0x7fff0000 && size < 0x80000000 + slack);
}

/* A chunk of samples, and where its size is stated. */
typedef struct {
    const char *what;
    int64_t begin;         /* of the samples                            */
    uint64_t stated;       /* bytes of samples                          */
    int64_t size_at;       /* in the file                               */
    int size_bytes, extra; /* the size counts that much beside them     */
    bool big, empty;       /* empty: a size of 0 is meant               */
} samples;

/* Sets part->to and puts the size right. */
static int settle(kd_sound_part *part, const samples *s) {
    const int64_t there = part->file->length - s->begin;
    if (s->stated <= (uint64_t)there && (s->stated > 0 || s->empty)) {
        part->to = s->begin + (int64_t)s->stated;
        return KD_OK;
    }
    if (s->stated > 0 && !stands_for_unknown(s->stated, s->size_bytes))
        return kd_sound_cut_short(part->file, s->what, s->begin, s->stated, there);
    const uint64_t size = (uint64_t)(there + s->extra);
    if (s->size_bytes == 4 && size > UINT32_MAX)
        return kd_fail(KD_EDATA,
                       "%s: %lld bytes of samples from a pipe, more than this format can say; "
                       "`ffmpeg -i %s sound.flac` makes a file of them that can be read",
                       part->file->name, (long long)there, part->file->name);
    part->to = part->file->length;
    part->patch_at = s->size_at;
    part->patch_length = s->size_bytes;
    for (int i = 0; i < s->size_bytes; i++)
        part->patch[i] = (uint8_t)(size >> 8 * (s->big ? s->size_bytes - 1 - i : i));
    return KD_OK;
}

/* Chunks behind the samples belong to the part, until another file begins or something that is no
 * chunk. */
static void add_trailer(kd_sound_part *part, const form *f, const char *const *opening) {
    const int64_t samples_end = part->to;
    chunk c;
    int64_t at = part->from + (samples_end - part->from + f->align - 1) / f->align * f->align;
    uint8_t padding = 0;
    kd_sound_bytes_read(part->file, &padding, 1, samples_end);
    if (padding != 0 && read_chunk(&c, part->file, f, samples_end))
        at = samples_end; /* a chunk of odd size without the byte that should follow it */
    const int64_t start = at;
    bool other = false;
    while (at >= 0 && !other && read_chunk(&c, part->file, f, at)) {
        for (int i = 0; opening[i]; i++) other = other || memcmp(c.name, opening[i], 4) == 0;
        if (!other) at = next_chunk(&c, part->file, f, start);
    }
    part->to = at >= 0 && at < part->file->length ? at : part->file->length;
}

/* --- WAV, RF64, W64 --------------------------------------------------------------------------- */

enum { WAVE_MPEG = 0x50, WAVE_MP3 = 0x55 };

int kd_sound_find_wav(kd_sound_part *part) {
    static const char *const opening[] = {"RIFF", "RIFX", "RF64", "BW64", NULL};
    kd_sound_bytes *file = part->file;
    uint8_t head[4], tag[2] = {0}, sizes[16];
    chunk data, other;
    const int64_t start = part->from, first = start + 12;
    kd_sound_bytes_read(file, head, sizeof head, start);
    const form *f = memcmp(head, "RIFX", 4) == 0 ? &RIFX : &RIFF;
    part->open = kd_sndfile_open;
    part->to = file->length;
    if (!find_chunk(&data, file, f, start, first, "data")) return KD_OK; /* libsndfile says why */
    samples s = {"data chunk", data.body, data.size, data.at + 4, 4, 0, f->big, false};
    if (head[1] != 'I' && data.size == UINT32_MAX &&
        find_chunk(&other, file, f, start, first, "ds64") &&
        kd_sound_bytes_read(file, sizes, 16, other.body) == 16) {
        s.stated = number(sizes + 8, 8, false);
        s.size_at = other.body + 8;
        s.size_bytes = 8;
    }
    s.empty = s.stated == 0 && only_chunks(file, f, start, data.body);
    int status = settle(part, &s);
    if (status < 0) return status;
    if (find_chunk(&other, file, f, start, first, "fmt ") && other.at < data.at)
        kd_sound_bytes_read(file, tag, 2, other.body);
    const uint64_t kind = number(tag, 2, f->big);
    if (kind == WAVE_MPEG || kind == WAVE_MP3) {
        part->from = data.body;
        part->open = kd_mpeg_open;
        return KD_OK;
    }
    add_trailer(part, f, opening);
    return KD_OK;
}

int kd_sound_find_w64(kd_sound_part *part) {
    static const char *const opening[] = {"riff", NULL};
    chunk data;
    part->open = kd_sndfile_open;
    part->to = part->file->length;
    if (!find_chunk(&data, part->file, &W64, part->from, part->from + 40, "data")) return KD_OK;
    samples s = {"data chunk", data.body, data.size, data.at + 16, 8, 24, false, false};
    s.empty = only_chunks(part->file, &W64, part->from, data.body);
    int status = settle(part, &s);
    if (status == KD_OK) add_trailer(part, &W64, opening);
    return status;
}

/* --- AIFF, CAF, AU ---------------------------------------------------------------------------- */

int kd_sound_find_aiff(kd_sound_part *part) {
    static const char *const opening[] = {"FORM", NULL};
    chunk data;
    part->open = kd_sndfile_open;
    part->to = part->file->length;
    if (!find_chunk(&data, part->file, &RIFX, part->from, part->from + 12, "SSND")) return KD_OK;
    samples s = {"SSND chunk",
                 data.body + 8,
                 data.size < 8 ? 0 : data.size - 8,
                 data.at + 4,
                 4,
                 8,
                 true,
                 data.size == 8 && only_chunks(part->file, &RIFX, part->from, data.body + 8)};
    int status = part->file->length < s.begin ? KD_OK : settle(part, &s);
    if (status == KD_OK) add_trailer(part, &RIFX, opening);
    return status;
}

int kd_sound_find_caf(kd_sound_part *part) {
    static const char *const opening[] = {"caff", NULL};
    chunk data;
    part->open = kd_sndfile_open;
    part->to = part->file->length;
    if (!find_chunk(&data, part->file, &CAF, part->from, part->from + 8, "data")) return KD_OK;
    samples s = {"data chunk",
                 data.body + 4,
                 data.size < 4 ? 0 : data.size - 4,
                 data.at + 4,
                 8,
                 4,
                 true,
                 data.size == 4 && only_chunks(part->file, &CAF, part->from, data.body + 4)};
    int status = part->file->length < s.begin ? KD_OK : settle(part, &s);
    if (status == KD_OK) add_trailer(part, &CAF, opening);
    return status;
}

/* magic, where the samples begin, their size, … */
int kd_sound_find_au(kd_sound_part *part) {
    uint8_t head[12];
    part->open = kd_sndfile_open;
    part->to = part->file->length;
    if (kd_sound_bytes_read(part->file, head, sizeof head, part->from) < 12) return KD_OK;
    const bool big = head[0] == '.';
    samples s = {"part of samples",
                 part->from + (int64_t)number(head + 4, 4, big),
                 number(head + 8, 4, big),
                 part->from + 8,
                 4,
                 0,
                 big,
                 false};
    if (s.begin > part->file->length || s.stated == UINT32_MAX) return KD_OK;
    return settle(part, &s);
}

/* --- NIST SPHERE ------------------------------------------------------------------------------ */

static int64_t nist_field(const char *head, const char *name) {
    const char *at = strstr(head, name);
    return at ? strtoll(at + strlen(name), NULL, 10) : 0;
}

/* A header in text, of as many bytes as its second line says. */
int kd_sound_find_nist(kd_sound_part *part) {
    char head[1025] = "";
    part->open = kd_sndfile_open;
    part->to = part->file->length;
    kd_sound_bytes_read(part->file, head, 1024, part->from);
    const int64_t begin = part->from + strtoll(head + 8, NULL, 10);
    const int64_t frames = nist_field(head, "\nsample_count -i ");
    const int64_t channels = nist_field(head, "\nchannel_count -i ");
    const int64_t width = nist_field(head, "\nsample_n_bytes -i ");
    int64_t stated;
    if (begin > part->file->length || frames < 1 || channels < 1 || width < 1 ||
        __builtin_mul_overflow(frames, channels, &stated) ||
        __builtin_mul_overflow(stated, width, &stated) || begin + stated < 0 ||
        stated <= part->file->length - begin)
        return KD_OK;
    return kd_sound_cut_short(part->file, "part of samples", begin, (uint64_t)stated,
                              part->file->length - begin);
}
