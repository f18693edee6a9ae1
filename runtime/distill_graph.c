/* The nodes of a network from the graph's text and the file's tensors, and their room in the arena.
 * The file is taken for hostile: every index, size, multiplier and weight is checked here. */
#include "distill_internal.h"

static const char *const KIND_NAME[DISTILL_KINDS] = {"input",    "conv",       "linear",
                                                     "max_pool", "avg_pool",   "global_avg_pool",
                                                     "add",      "activation", "shortcut"};

enum {
    EXTENT_MAX = 1 << 16, /* of one axis                   */
    VALUES_MAX = 1 << 26, /* of one node                   */
    WINDOW_MAX = 1 << 12, /* kernels, strides, paddings    */
    MEAN_MAX = 1 << 22    /* 255 times it stays below 2^30 */
};
static const uint32_t ROOM_MAX = (uint32_t)1 << 30;

/* --- tensors of a node ------------------------------------------------------------------------ */

/* What is known while the graph is read. */
typedef struct {
    const distill_file *file;
    distill_node *node; /* those read so far  */
    distill_text name;  /* of the node at work */
    uint64_t used;      /* tensors             */
} reader;

static int32_t find_tensor(reader *r, const char *suffix, uint32_t type, uint64_t count,
                           uint32_t *out) {
    r->used++;
    return distill_file_tensor(out, r->file, r->name, suffix, type, count);
}

/* Each is 0, or 31 bits and a shift that requantize takes. */
static int32_t find_multipliers(reader *r, distill_node *n, uint32_t count) {
    uint32_t i;
    int32_t status = find_tensor(r, ".multiplier", DISTILL_TYPE_I32, count, &n->factor);
    if (status == DISTILL_RUN_OK)
        status = find_tensor(r, ".shift", DISTILL_TYPE_I32, count, &n->shift);
    for (i = 0; i < count && status == DISTILL_RUN_OK; i++) {
        const int32_t factor = distill_entry(r->file->bytes, n->factor, i),
                      shift = distill_entry(r->file->bytes, n->shift, i);
        if ((factor != 0 && factor < 1 << 30) || shift < -30 || shift > 31)
            return DISTILL_RUN_TENSOR;
    }
    return status;
}

/* No sum of a channel may pass an int32, whatever the input. */
static int32_t check_sums(const uint8_t *blob, const distill_node *n) {
    const int32_t most = (1 << (n->bits - 1)) - 1;
    uint32_t o, k;
    for (o = 0; o < n->c; o++) {
        const int32_t bias = distill_entry(blob, n->bias, o);
        const uint32_t scale = (uint32_t)distill_entry(blob, n->weight_scale, o);
        uint64_t sum = 0;
        for (k = 0; k < n->K; k++) {
            const int32_t w = distill_weight(blob, n, o * n->K + k);
            if (w < -most || w > most) return DISTILL_RUN_TENSOR;
            sum += (uint32_t)(w < 0 ? -w : w);
        }
        if (2 * 255 * sum + (uint64_t)(bias < 0 ? -(int64_t)bias : bias) > INT32_MAX)
            return DISTILL_RUN_TENSOR;
        if (scale == 0 || scale >= 0x7f800000u) return DISTILL_RUN_TENSOR; /* ≤ 0, not finite */
    }
    return DISTILL_RUN_OK;
}

static int32_t read_layer(reader *r, distill_text object, distill_node *n) {
    int32_t bits, status;
    uint64_t count = (uint64_t)n->c * n->K;
    if (!distill_get_integer(object, "weight_bits", 2, 8, &bits) || count > INT32_MAX)
        return DISTILL_RUN_GRAPH;
    n->bits = (uint8_t)bits;
    status =
        find_tensor(r, ".weight", DISTILL_TYPE_I8, bits > 4 ? count : (count + 1) / 2, &n->weight);
    if (status == DISTILL_RUN_OK)
        status = find_tensor(r, ".bias", DISTILL_TYPE_I32, n->c, &n->bias);
    if (status == DISTILL_RUN_OK)
        status = find_tensor(r, ".scale", DISTILL_TYPE_F32, n->c, &n->weight_scale);
    if (status == DISTILL_RUN_OK && !n->last) status = find_multipliers(r, n, n->c);
    return status == DISTILL_RUN_OK ? check_sums(r->file->bytes, n) : status;
}

