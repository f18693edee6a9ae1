#include "data/sound_part.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "data/sound_decoder.h"

int64_t kd_sound_part_read(const kd_sound_part *part, void *out, int64_t n, int64_t at) {
    uint8_t *bytes = out;
    const int64_t place = part->from + at;
    if (n > part->to - place) n = part->to - place;
    const int64_t got = kd_sound_bytes_read(part->file, out, n, place);
    for (int i = 0; i < part->patch_length; i++) {
        const int64_t to = part->patch_at + i - place;
        if (to >= 0 && to < got) bytes[to] = part->patch[i];
    }
    return got;
}

int kd_sound_cut_short(const kd_sound_bytes *file, const char *what, int64_t at, uint64_t stated,
                       int64_t there) {
    return kd_fail(KD_EDATA,
                   "%s: cut short: the %s at byte %lld has %llu bytes, %lld are there; get the "
                   "file again, or keep what is there: `ffmpeg -i %s sound.flac`",
                   file->name, what, (long long)at, (unsigned long long)stated, (long long)there,
                   file->name);
}

/* --- FLAC ------------------------------------------------------------------------------------- */

/* Goes to where another file begins, joined to this one: its mark and its first block's head. */
static int find_flac(kd_sound_part *part) {
    enum { MARK = 8, PIECE = 1 << 16 };
    uint8_t piece[PIECE + MARK];
    part->open = kd_flac_open;
    for (int64_t at = part->from + MARK, n; at < part->file->length; at += n - MARK + 1) {
        n = kd_sound_bytes_read(part->file, piece, sizeof piece, at);
        if (n < MARK) break;
        const uint8_t *from = piece, *found;
        while ((found = memmem(from, (size_t)(piece + n - from), "fLaC", 4)) != NULL) {
            from = found + 4;
            if (piece + n - found < MARK) break;
            if ((found[4] & 0x7f) == 0 && memcmp(found + 5, "\0\0\x22", 3) == 0) {
                part->to = at + (found - piece);
                return KD_OK;
            }
        }
    }
    part->to = part->file->length;
    return KD_OK;
}

/* --- tags ------------------------------------------------------------------------------------- */

/* ID3v2 tags stand in front of any format. Goes behind them. */
static int skip_tags(int64_t *at, kd_sound_bytes *file) {
    uint8_t head[10];
    while (kd_sound_bytes_read(file, head, 10, *at) == 10 && memcmp(head, "ID3", 3) == 0 &&
           head[3] < 0xff && ((head[6] | head[7] | head[8] | head[9]) & 0x80) == 0) {
        const int64_t size = (int64_t)head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9];
        const int64_t all = 10 + size + (head[5] & 0x10 ? 10 : 0);
        if (all > file->length - *at)
            return kd_sound_cut_short(file, "ID3 tag", *at, (uint64_t)all, file->length - *at);
        *at += all;
    }
    return KD_OK;
}

/* By an APE tag's header or footer: all of its bytes. The size counts the footer alone. */
static int64_t ape_size(const uint8_t ape[32]) {
    return (ape[12] | ape[13] << 8 | ape[14] << 16 | (int64_t)ape[15] << 24) +
           (ape[23] & 0x80 ? 32 : 0);
}

/* ID3v1 and APE tags stand behind streams of frames or pages. Takes them off the end. */
static void drop_tags(kd_sound_bytes *file, int64_t from) {
    for (;;) {
        uint8_t tail[128], *ape = tail + 96;
        const int64_t left = file->length - from;
        if (left < 128 || kd_sound_bytes_read(file, tail, 128, file->length - 128) < 128) return;
        int64_t size = memcmp(tail, "TAG", 3) == 0 ? 128 : 0;
        if (size == 0 && memcmp(ape, "APETAGEX", 8) == 0) size = ape_size(ape);
        if (size < 32 || size >= left) return;
        file->length -= size;
    }
}

/* --- MPEG audio ------------------------------------------------------------------------------- */

enum { LOOK = 1 << 16 }; /* how far frames are looked for at once */

