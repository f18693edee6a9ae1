#include "base/protobuf.h"

#include <stdlib.h>
#include <string.h>

/* --- writing ---------------------------------------------------------------------------------- */

static void add(kd_proto *out, const void *bytes, size_t length) {
    if (out->failed || length == 0) return;
    if (length > out->capacity - out->length) {
        size_t capacity = out->capacity ? 2 * out->capacity : 256;
        if (capacity < out->length + length) capacity = out->length + length;
        unsigned char *grown = realloc(out->bytes, capacity);
        if (!grown) {
            out->failed = true;
            return;
        }
        out->bytes = grown;
        out->capacity = capacity;
    }
    memcpy(out->bytes + out->length, bytes, length);
    out->length += length;
}

static void add_varint(kd_proto *out, uint64_t value) {
    unsigned char bytes[10];
    size_t n = 0;
    for (; value >= 0x80; value >>= 7) bytes[n++] = (unsigned char)(value | 0x80);
    bytes[n++] = (unsigned char)value;
    add(out, bytes, n);
}

static void add_key(kd_proto *out, int field, kd_proto_kind kind) {
    add_varint(out, (uint64_t)field << 3 | kind);
}

void kd_proto_add_number(kd_proto *out, int field, uint64_t value) {
    add_key(out, field, KD_PROTO_NUMBER);
    add_varint(out, value);
}

void kd_proto_add_float(kd_proto *out, int field, float value) {
    uint32_t bits;
    unsigned char bytes[4];
    memcpy(&bits, &value, sizeof bits);
    for (int i = 0; i < 4; i++) bytes[i] = (unsigned char)(bits >> 8 * i);
    add_key(out, field, KD_PROTO_FOUR);
    add(out, bytes, sizeof bytes);
}

void kd_proto_add_bytes(kd_proto *out, int field, const void *bytes, size_t length) {
    add_key(out, field, KD_PROTO_BYTES);
    add_varint(out, length);
    add(out, bytes, length);
}

void kd_proto_add_text(kd_proto *out, int field, const char *text) {
    kd_proto_add_bytes(out, field, text, strlen(text));
}

void kd_proto_add_message(kd_proto *out, int field, kd_proto *message) {
    kd_proto_add_bytes(out, field, message->bytes, message->length);
    out->failed = out->failed || message->failed;
    message->length = 0;
}

/* --- reading ---------------------------------------------------------------------------------- */

int kd_proto_next_number(uint64_t *out, kd_proto_rest *rest) {
    if (rest->at == rest->end) return 0;
    *out = 0;
    for (int shift = 0; shift < 70 && rest->at < rest->end; shift += 7) {
        const uint64_t byte = *rest->at++;
        if (shift == 63 && byte > 1) return -1;
        *out |= (byte & 0x7f) << shift;
        if (byte < 0x80) return 1;
    }
    return -1;
}

static int next_fixed(uint64_t *out, kd_proto_rest *rest, size_t n) {
    if (kd_proto_length(rest) < n) return -1;
    *out = 0;
    for (size_t i = 0; i < n; i++) *out |= (uint64_t)*rest->at++ << 8 * i;
    return 1;
}

int kd_proto_next(kd_proto_entry *out, kd_proto_rest *rest) {
    uint64_t key;
    const int found = kd_proto_next_number(&key, rest);
    if (found <= 0) return found;
    if (key >> 3 == 0 || key >> 3 > UINT32_MAX) return -1;
    *out = (kd_proto_entry){.field = (uint32_t)(key >> 3), .kind = (kd_proto_kind)(key & 7)};
    switch (out->kind) {
    case KD_PROTO_EIGHT:
        return next_fixed(&out->number, rest, 8);
    case KD_PROTO_FOUR:
        return next_fixed(&out->number, rest, 4);
    case KD_PROTO_NUMBER:
        return kd_proto_next_number(&out->number, rest) == 1 ? 1 : -1;
    case KD_PROTO_BYTES:
        if (kd_proto_next_number(&out->number, rest) != 1 || out->number > kd_proto_length(rest))
            return -1;
        out->rest = (kd_proto_rest){rest->at, rest->at + out->number};
        rest->at = out->rest.end;
        return 1;
    }
    return -1;
}