/* --- kinds: what each makes of its input ------------------------------------------------------ */

typedef struct {
    uint32_t h, w, c;
} extent;

static uint32_t window_count(uint32_t size, uint32_t kernel, uint32_t stride, uint32_t padding) {
    const uint32_t room = size + 2 * padding;
    return room < kernel ? 0 : (room - kernel) / stride + 1;
}

static int get_pair(distill_text object, const char *key, int32_t least, uint16_t out[2]) {
    int32_t pair[2] = {0, 0};
    if (!distill_get_integers(object, key, 2, least, WINDOW_MAX, pair)) return 0;
    out[0] = (uint16_t)pair[0];
    out[1] = (uint16_t)pair[1];
    return 1;
}

static int get_grid(distill_text object, distill_node *n) {
    distill_text grid;
    int32_t zero, qmin, qmax;
    if (!distill_member(&grid, object, "grid") || !distill_get_scale(grid, &n->scale) ||
        !distill_get_integer(grid, "qmin", -255, 0, &qmin) ||
        !distill_get_integer(grid, "qmax", qmin + 1, qmin + 255, &qmax) ||
        !distill_get_integer(grid, "zero", qmin, qmax, &zero))
        return 0;
    n->zero = zero - qmin;
    n->low = qmin - zero;
    n->high = qmax - zero;
    return 1;
}

static int get_window(distill_text object, distill_node *n, extent *made) {
    if (!get_pair(object, "kernel", 1, n->kernel) || !get_pair(object, "stride", 1, n->stride) ||
        !get_pair(object, "padding", 0, n->padding))
        return 0;
    made->h = window_count(made->h, n->kernel[0], n->stride[0], n->padding[0]);
    made->w = window_count(made->w, n->kernel[1], n->stride[1], n->padding[1]);
    return 1;
}

/* The columns of two neighbouring windows as 16-bit numbers, and two channels' weights spread out
 * of their halves of bytes. */
static void need_work(distill_node *n) {
    const uint64_t bytes =
        (uint64_t)distill_width(n) * (2 * distill_columns(n) + (n->bits <= 4 ? 2 : 0));
    n->work_bytes = bytes > ROOM_MAX ? ROOM_MAX : (uint32_t)bytes;
}

static int32_t read_conv(reader *r, distill_text object, distill_node *n, extent *made) {
    const uint32_t c = made->c;
    int32_t groups;
    uint64_t K;
    if (!get_window(object, n, made) ||
        !distill_get_integer(object, "groups", 1, (int32_t)c, &groups) ||
        c % (uint32_t)groups != 0 || n->c % (uint32_t)groups != 0)
        return DISTILL_RUN_GRAPH;
    n->groups = (uint32_t)groups;
    K = (uint64_t)n->kernel[0] * n->kernel[1] * (c / n->groups);
    if (K > VALUES_MAX) return DISTILL_RUN_GRAPH;
    n->K = (uint32_t)K;
    made->c = n->c;
    return read_layer(r, object, n);
}

static int32_t read_linear(reader *r, distill_text object, distill_node *n, extent *made) {
    n->K = made->h * made->w * made->c;
    made->h = made->w = 1;
    made->c = n->c;
    return read_layer(r, object, n);
}

static int32_t read_pool(reader *r, distill_text object, distill_node *n, extent *made) {
    if (n->kind == DISTILL_GLOBAL_AVG_POOL) {
        if (made->h * made->w > MEAN_MAX) return DISTILL_RUN_GRAPH;
        made->h = made->w = 1;
    } else {
        if (!get_window(object, n, made) || n->padding[0] >= n->kernel[0] ||
            n->padding[1] >= n->kernel[1])
            return DISTILL_RUN_GRAPH;
        if (n->kind == DISTILL_AVG_POOL && (uint32_t)n->kernel[0] * n->kernel[1] > MEAN_MAX)
            return DISTILL_RUN_GRAPH;
    }
    return n->kind == DISTILL_MAX_POOL ? DISTILL_RUN_OK : find_multipliers(r, n, 1);
}

/* The addends' multipliers are below 1, so that their sum cannot overflow. */
static int32_t read_add(reader *r, distill_node *n, extent *made) {
    const distill_node *b = &r->node[n->in[1]];
    int32_t status;
    if (b->h != made->h || b->w != made->w || b->c != made->c) return DISTILL_RUN_GRAPH;
    status = find_multipliers(r, n, 3);
    if (status == DISTILL_RUN_OK && (distill_entry(r->file->bytes, n->shift, 0) < 0 ||
                                     distill_entry(r->file->bytes, n->shift, 1) < 0))
        return DISTILL_RUN_TENSOR;
    return status;
}