/* The bytes of the frame that begins with `head`, 0 when they are not stated; −1: it is none. */
static int frame_size(const uint8_t head[4]) {
    static const short RATES[3] = {22050, 24000, 16000}; /* of MPEG 2 */
    static const short KBITS[5][15] = {
        {0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448},
        {0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384},
        {0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320},
        {0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256},
        {0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160}};
    const int version = head[1] >> 3 & 3, layer = 4 - (head[1] >> 1 & 3);
    const int bits = head[2] >> 4, rate = head[2] >> 2 & 3, padding = head[2] >> 1 & 1;
    if (head[0] != 0xff || head[1] < 0xe0 || version == 1 || layer == 4 || bits == 15 || rate == 3)
        return -1;
    const bool first = version == 3;
    const int kbits = KBITS[first ? layer - 1 : layer == 1 ? 3 : 4][bits];
    const int hz = first ? 2 * RATES[rate] : version == 2 ? RATES[rate] : RATES[rate] / 2;
    if (layer == 1) return (12000 * kbits / hz + padding) * 4;
    return (layer == 3 && !first ? 72000 : 144000) * kbits / hz + padding;
}

bool kd_sound_is_mpeg(kd_sound_bytes *file, int64_t at) {
    for (int frames = 0; frames < 3; frames++) {
        uint8_t head[4];
        if (at == file->length && frames > 0) return true;
        if (kd_sound_bytes_read(file, head, 4, at) < 4) return frames > 0;
        const int size = frame_size(head);
        if (size < 0) return false;
        if (size == 0) return false; /* "free format", or numbers that look like it */
        at += size;
    }
    return true;
}

/* The first frame of the 64 kB from `at` on, or −1: players look for it. */
static int64_t find_frame(kd_sound_bytes *file, int64_t at) {
    uint8_t piece[LOOK + 3];
    const int64_t n = kd_sound_bytes_read(file, piece, sizeof piece, at);
    for (int64_t i = 0; i + 4 <= n; i++)
        if (frame_size(piece + i) > 0 && kd_sound_is_mpeg(file, at + i)) return at + i;
    return -1;
}

/* A tag between the frames of files that were joined: how long it is, or 0. */
static int64_t tag_size(kd_sound_bytes *file, int64_t at) {
    uint8_t head[32] = {0};
    int64_t behind = at;
    kd_sound_bytes_read(file, head, sizeof head, at);
    if (skip_tags(&behind, file) == KD_OK && behind > at) return behind - at;
    if (memcmp(head, "APETAGEX", 8) == 0) return ape_size(head);
    return memcmp(head, "TAG", 3) == 0 ? 128 : 0;
}

/* Decoders pass over what is no frame. Some of that is harmless; where it is a tenth of the file,
 * much of the sound is lost. */
static int find_mpeg(kd_sound_part *part) {
    kd_sound_bytes *file = part->file;
    int64_t strange = 0, first = 0;
    part->open = kd_mpeg_open;
    part->to = file->length;
    for (int64_t at = part->from, next; at < part->to; at = next) {
        uint8_t head[4] = {0};
        kd_sound_bytes_read(file, head, 4, at);
        const int size = frame_size(head);
        next = at + (size > 0 ? size : tag_size(file, at));
        if (next > at) continue;
        next = find_frame(file, at);
        if (next < 0) next = at + LOOK < part->to ? at + LOOK : part->to;
        if (strange == 0) first = at;
        strange += next - at;
    }
    if (10 * strange <= part->to - part->from) return KD_OK;
    return kd_fail(
        KD_EDATA,
        "%s: damaged: %lld of %lld bytes are no MPEG frames, the first at byte %lld; get "
        "the file again, or keep what can be read: `ffmpeg -i %s sound.flac`",
        file->name, (long long)strange, (long long)(part->to - part->from), (long long)first,
        file->name);
}

/* --- which container -------------------------------------------------------------------------- */

typedef struct {
    int at; /* where the mark stands */
    const char *mark;
    int length;
    int (*find)(kd_sound_part *part); /* NULL: left to kd_av_open */
    const char *name;
    bool stream; /* tags may stand behind it */
} kind;

