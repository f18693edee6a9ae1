/* Ogg: pages of packets, and one stream behind another ("chained"). Its decoders pass over pages
 * that are damaged or missing, so pages are checked before. */
#include <string.h>

#include "base/error.h"
#include "data/sound_decoder.h"

enum { HEAD = 27, BEGINS = 2, ENDS = 4, PAGE_MAX = HEAD + 255 + 255 * 255 };

typedef struct {
    int64_t at, size, body; /* body: where its packets begin in byte */
    uint8_t byte[PAGE_MAX];
    uint32_t table[256]; /* of the checksum */
} page;

static uint32_t number(const uint8_t *b) {
    return (uint32_t)b[3] << 24 | (uint32_t)b[2] << 16 | (uint32_t)b[1] << 8 | b[0];
}

/* Refuses the page. */
static int damaged(const kd_sound_bytes *f, const page *p, const char *why) {
    return kd_fail(KD_EDATA,
                   "%s: at byte %lld: %s; get the file again, or keep what can be read: `ffmpeg -i "
                   "%s sound.flac`",
                   f->name, (long long)p->at, why, f->name);
}

/* The cyclic redundancy check of RFC 3533: over the page, its own four bytes as 0. */
static uint32_t checksum(const page *p) {
    uint32_t sum = 0;
    for (int64_t i = 0; i < p->size; i++) {
        const uint8_t byte = i >= 22 && i < 26 ? 0 : p->byte[i];
        sum = sum << 8 ^ p->table[sum >> 24 ^ byte];
    }
    return sum;
}

static void make_table(uint32_t table[256]) {
    for (uint32_t i = 0; i < 256; i++) {
        table[i] = i << 24;
        for (int bit = 0; bit < 8; bit++)
            table[i] = table[i] << 1 ^ (table[i] >> 31 ? UINT32_C(0x04c11db7) : 0);
    }
}

/* Pages are "OggS", version, flags, position (8), stream (4), page number (4), checksum (4), the
 * number of segments, their sizes, their bytes. */
static int read_page(page *out, kd_sound_bytes *f, int64_t at) {
    const int64_t left = f->length - at;
    out->at = at;
    const int64_t there = kd_sound_bytes_read(f, out->byte, HEAD + 255, at);
    if (there < HEAD || memcmp(out->byte, "OggS", 4) != 0 || there < HEAD + out->byte[26])
        return damaged(f, out, "no whole Ogg page");
    out->size = out->body = HEAD + out->byte[26];
    for (int i = 0; i < out->byte[26]; i++) out->size += out->byte[HEAD + i];
    if (out->size > left) return kd_sound_cut_short(f, "Ogg page", at, (uint64_t)out->size, left);
    kd_sound_bytes_read(f, out->byte, out->size, at);
    return checksum(out) == number(out->byte + 22)
               ? KD_OK
               : damaged(f, out, "the checksum of the Ogg page is wrong");
}

/* Files are filled up with zeros by some programs. */
static bool only_zeros(kd_sound_bytes *f, int64_t at) {
    while (at < f->length) {
        uint8_t piece[4096];
        const int64_t n = kd_sound_bytes_read(f, piece, sizeof piece, at);
        for (int64_t i = 0; i < n; i++)
            if (piece[i] != 0) return false;
        if (n <= 0) return false;
        at += n;
    }
    return true;
}

/* What the stream holds, by its first packet. */
static int choose_decoder(kd_sound_part *part, const page *p) {
    const uint8_t *packet = p->byte + p->body;
    const int64_t n = p->size - p->body;
    part->open =
        n > 5 && memcmp(packet, "\x7f\x46LAC", 5) == 0 ? kd_ogg_flac_open : kd_sndfile_open;
    if (part->open == kd_ogg_flac_open || (n > 7 && memcmp(packet, "\x01vorbis", 7) == 0) ||
        (n > 8 && memcmp(packet, "OpusHead", 8) == 0))
        return KD_OK;
    return kd_fail(
        KD_EDATA,
        "%s: at byte %lld: an Ogg stream that is not Vorbis, Opus or FLAC; `ffmpeg -i %s "
        "sound.flac` may know it",
        part->file->name, (long long)p->at, part->file->name);
}

/* What a page must agree with in the one before. */
typedef struct {
    int flags;
    uint32_t stream, number;
} before;

static before remember(const page *p) {
    return (before){p->byte[5], number(p->byte + 14), number(p->byte + 18)};
}

static int check_order(const kd_sound_bytes *f, const page *p, const before *b) {
    if ((p->byte[5] & BEGINS) && (b->flags & BEGINS))
        return kd_fail(
            KD_EDATA,
            "%s: at byte %lld: a second stream at the same time as the first; choose one: "
            "`ffmpeg -i %s -map 0:a:0 sound.flac`",
            f->name, (long long)p->at, f->name);
    if (p->byte[5] & BEGINS) return KD_OK;
    if (number(p->byte + 14) != b->stream)
        return damaged(f, p, "an Ogg page of a stream that has not begun");
    if (number(p->byte + 18) != b->number + 1)
        return damaged(f, p, "Ogg pages are missing before this one");
    return KD_OK;
}

int kd_sound_find_ogg(kd_sound_part *part) {
    kd_sound_bytes *f = part->file;
    page p;
    make_table(p.table);
    int status = read_page(&p, f, part->from);
    if (status == KD_OK) status = choose_decoder(part, &p);
    before b = remember(&p);
    part->to = part->from + p.size;
    while (status == KD_OK && part->to < f->length) {
        if (only_zeros(f, part->to)) {
            f->length = part->to;
            break;
        }
        status = read_page(&p, f, part->to);
        if (status == KD_OK) status = check_order(f, &p, &b);
        if (status == KD_OK && p.byte[5] & BEGINS) break; /* the next stream */
        b = remember(&p);
        part->to += p.size;
    }
    if (status == KD_OK && !(b.flags & ENDS)) {
        p.at = part->to;
        return damaged(f, &p, "cut short: the last Ogg page before does not end the stream");
    }
    return status;
}
