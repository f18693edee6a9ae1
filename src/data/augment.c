#include "data/augment.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "data/augment_inside.h"
#include "data/clip.h"

static const uint64_t AUGMENT_STREAM = 0x6175676d;

uint64_t kd_augment_view_key(uint64_t seed, int64_t view) {
    return kd_rng_init(kd_rng_init(seed, AUGMENT_STREAM).key, (uint64_t)view).key;
}

/* A factor with a uniform logarithm, 1/(1+most) … 1+most. */
static double draw_factor(kd_rng *rng, double most) {
    return exp((2 * kd_rng_uniform(rng) - 1) * log1p(most));
}

/* `*count` of 0 … most, and where they begin in 0 … size − *count. */
static void draw_mask(kd_rng *rng, int most, int64_t size, int64_t *first, int64_t *count) {
    int64_t n = (int64_t)kd_rng_below(rng, (uint64_t)most + 1);
    *count = n < size ? n : size;
    *first = (int64_t)kd_rng_below(rng, (uint64_t)(size - *count) + 1);
}

static void draw_sound(kd_transform *t, const kd_augment *a, const kd_dataset *d, uint64_t view_key,
                       uint64_t id) {
    kd_rng rng = kd_rng_init(view_key, id);
    t->vocal_tract = draw_factor(&rng, a->vocal_tract);
    t->tempo = draw_factor(&rng, a->tempo);
    draw_mask(&rng, a->mask_h, d->h, &t->mask_at_h, &t->mask_h);
    draw_mask(&rng, a->mask_w, d->w, &t->mask_at_w, &t->mask_w);
}

kd_transform kd_augment_draw(const kd_augment *augment, const kd_dataset *d, uint64_t view_key,
                             uint64_t id) {
    uint32_t word[4];
    kd_rng_block(view_key, id, word);
    uint64_t spread_h = 2 * (uint64_t)augment->shift_h + 1;
    uint64_t spread_w = 2 * (uint64_t)augment->shift_w + 1;
    kd_transform t = {
        .dh = (int64_t)(word[0] * spread_h >> 32) - augment->shift_h,
        .dw = (int64_t)(word[1] * spread_w >> 32) - augment->shift_w,
        .flip = augment->flip && (word[2] & 1),
        .vocal_tract = 1,
        .tempo = 1,
    };
    if (d->audio.sample_rate > 0) draw_sound(&t, augment, d, view_key, id);
    return t;
}

/* `count` pixels from pixel `from` of sample `index` on, forwards or backwards (step ±1). */
static void put_pixels(float *out, const kd_dataset *d, int64_t index, int64_t from, int64_t count,
                       int64_t step, float (*table)[256]) {
    int64_t c = d->c, base = (index * d->h * d->w + from) * c;
    if (!d->bytes) {
        if (step > 0)
            kd_normalise_features(out, d->features + base, count, c, &d->normaliser);
        else
            for (int64_t x = 0; x < count; x++)
                kd_normalise_features(out + x * c, d->features + base - x * c, 1, c,
                                      &d->normaliser);
        return;
    }
    const uint8_t *raw = d->bytes + base;
    if (step > 0 && (c == 1 || d->normaliser.channels == 0)) {
        for (int64_t i = 0; i < count * c; i++) out[i] = table[0][raw[i]];
        return;
    }
    int64_t row = d->normaliser.channels ? 1 : 0;
    for (int64_t x = 0; x < count; x++)
        for (int64_t k = 0; k < c; k++) out[x * c + k] = table[k * row][raw[x * step * c + k]];
}

/* out[y][x] = sample[y−dh][x'−dw] with x' = x, or w−1−x when flipped; 0 outside. */
static void move(float *out, const kd_dataset *d, int64_t index, const kd_transform *t,
                 float (*table)[256]) {
    int64_t h = d->h, w = d->w, c = d->c, shift = t->flip ? -t->dw : t->dw;
    int64_t begin = shift > 0 ? shift : 0, end = shift < 0 ? w + shift : w;
    if (begin > w) begin = w;
    if (end < begin) end = begin;
    for (int64_t y = 0; y < h; y++) {
        float *line = out + y * w * c;
        int64_t from_y = y - t->dh;
        if (from_y < 0 || from_y >= h || begin == end) {
            memset(line, 0, (size_t)(w * c) * sizeof *line);
            continue;
        }
        memset(line, 0, (size_t)(begin * c) * sizeof *line);
        memset(line + end * c, 0, (size_t)((w - end) * c) * sizeof *line);
        int64_t from_x = t->flip ? w - 1 - begin - t->dw : begin - t->dw;
        put_pixels(line + begin * c, d, index, from_y * w + from_x, end - begin, t->flip ? -1 : 1,
                   table);
    }
}

void kd_augment_apply(float *out, const kd_dataset *d, int64_t index, const kd_transform *transform,
                      float (*table)[256]) {
    if (transform->vocal_tract != 1 || transform->tempo != 1)
        kd_augment_stretch(out, d, index, transform);
    else
        move(out, d, index, transform, table);
    if (d->audio.sample_rate == 0) return;
    kd_clip_normalise(out, d->h, &d->audio);
    kd_augment_mask(out, d, transform);
}
