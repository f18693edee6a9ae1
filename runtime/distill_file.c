/* A GGUF file and the JSON inside of it, read where they lie. */
#include "distill_internal.h"

/* --- the file --------------------------------------------------------------------------------- */

/* The next n bytes, or NULL, and then the distill_cursor gives nothing more. */
const uint8_t *distill_take(distill_cursor *c, uint64_t n) {
    const uint8_t *at = c->at;
    if (c->bad || n > c->left) {
        c->bad = 1;
        return NULL;
    }
    c->at += n;
    c->left -= (size_t)n;
    return at;
}

static uint64_t take_number(distill_cursor *c, size_t bytes) {
    uint64_t value = 0;
    const uint8_t *at = distill_take(c, bytes);
    if (at) memcpy(&value, at, bytes);
    return value;
}

const char *distill_take_string(distill_cursor *c, uint64_t *length) {
    *length = take_number(c, 8);
    return (const char *)distill_take(c, *length);
}

/* `count` values of a kind. */
static void pass_values(distill_cursor *c, uint32_t element, uint64_t count) {
    static const uint8_t size[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    uint64_t length, i;
    if (element == DISTILL_KEY_STRING) {
        for (i = 0; i < count && !c->bad; i++) distill_take_string(c, &length);
        return;
    }
    if (element >= sizeof size || size[element] == 0 || count > c->left)
        c->bad = 1;
    else
        distill_take(c, count * size[element]);
}

/* One key of the file. */
typedef struct {
    const char *name;
    uint64_t length, count;
    uint32_t element;
    const uint8_t *value;
} key_entry;

static void take_key(distill_cursor *c, key_entry *key) {
    key->name = distill_take_string(c, &key->length);
    key->element = (uint32_t)take_number(c, 4);
    key->count = 1;
    if (key->element == DISTILL_KEY_ARRAY) {
        key->element = (uint32_t)take_number(c, 4);
        key->count = take_number(c, 8);
    }
    key->value = c->at;
    pass_values(c, key->element, key->count);
}

const uint8_t *distill_file_key(uint64_t *count, const distill_file *f, const char *name,
                                uint32_t element) {
    distill_cursor c = f->keys;
    key_entry key;
    uint64_t i;
    for (i = 0; i < f->key_count; i++) {
        take_key(&c, &key);
        if (c.bad) return NULL;
        if (key.length != strlen(name) || memcmp(key.name, name, (size_t)key.length) != 0) continue;
        *count = key.count;
        return key.element == element ? key.value : NULL;
    }
    return NULL;
}

typedef struct {
    const char *name;
    uint64_t length, count, offset;
    uint32_t type;
} tensor_entry;

static void take_tensor(distill_cursor *c, tensor_entry *t) {
    uint32_t rank, i;
    t->name = distill_take_string(c, &t->length);
    rank = (uint32_t)take_number(c, 4);
    if (rank > 4) c->bad = 1;
    t->count = 1;
    for (i = 0; i < rank && !c->bad; i++) {
        const uint64_t n = take_number(c, 8);
        if (n == 0 || n > INT32_MAX || t->count * n > INT32_MAX) c->bad = 1;
        t->count *= n;
    }
    t->type = (uint32_t)take_number(c, 4);
    t->offset = take_number(c, 8);
}

int32_t distill_file_parse(distill_file *f, const void *bytes, size_t length) {
    distill_cursor c;
    key_entry key;
    tensor_entry tensor;
    const uint8_t *magic, *found;
    uint64_t i, count, alignment = 32;
    f->bytes = c.at = bytes;
    c.left = length;
    c.bad = length > UINT32_MAX;
    magic = distill_take(&c, 4);
    if (!magic || memcmp(magic, "GGUF", 4) != 0 || take_number(&c, 4) != 3)
        return DISTILL_RUN_DAMAGED;
    f->tensor_count = take_number(&c, 8);
    f->key_count = take_number(&c, 8);
    f->keys = c;
    for (i = 0; i < f->key_count && !c.bad; i++) take_key(&c, &key);
    f->tensors = c;
    for (i = 0; i < f->tensor_count && !c.bad; i++) take_tensor(&c, &tensor);
    found = distill_file_key(&count, f, "general.alignment", 4);
    if (found && count == 1) alignment = distill_word(found);
    if (alignment == 0 || alignment > 1 << 16 || (alignment & (alignment - 1)) != 0) c.bad = 1;
    while (!c.bad && (length - c.left) % alignment != 0) distill_take(&c, 1);
    f->data = c;
    return c.bad ? DISTILL_RUN_DAMAGED : DISTILL_RUN_OK;
}

const uint8_t *distill_run_key(uint64_t *count, const void *blob, size_t length, const char *name,
                               uint32_t kind) {
    distill_file f;
    return distill_file_parse(&f, blob, length) == DISTILL_RUN_OK
               ? distill_file_key(count, &f, name, kind)
               : NULL;
}

int32_t distill_file_tensor(uint32_t *out, const distill_file *f, distill_text name,
                            const char *suffix, uint32_t type, uint64_t count) {
    distill_cursor c = f->tensors;
    const size_t own = (size_t)(name.end - name.at), behind = strlen(suffix);
    const uint64_t bytes = type == DISTILL_TYPE_I8 ? count : 4 * count;
    tensor_entry t;
    uint64_t i;
    for (i = 0; i < f->tensor_count; i++) {
        take_tensor(&c, &t);
        if (c.bad) return DISTILL_RUN_DAMAGED;
        if (t.length != own + behind || memcmp(t.name, name.at, own) != 0 ||
            memcmp(t.name + own, suffix, behind) != 0)
            continue;
        if (t.type != type || t.count != count || t.offset > f->data.left ||
            bytes > f->data.left - t.offset)
            return DISTILL_RUN_TENSOR;
        *out = (uint32_t)(f->data.at + t.offset - f->bytes);
        return DISTILL_RUN_OK;
    }
    return DISTILL_RUN_TENSOR;
}

/* --- JSON: places in the graph's text --------------------------------------------------------- */

char distill_peek(distill_text *t) {
    while (t->at < t->end && (*t->at == ' ' || *t->at == '\n' || *t->at == '\r' || *t->at == '\t'))
        t->at++;
    return t->at < t->end ? *t->at : 0;
}

int distill_pass(distill_text *t, char c) {
    if (distill_peek(t) != c) return 0;
    t->at++;
    return 1;
}

/* Behind the closing quote; no escapes: names that need them are no names of nodes. */
int distill_pass_string(distill_text *t, distill_text *inside) {
    if (!distill_pass(t, '"')) return 0;
    inside->at = t->at;
    while (t->at < t->end && *t->at != '"' && *t->at != '\\') t->at++;
    inside->end = t->at;
    return distill_pass(t, '"');
}

/* Behind the value that begins here, whatever it is. */
int distill_pass_any(distill_text *t) {
    distill_text inside;
    uint32_t depth = 0;
    do {
        const char c = distill_peek(t);
        if (c == 0) return 0;
        if (c == '"') {
            if (!distill_pass_string(t, &inside)) return 0;
        } else {
            if (c == '{' || c == '[') depth++;
            if (c == '}' || c == ']') {
                if (depth == 0) return 0;
                depth--;
            }
            t->at++;
        }
        if (depth == 0 && c != '"' && c != '}' && c != ']') /* a number or a word: to its end */
            while (t->at < t->end && strchr(",]} \n\r\t", *t->at) == NULL) t->at++;
    } while (depth > 0);
    return 1;
}

int distill_is_text(distill_text t, const char *word) {
    return (size_t)(t.end - t.at) == strlen(word) && memcmp(t.at, word, strlen(word)) == 0;
}

/* The value of a member of the object that begins here. */
int distill_member(distill_text *value, distill_text object, const char *key) {
    distill_text name;
    if (!distill_pass(&object, '{')) return 0;
    do {
        if (!distill_pass_string(&object, &name) || !distill_pass(&object, ':')) return 0;
        if (distill_is_text(name, key)) {
            *value = object;
            return 1;
        }
        if (!distill_pass_any(&object)) return 0;
    } while (distill_pass(&object, ','));
    return 0;
}

static int pass_integer(distill_text *t, int32_t least, int32_t most, int32_t *out) {
    const int negative = distill_pass(t, '-');
    int32_t value = 0, digits = 0;
    for (; t->at < t->end && *t->at >= '0' && *t->at <= '9' && digits < 9; t->at++, digits++)
        value = 10 * value + (*t->at - '0');
    if (digits == 0 || (t->at < t->end && strchr(",]} \n\r\t", *t->at) == NULL)) return 0;
    *out = negative ? -value : value;
    return *out >= least && *out <= most;
}

int distill_get_integer(distill_text object, const char *key, int32_t least, int32_t most,
                        int32_t *out) {
    distill_text value;
    return distill_member(&value, object, key) && pass_integer(&value, least, most, out);
}

/* A list of exactly n. */
int distill_get_integers(distill_text object, const char *key, int n, int32_t least, int32_t most,
                         int32_t *out) {
    distill_text value;
    int i;
    if (!distill_member(&value, object, key) || !distill_pass(&value, '[')) return 0;
    for (i = 0; i < n; i++)
        if ((i > 0 && !distill_pass(&value, ',')) || !pass_integer(&value, least, most, &out[i]))
            return 0;
    return distill_pass(&value, ']');
}

/* m·10^±1 with m in [2^63, 2^64): m·2^*exponent stays the value, but for 2^−59 of it. */
static uint64_t by_ten(uint64_t m, int up, int32_t *exponent) {
    uint32_t rest, middle, low;
    if (up) {
        m = (m >> 4) * 10;
        *exponent += 4;
    } else { /* in steps of 16 bits: 32-bit processors have no longer division */
        const uint32_t high = (uint32_t)(m >> 32), below = (uint32_t)m;
        rest = high % 10;
        middle = rest << 16 | below >> 16;
        low = (middle % 10) << 16 | (below & 0xffff);
        m = (uint64_t)(high / 10) << 32 | (uint64_t)(middle / 10) << 16 | low / 10;
    }
    for (; m >> 63 == 0; m <<= 1) --*exponent;
    return m;
}

/* A positive decimal → float. The 9 digits that the writer gives determine it. */
int distill_get_scale(distill_text object, float *out) {
    distill_text t;
    uint64_t m = 0;
    int32_t ten = 0, power = 0, point = 0, exponent = 0;
    uint32_t bits;
    if (!distill_member(&t, object, "scale")) return 0;
    for (distill_peek(&t);
         t.at < t.end && ((*t.at >= '0' && *t.at <= '9') || (*t.at == '.' && !point)); t.at++) {
        if (*t.at == '.')
            point = 1;
        else if (m < (uint64_t)1 << 58) {
            m = 10 * m + (uint64_t)(*t.at - '0');
            ten -= point;
        } else
            ten += !point;
    }
    if (t.at < t.end && (*t.at == 'e' || *t.at == 'E')) {
        t.at++;
        if (t.at < t.end && *t.at == '+') t.at++;
        if (!pass_integer(&t, -60, 60, &power)) return 0;
    }
    ten += power;
    if (m == 0 || ten < -80 || ten > 60 || (t.at < t.end && strchr(",]} \n\r\t", *t.at) == NULL))
        return 0;
    for (; m >> 63 == 0; m <<= 1) exponent--;
    for (; ten > 0; ten--) m = by_ten(m, 1, &exponent);
    for (; ten < 0; ten++) m = by_ten(m, 0, &exponent);
    m = (m >> 40) + (m >> 39 & 1); /* 24 bits, rounded */
    exponent += 40;
    if (exponent + 23 < -110 || exponent + 23 > 127 || (m >> 24 && exponent + 24 > 127)) return 0;
    bits = (uint32_t)((exponent + 23 + 127) << 23) + (uint32_t)(m - ((uint64_t)1 << 23));
    memcpy(out, &bits, sizeof bits);
    return 1;
}
