/* Random changes to log-mel frames: what each does, and that they are pure functions. */
#include "test_data.h"

#include <math.h>

#include "asserts.h"
#include "data/loader.h"
#include "data/logmel.h"

enum { COUNT = 24, FRAMES = 40, MELS = 32, SAMPLE = FRAMES * MELS, RATE = 8000, SEED = 11 };

static float features[COUNT * SAMPLE];
static int32_t labels[COUNT];
static uint64_t ids[COUNT];

static kd_dataset make_dataset(void) {
    kd_dataset d = {.count = COUNT,
                    .h = FRAMES,
                    .w = MELS,
                    .c = 1,
                    .classes = 10,
                    .features = features,
                    .label = labels,
                    .id = ids,
                    .audio = {.sample_rate = RATE, .mels = MELS, .range = 50},
                    .normaliser = {.unit = 1}};
    for (int i = 0; i < COUNT; i++) {
        labels[i] = i % 10;
        ids[i] = (uint64_t)(5 * i + 2);
    }
    return d;
}

/* Every sample a hill around (frame, mel). */
static kd_dataset make_hills(double frame, double mel) {
    for (int i = 0; i < COUNT * SAMPLE; i++) {
        double y = (i % SAMPLE) / MELS - frame, x = i % MELS - mel;
        features[i] = (float)exp(-0.1 * (x * x + y * y));
    }
    return make_dataset();
}

static kd_transform drawn(const kd_dataset *d, const kd_augment *a, int64_t index, int64_t view) {
    return kd_augment_draw(a, d, kd_augment_view_key(SEED, view), d->id[index]);
}

/* The centre of gravity, and the largest value. */
static void find_hill(const float *x, double *frame, double *mel, float *top) {
    double sum = 0, y = 0, m = 0;
    *top = 0;
    for (int i = 0; i < SAMPLE; i++) {
        double weight = pow((double)x[i], 4);
        sum += weight;
        y += weight * (i / MELS);
        m += weight * (i % MELS);
        *top = fmaxf(*top, x[i]);
    }
    *frame = y / sum;
    *mel = m / sum;
}

/* A resonance at f comes to lie at αf, α within its bounds and using all of them. */
static void test_vocal_tract(void **state) {
    (void)state;
    kd_dataset d = make_hills(20, 12);
    kd_augment a = {.vocal_tract = 0.25};
    double least = 1, most = 1, hz = kd_mel_centre(12, RATE, MELS);
    for (int view = 0; view < 20; view++)
        for (int i = 0; i < COUNT; i++) {
            float x[SAMPLE], top;
            double frame, mel, alpha = drawn(&d, &a, i, view).vocal_tract;
            kd_augmented_sample(&d, i, &a, SEED, view, x);
            find_hill(x, &frame, &mel, &top);
            assert_true(fabs(frame - 20) < 1e-3 && top > 0.9f);
            if (!(fabs(mel - kd_mel_position(alpha * hz, RATE, MELS)) < 0.2))
                fail_msg("factor %g: mel %g", alpha, mel);
            least = fmin(least, alpha);
            if (alpha > most) most = alpha;
        }
    assert_true(least >= 0.8 && least < 0.82 && most <= 1.25 && most > 1.23);
}

/* The highest frequency stays where it is: nothing runs over the upper edge. */
static void test_upper_edge(void **state) {
    (void)state;
    kd_dataset d = make_hills(20, MELS - 1);
    kd_augment a = {.vocal_tract = 0.25};
    for (int i = 0; i < COUNT; i++) {
        float x[SAMPLE];
        kd_augmented_sample(&d, i, &a, SEED, 0, x);
        assert_true(x[20 * MELS + MELS - 1] > 0.7f);
    }
}

static void test_tempo(void **state) {
    (void)state;
    kd_dataset d = make_hills(26, 12);
    kd_augment a = {.tempo = 0.3, .shift_h = 4};
    for (int i = 0; i < COUNT; i++) {
        float x[SAMPLE], top;
        double frame, mel, middle = 0.5 * (FRAMES - 1);
        kd_transform t = drawn(&d, &a, i, 0);
        kd_augmented_sample(&d, i, &a, SEED, 0, x);
        find_hill(x, &frame, &mel, &top);
        assert_true(fabs(mel - 12) < 1e-3 && fabs(t.tempo) <= 1.3);
        double right = middle + (26 - middle) / t.tempo + (double)t.dh;
        if (!(fabs(frame - right) < 0.1))
            fail_msg("tempo %g, shift %d: frame %g", t.tempo, (int)t.dh, frame);
    }
}