static int32_t read_activation(reader *r, distill_node *n) {
    uint32_t i;
    const int32_t status = find_tensor(r, ".table", DISTILL_TYPE_I8, 256, &n->weight);
    for (i = 0; i < 256 && status == DISTILL_RUN_OK; i++)
        if ((r->file->bytes[n->weight + i] ^ 0x80) > n->high - n->low) return DISTILL_RUN_TENSOR;
    return status;
}

static int32_t read_shortcut(distill_text object, distill_node *n, extent *made) {
    int32_t step, pad[2];
    if (!distill_get_integer(object, "step", 1, WINDOW_MAX, &step) ||
        !distill_get_integers(object, "pad", 2, 0, EXTENT_MAX, pad))
        return DISTILL_RUN_GRAPH;
    n->stride[0] = n->stride[1] = (uint16_t)step;
    n->before = (uint32_t)pad[0];
    made->h = (made->h + (uint32_t)step - 1) / (uint32_t)step;
    made->w = (made->w + (uint32_t)step - 1) / (uint32_t)step;
    made->c += (uint32_t)pad[0] + (uint32_t)pad[1];
    return DISTILL_RUN_OK;
}

/* --- the graph -------------------------------------------------------------------------------- */

static int has_own_grid(const distill_node *n) {
    return n->kind != DISTILL_MAX_POOL && n->kind != DISTILL_SHORTCUT && !n->last;
}

static int32_t read_kind(reader *r, distill_text object, distill_node *n, extent *made) {
    switch (n->kind) {
    case DISTILL_CONV:
        return read_conv(r, object, n, made);
    case DISTILL_LINEAR:
        return read_linear(r, object, n, made);
    case DISTILL_ADD:
        return read_add(r, n, made);
    case DISTILL_ACTIVATION:
        return read_activation(r, n);
    case DISTILL_SHORTCUT:
        return read_shortcut(object, n, made);
    case DISTILL_INPUT:
        return DISTILL_RUN_OK;
    default:
        return read_pool(r, object, n, made);
    }
}

static int get_kind(distill_text object, distill_node *n) {
    distill_text value, kind;
    if (!distill_member(&value, object, "kind") || !distill_pass_string(&value, &kind)) return 0;
    for (n->kind = 0; n->kind < DISTILL_KINDS; n->kind++)
        if (distill_is_text(kind, KIND_NAME[n->kind])) return 1;
    return 0;
}

static int32_t read_node(reader *r, distill_text object, uint32_t index, uint32_t count) {
    distill_node *n = &r->node[index];
    int32_t in[2] = {-1, -1}, out[3], status;
    distill_text value;
    extent made;
    memset(n, 0, sizeof *n);
    n->groups = 1;
    if (!get_kind(object, n) || (n->kind == DISTILL_INPUT) != (index == 0) ||
        !distill_member(&value, object, "name") || !distill_pass_string(&value, &r->name) ||
        (index > 0 && !distill_get_integers(object, "in", n->kind == DISTILL_ADD ? 2 : 1, 0,
                                            (int32_t)index - 1, in)) ||
        !distill_get_integers(object, "out", 3, 1, EXTENT_MAX, out) ||
        (uint64_t)out[0] * (uint64_t)out[1] * (uint64_t)out[2] > VALUES_MAX)
        return DISTILL_RUN_GRAPH;
    n->in[0] = (int16_t)in[0];
    n->in[1] = (int16_t)in[1];
    n->h = (uint32_t)out[0];
    n->w = (uint32_t)out[1];
    n->c = (uint32_t)out[2];
    n->relu = distill_member(&value, object, "relu") && distill_peek(&value) == 't';
    n->last = n->kind == DISTILL_LINEAR && index == count - 1;
    if (has_own_grid(n) && !get_grid(object, n)) return DISTILL_RUN_GRAPH;
    made.h = n->h, made.w = n->w, made.c = n->c;
    if (index > 0) {
        const distill_node *from = &r->node[in[0]];
        made.h = from->h, made.w = from->w, made.c = from->c;
        if (!has_own_grid(n)) {
            n->zero = from->zero, n->low = from->low, n->high = from->high;
            n->scale = from->scale;
        }
    }
    status = read_kind(r, object, n, &made);
    if (status != DISTILL_RUN_OK) return status;
    if (n->relu && n->low < 0 &&
        (n->kind == DISTILL_CONV || n->kind == DISTILL_LINEAR || n->kind == DISTILL_ADD))
        n->low = 0;
    if (n->kind == DISTILL_CONV || n->kind == DISTILL_LINEAR) need_work(n);
    return made.h == n->h && made.w == n->w && made.c == n->c ? DISTILL_RUN_OK : DISTILL_RUN_GRAPH;
}

