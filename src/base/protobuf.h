/* The wire format of Protocol Buffers, for files of other programs that are made of it: a message
 * is a list of numbered fields, each a number or a stretch of bytes, which may be a text, an array
 * or another message. What the fields mean is not known here. */
#ifndef KD_BASE_PROTOBUF_H
#define KD_BASE_PROTOBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- writing ---------------------------------------------------------------------------------- */

/* A message that grows. Start with {0}. After a failed allocation `failed` stays set and the rest
 * is harmless, so a writer checks once at the end. free(bytes) at the end. */
typedef struct {
    unsigned char *bytes;
    size_t length, capacity;
    bool failed;
} kd_proto;

void kd_proto_add_number(kd_proto *out, int field, uint64_t value); /* int32, int64, enum … */
void kd_proto_add_float(kd_proto *out, int field, float value);
void kd_proto_add_bytes(kd_proto *out, int field, const void *bytes, size_t length);
void kd_proto_add_text(kd_proto *out, int field, const char *text);
/* A message within: its bytes move over, and it is empty again. */
void kd_proto_add_message(kd_proto *out, int field, kd_proto *message);

/* --- reading ---------------------------------------------------------------------------------- */

typedef enum {
    KD_PROTO_NUMBER = 0,
    KD_PROTO_EIGHT = 1, /* bytes: a double, a fixed64 */
    KD_PROTO_BYTES = 2,
    KD_PROTO_FOUR = 5 /* bytes: a float, a fixed32    */
} kd_proto_kind;

/* A stretch of somebody else's bytes that is still to be read. */
typedef struct {
    const unsigned char *at, *end;
} kd_proto_rest;

typedef struct {
    uint32_t field;
    kd_proto_kind kind;
    uint64_t number;    /* NUMBER; of four or eight bytes their bits, little-endian */
    kd_proto_rest rest; /* BYTES: what is in them                                   */
} kd_proto_entry;

/* The next field of a message: 1; 0 at its end; −1 where what follows is none: a length beyond the
 * end, a number of more than ten bytes, field 0, the kinds 3 and 4 of old. */
int kd_proto_next(kd_proto_entry *out, kd_proto_rest *rest);

/* The next number of a packed array, as kd_proto_next. */
int kd_proto_next_number(uint64_t *out, kd_proto_rest *rest);

static inline size_t kd_proto_length(const kd_proto_rest *rest) {
    return (size_t)(rest->end - rest->at);
}

#endif