/* One stretch of frames and one of mels are 0, the rest is untouched. */
static void test_masks(void **state) {
    (void)state;
    kd_dataset d = make_dataset();
    for (int i = 0; i < COUNT * SAMPLE; i++) features[i] = 0.5f;
    kd_augment a = {.mask_h = 7, .mask_w = 4};
    int heights[8] = {0}, widths[5] = {0};
    for (int view = 0; view < 20; view++)
        for (int i = 0; i < COUNT; i++) {
            float x[SAMPLE];
            kd_transform t = drawn(&d, &a, i, view);
            kd_augmented_sample(&d, i, &a, SEED, view, x);
            heights[t.mask_h]++;
            widths[t.mask_w]++;
            for (int k = 0; k < SAMPLE; k++) {
                int64_t y = k / MELS - t.mask_at_h, m = k % MELS - t.mask_at_w;
                bool masked = (y >= 0 && y < t.mask_h) || (m >= 0 && m < t.mask_w);
                assert_true(x[k] == (masked ? 0.0f : 0.5f));
            }
        }
    /* 480 draws of 8 and of 5: 60 and 96, deviations 7.2 and 8.8; five of them either way. */
    for (int i = 0; i < 8; i++) assert_in_range(heights[i], 24, 96);
    for (int i = 0; i < 5; i++) assert_in_range(widths[i], 52, 140);
}

/* With nothing asked for, a sample is what the test set would give, to the bit. */
static void test_nothing(void **state) {
    (void)state;
    kd_dataset d = make_hills(17, 9);
    kd_augment none = {0};
    float x[SAMPLE], y[SAMPLE];
    kd_augmented_sample(&d, 3, &none, SEED, 5, x);
    kd_dataset_sample(&d, 3, y);
    assert_memory_equal(x, y, sizeof x);
}

static const kd_augment EVERYTHING = {.shift_h = FRAMES,
                                      .shift_w = 3,
                                      .vocal_tract = 1,
                                      .tempo = 1,

                                      .mask_h = 100,
                                      .mask_w = 100};

/* The loader's batches are kd_augmented_sample of the view, as the teacher sees it. */
static void test_same_for_teacher_and_student(void **state) {
    (void)state;
    kd_dataset d = make_hills(20, 12);
    kd_augment a = {.shift_h = 4, .vocal_tract = 0.2, .tempo = 0.2, .mask_h = 5};
    kd_loader_spec spec = {.batch = 7, .shuffle = true, .augment = a, .views = 2, .seed = SEED};
    kd_loader *loader;
    assert_int_equal(kd_loader_create(&loader, &d, &spec), KD_OK);
    static float first[COUNT * SAMPLE];
    for (int b = 0; b < 12; b++) {
        kd_batch batch;
        assert_ok(kd_loader_next(loader, &batch));
        assert_int_equal(batch.view, batch.epoch % 2);
        for (int64_t i = 0; i < batch.n; i++) {
            float x[SAMPLE], *seen = first + batch.label[i] * SAMPLE;
            int64_t row = (int64_t)(batch.id[i] - 2) / 5;
            kd_augmented_sample(&d, row, &a, SEED, batch.view, x);
            assert_memory_equal(batch.x + i * SAMPLE, x, sizeof x);
            if (row >= 10) continue;
            if (batch.epoch == 0) memcpy(seen, x, sizeof x);
            if (batch.epoch == 1) assert_memory_not_equal(seen, x, sizeof x);
            if (batch.epoch == 2) assert_memory_equal(seen, x, sizeof x);
        }
    }
    kd_loader_free(loader);
}

/* The wildest settings, and samples of one frame and one mel, stay within their buffers. */
static void test_bounds(void **state) {
    (void)state;
    const int shape[][2] = {{FRAMES, MELS}, {1, 1}, {1, 2}, {2, 1}, {3, 512}};
    for (size_t s = 0; s < sizeof shape / sizeof *shape; s++) {
        kd_dataset d = make_dataset();
        size_t values = (size_t)(shape[s][0] * shape[s][1]);
        d.count = 2;
        d.h = shape[s][0];
        d.w = shape[s][1];
        d.audio.mels = shape[s][1];
        d.features = test_malloc(2 * values * sizeof *d.features);
        float *x = test_malloc(values * sizeof *x);
        for (size_t i = 0; i < 2 * values; i++) d.features[i] = 0.5f;
        for (int view = 0; view < 200; view++) {
            kd_augmented_sample(&d, view % 2, &EVERYTHING, SEED, view, x);
            for (size_t i = 0; i < values; i++) assert_true(x[i] >= -0.1f && x[i] <= 0.6f);
        }
        test_free(x);
        test_free(d.features);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vocal_tract), cmocka_unit_test(test_upper_edge),
        cmocka_unit_test(test_tempo),       cmocka_unit_test(test_masks),
        cmocka_unit_test(test_nothing),     cmocka_unit_test(test_same_for_teacher_and_student),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