/* *list: behind the bracket of distill.graph; *count: how many nodes it has. */
int32_t distill_graph_find(const distill_file *f, distill_text *list, uint32_t *count) {
    uint64_t strings;
    distill_cursor c;
    distill_text t;
    c.at = distill_file_key(&strings, f, "distill.graph", DISTILL_KEY_STRING);
    if (!c.at) return DISTILL_RUN_DAMAGED;
    c.left = (size_t)(f->tensors.at - c.at);
    c.bad = 0;
    list->at = distill_take_string(&c, &strings);
    if (c.bad) return DISTILL_RUN_DAMAGED;
    list->end = list->at + strings;
    if (!distill_pass(list, '[')) return DISTILL_RUN_GRAPH;
    *count = 0;
    t = *list;
    do
        if (!distill_pass_any(&t) || ++*count > DISTILL_RUN_NODES)
            return *count > DISTILL_RUN_NODES ? DISTILL_RUN_TOO_LARGE : DISTILL_RUN_GRAPH;
    while (distill_pass(&t, ','));
    return distill_pass(&t, ']') && distill_peek(&t) == 0 && *count >= 2 ? DISTILL_RUN_OK
                                                                         : DISTILL_RUN_GRAPH;
}

/* --- the arena -------------------------------------------------------------------------------- */

/* The lowest place for `bytes` that are used while node i runs. */
static uint32_t free_place(const distill_node *list, uint32_t i, uint32_t others, uint32_t bytes) {
    uint32_t place = 0, j, moved;
    do {
        moved = 0;
        for (j = 0; j < others; j++) {
            const distill_node *n = &list[j];
            if (n->until < i || place >= n->slot + n->bytes || place + bytes <= n->slot) continue;
            place = n->slot + n->bytes;
            moved = 1;
        }
    } while (moved);
    return place;
}

/* Outputs that are still needed do not overlap, nor with the work of the node that runs. */
static uint32_t lay_out(distill_node *list, uint32_t count) {
    uint32_t i, j, room = 0;
    for (i = 0; i < count; i++) {
        distill_node *n = &list[i];
        n->bytes = (n->h * n->w * n->c * (n->last ? 4u : 1u) + 7u) / 8u * 8u;
        n->work_bytes = (n->work_bytes + 7u) / 8u * 8u;
        n->until = i;
        for (j = i + 1; j < count; j++)
            if (list[j].in[0] == (int32_t)i || list[j].in[1] == (int32_t)i) n->until = j;
        if (i == count - 1) n->until = count;
        n->slot = free_place(list, i, i, n->bytes);
        n->work = free_place(list, i, i + 1, n->work_bytes);
        if (n->slot > ROOM_MAX || n->work > ROOM_MAX) return ROOM_MAX + 1;
        if (n->slot + n->bytes > room) room = n->slot + n->bytes;
        if (n->work_bytes > 0 && n->work + n->work_bytes > room) room = n->work + n->work_bytes;
    }
    return room;
}

int32_t distill_graph_read(const distill_file *f, distill_text t, uint32_t count,
                           distill_node *list, uint32_t *bytes) {
    reader r;
    uint32_t i;
    r.file = f;
    r.node = list;
    r.used = 0;
    for (i = 0; i < count; i++, distill_pass_any(&t), distill_pass(&t, ',')) {
        const int32_t status = read_node(&r, t, i, count);
        if (status != DISTILL_RUN_OK) return status;
    }
    if (r.used != f->tensor_count) return DISTILL_RUN_TENSOR;
    *bytes = lay_out(list, count);
    return *bytes > ROOM_MAX ? DISTILL_RUN_TOO_LARGE : DISTILL_RUN_OK;
}