#define MARK(at, mark) at, mark, sizeof(mark) - 1
static const kind KINDS[] = {
    {MARK(0, "OggS"), kd_sound_find_ogg, "Ogg", true},
    {MARK(0, "fLaC"), find_flac, "FLAC", true},
    {MARK(8, "WAVE"), kd_sound_find_wav, "WAV", false},
    {MARK(0, "riff\x2e\x91\xcf\x11"), kd_sound_find_w64, "W64", false},
    {MARK(8, "AIF"), kd_sound_find_aiff, "AIFF", false},
    {MARK(0, "caff"), kd_sound_find_caf, "CAF", false},
    {MARK(0, ".snd"), kd_sound_find_au, "AU", false},
    {MARK(0, "dns."), kd_sound_find_au, "AU", false},
    {MARK(0, "NIST_1A\n"), kd_sound_find_nist, "NIST SPHERE", false},
    {MARK(4, "ftyp"), NULL, "MPEG-4 (m4a, mp4, mov)", false},
    {MARK(4, "moov"), NULL, "QuickTime (mov)", false},
    {MARK(4, "mdat"), NULL, "QuickTime (mov)", false},
    {MARK(0, "\x1a\x45\xdf\xa3"), NULL, "Matroska (webm, mka, mkv)", false},
    {MARK(0, "#!AMR"), NULL, "AMR", false},
    {MARK(0, "\x30\x26\xb2\x75\x8e\x66\xcf\x11"), NULL, "ASF (wma)", false},
    {MARK(0, "ADIF"), NULL, "AAC", false},
    {MARK(0, "wvpk"), NULL, "WavPack", false},
    {MARK(0, "MAC "), NULL, "Monkey's Audio", false},
    {MARK(0, "TTA1"), NULL, "TTA", false},
    {MARK(0, "FLV\x01"), NULL, "Flash video", false},
    {MARK(8, "AVI "), NULL, "AVI", false},
    {MARK(0, "\x0b\x77"), NULL, "AC-3", false},
    {MARK(0, "\0\0\1\xba"), NULL, "MPEG video", false},
};
static const kind MPEG = {0, "", 0, find_mpeg, "MPEG audio", true},
                  ADTS = {0, "", 0, NULL, "AAC", false},
                  TRANSPORT = {0, "", 0, NULL, "MPEG transport stream", false};

/* Packets of 188 bytes, each with the same first byte. */
static bool is_transport(kd_sound_bytes *file, int64_t at) {
    for (int i = 0; i < 4; i++) {
        uint8_t byte;
        if (kd_sound_bytes_read(file, &byte, 1, at + 188 * i) < 1 || byte != 0x47) return false;
    }
    return true;
}

static const kind *recognise(kd_sound_bytes *file, int64_t at) {
    uint8_t head[16] = {0};
    const int64_t n = kd_sound_bytes_read(file, head, sizeof head, at);
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++) {
        const kind *k = &KINDS[i];
        if (n >= k->at + k->length && memcmp(head + k->at, k->mark, (size_t)k->length) == 0)
            return k;
    }
    if (kd_sound_is_mpeg(file, at)) return &MPEG;
    if (head[0] == 0xff && (head[1] & 0xf6) == 0xf0) return &ADTS;
    return is_transport(file, at) ? &TRANSPORT : NULL;
}

/* Formats without a row are left to libsndfile, unless MPEG frames follow some other bytes. */
static int find_unknown(kd_sound_part *out) {
    const int64_t frame = find_frame(out->file, out->from);
    if (frame >= 0) {
        drop_tags(out->file, frame);
        out->from = frame;
        return find_mpeg(out);
    }
    out->open = kd_sndfile_open;
    out->to = out->file->length;
    return KD_OK;
}

int kd_sound_part_find(kd_sound_part *out, bool *found, kd_sound_bytes *file, int64_t at) {
    const bool first = at == 0;
    if (file->length == 0) return kd_fail(KD_EDATA, "%s: is empty", file->name);
    int status = skip_tags(&at, file);
    if (status < 0 && first) return status;
    *out = (kd_sound_part){.file = file, .from = at};
    const kind *k = recognise(file, at);
    *found = first || (k && k->find);
    if (!*found) return KD_OK;
    if (!k) return find_unknown(out);
    if (!k->find) {
        out->open = kd_av_open;
        out->what = k->name;
        out->to = file->length;
        return KD_OK;
    }
    if (k->stream) drop_tags(file, at);
    return k->find(out);
}
