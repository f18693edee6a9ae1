/* Batches: order, resumption at any cursor, augmentation as a pure function, clean shutdown. */
#include "asserts.h"
#include "test_data.h"

#include "data/loader.h"

enum { COUNT = 103, H = 5, W = 6, C = 3, SAMPLE = H * W * C };

static uint8_t pixels[COUNT * SAMPLE];
static int32_t labels[COUNT];
static uint64_t ids[COUNT];

/* Ids are rows times 3 plus 1, so that a row taken for an id shows. */
static kd_dataset make_dataset(void) {
    kd_dataset d = {.count = COUNT,
                    .h = H,
                    .w = W,
                    .c = C,
                    .classes = 10,
                    .bytes = pixels,
                    .label = labels,
                    .id = ids,
                    .normaliser = {.unit = 1.0f / 255.0f,
                                   .channels = 3,
                                   .mean = {0.4f, 0.5f, 0.6f},
                                   .deviation = {0.2f, 0.3f, 0.4f}}};
    for (int i = 0; i < COUNT * SAMPLE; i++) pixels[i] = (uint8_t)(i * 37 + i / 256);
    for (int i = 0; i < COUNT; i++) {
        labels[i] = i % 10;
        ids[i] = (uint64_t)(3 * i + 1);
    }
    return d;
}

static kd_loader *make_loader(const kd_dataset *d, const kd_loader_spec *spec) {
    kd_loader *loader;
    if (kd_loader_create(&loader, d, spec) < 0) fail_msg("%s", kd_error());
    return loader;
}

static const kd_loader_spec AUGMENTED = {
    .batch = 16, .shuffle = true, .seed = 5, .augment = {.shift_h = 2, .shift_w = 3, .flip = true}};

static void test_plain_order(void **state) {
    (void)state;
    kd_dataset d = make_dataset();
    kd_loader *loader = make_loader(&d, &(kd_loader_spec){.batch = 10});
    assert_int_equal(kd_loader_batches(loader), 11);
    float x[SAMPLE];
    for (int64_t b = 0; b < 22; b++) {
        kd_batch batch;
        assert_ok(kd_loader_next(loader, &batch));
        assert_int_equal(batch.epoch, b / 11);
        assert_int_equal(batch.index, b % 11);
        assert_int_equal(batch.n, b % 11 == 10 ? 3 : 10);
        for (int64_t i = 0; i < batch.n; i++) {
            int64_t row = b % 11 * 10 + i;
            assert_int_equal(batch.label[i], row % 10);
            assert_int_equal(batch.id[i], 3 * row + 1);
            kd_dataset_sample(&d, row, x);
            assert_memory_equal(batch.x + i * SAMPLE, x, sizeof x);
        }
    }
    kd_loader_free(loader);
}

/* Each epoch is a permutation; epochs and seeds differ. */
static void test_shuffling(void **state) {
    (void)state;
    kd_dataset d = make_dataset();
    uint64_t order[3][COUNT];
    for (int run = 0; run < 3; run++) {
        kd_loader_spec spec = {.batch = 16, .shuffle = true, .seed = run == 2 ? 6 : 5};
        kd_loader *loader = make_loader(&d, &spec);
        kd_loader_seek(loader, run == 1, 0);
        int seen[COUNT] = {0}, at = 0;
        while (at < COUNT) {
            kd_batch batch;
            assert_ok(kd_loader_next(loader, &batch));
            for (int64_t i = 0; i < batch.n; i++) {
                order[run][at++] = batch.id[i];
                assert_int_equal(seen[(batch.id[i] - 1) / 3]++, 0);
                assert_int_equal(batch.label[i], (batch.id[i] - 1) / 3 % 10);
            }
        }
        kd_loader_free(loader);
    }
    assert_memory_not_equal(order[0], ids, sizeof ids);
    assert_memory_not_equal(order[0], order[1], sizeof ids);
    assert_memory_not_equal(order[0], order[2], sizeof ids);
    /* Of all versions of the program: a run goes on under the next one. */
    static const uint64_t first[] = {64, 286, 268, 274, 217, 244},
                          second[] = {142, 169, 259, 19, 220, 91};
    assert_memory_equal(order[0], first, sizeof first);
    assert_memory_equal(order[1], second, sizeof second);
}

/* A loader put to any cursor hands on exactly what an uninterrupted one does. */
static void test_resume(void **state) {
    (void)state;
    kd_dataset d = make_dataset();
    for (int even = 0; even < 2; even++) {
        kd_loader_spec spec = AUGMENTED;
        d.count = even ? 96 : COUNT; /* the last batch is a whole one, or not */
        kd_loader *whole = make_loader(&d, &spec), *jumping = make_loader(&d, &spec);
        int64_t batches = kd_loader_batches(whole);
        assert_int_equal(batches, even ? 6 : 7);
        for (int64_t at = 0; at < 3 * batches; at++) {
            kd_batch a, b;
            kd_loader *fresh = make_loader(&d, &spec);
            assert_ok(kd_loader_next(whole, &a));
            kd_loader_seek(jumping, at / batches, at % batches);
            kd_loader_seek(fresh, at / batches, at % batches);
            for (int i = 0; i < 2; i++) {
                assert_ok(kd_loader_next(i ? fresh : jumping, &b));
                assert_int_equal(a.n, b.n);
                assert_int_equal(a.epoch, b.epoch);
                assert_int_equal(a.index, b.index);
                assert_int_equal(a.view, b.view);
                assert_memory_equal(a.x, b.x, (size_t)a.n * SAMPLE * sizeof *a.x);
                assert_memory_equal(a.id, b.id, (size_t)a.n * sizeof *a.id);
                assert_memory_equal(a.label, b.label, (size_t)a.n * sizeof *a.label);
            }
            kd_loader_free(fresh);
        }
        kd_loader_free(whole);
        kd_loader_free(jumping);
    }
}

static void test_seek_to_the_end(void **state) {
    (void)state;
    kd_dataset d = make_dataset();
    kd_loader *loader = make_loader(&d, &AUGMENTED);
    kd_batch batch;
    kd_loader_seek(loader, 4, kd_loader_batches(loader));
    assert_ok(kd_loader_next(loader, &batch));
    assert_int_equal(batch.epoch, 5);
    assert_int_equal(batch.index, 0);
    kd_loader_free(loader);
}

/* What the loader hands out is kd_augmented_sample of the view, whatever the batch or its size. */
static void test_augmentation_is_pure(void **state) {
    (void)state;
    kd_dataset d = make_dataset();
    for (int64_t views = 0; views < 3; views += 2) {
        kd_loader_spec spec = AUGMENTED;
        spec.views = views;
        spec.batch = 7;
        kd_loader *loader = make_loader(&d, &spec);
        kd_loader_seek(loader, 3, 0);
        for (int b = 0; b < 20; b++) {
            kd_batch batch;
            float x[SAMPLE];
            assert_ok(kd_loader_next(loader, &batch));
            assert_int_equal(batch.view, views ? batch.epoch % views : batch.epoch);
            for (int64_t i = 0; i < batch.n; i++) {
                kd_augmented_sample(&d, (int64_t)(batch.id[i] - 1) / 3, &spec.augment, spec.seed,
                                    batch.view, x);
                assert_memory_equal(batch.x + i * SAMPLE, x, sizeof x);
            }
        }
        kd_loader_free(loader);
    }
}

/* The transform that the definition gives, tried for all parameters: exactly one explains `x`. */
static int find_transform(const kd_dataset *d, const kd_augment *a, int64_t index, const float *x) {
    float plain[SAMPLE], moved[SAMPLE];
    int found = -1, number = 0;
    kd_dataset_sample(d, index, plain);
    for (int dh = -a->shift_h; dh <= a->shift_h; dh++)
        for (int dw = -a->shift_w; dw <= a->shift_w; dw++)
            for (int flip = 0; flip <= a->flip; flip++, number++) {
                for (int i = 0; i < SAMPLE; i++) {
                    int y = i / (W * C) - dh, column = i / C % W;
                    int from = (flip ? W - 1 - column : column) - dw;
                    bool inside = y >= 0 && y < H && from >= 0 && from < W;
                    moved[i] = inside ? plain[(y * W + from) * C + i % C] : 0.0f;
                }
                if (memcmp(moved, x, sizeof moved) != 0) continue;
                assert_int_equal(found, -1);
                found = number;
            }
    return found;
}

static void test_transforms(void **state) {
    (void)state;
    kd_dataset d = make_dataset();
    kd_augment augment = {.shift_h = 2, .shift_w = 3, .flip = true};
    int seen[5 * 7 * 2] = {0};
    for (int64_t view = 0; view < 40; view++)
        for (int64_t i = 0; i < COUNT; i++) {
            float x[SAMPLE];
            kd_augmented_sample(&d, i, &augment, 9, view, x);
            int number = find_transform(&d, &augment, i, x);
            assert_true(number >= 0);
            seen[number]++;
        }
    /* 4120 draws over 70 transforms: 59 each, deviation 7.6; five deviations either way. */
    for (int i = 0; i < 70; i++) assert_in_range(seen[i], 21, 97);
    d.normaliser.channels = 0; /* no mean and deviation of their own for the colours */
    for (int64_t i = 0; i < COUNT; i++) {
        float x[SAMPLE];
        kd_augmented_sample(&d, i, &augment, 9, 0, x);
        assert_true(find_transform(&d, &augment, i, x) >= 0);
    }
}

static void test_features(void **state) {
    (void)state;
    static float features[COUNT * SAMPLE];
    kd_dataset d = make_dataset(), bytes = make_dataset();
    for (int i = 0; i < COUNT * SAMPLE; i++) features[i] = pixels[i];
    d.bytes = NULL;
    d.features = features;
    for (int64_t view = 0; view < 8; view++) {
        float x[SAMPLE], y[SAMPLE];
        kd_augmented_sample(&d, 17, &AUGMENTED.augment, 1, view, x);
        kd_augmented_sample(&bytes, 17, &AUGMENTED.augment, 1, view, y);
        assert_memory_equal(x, y, sizeof x);
    }
}

/* Shifts as large as the sample leave nothing of it in some draws, and must not step outside. */
static void test_large_shifts(void **state) {
    (void)state;
    kd_dataset d = make_dataset();
    kd_augment augment = {.shift_h = H, .shift_w = W, .flip = true};
    float x[SAMPLE];
    int empty = 0;
    for (int64_t i = 0; i < COUNT; i++) {
        kd_augmented_sample(&d, i, &augment, 2, 0, x);
        int zeros = 0;
        for (int v = 0; v < SAMPLE; v++) zeros += x[v] == 0.0f;
        empty += zeros == SAMPLE;
    }
    assert_in_range(empty, 5, 70);
    kd_loader *loader;
    kd_loader_spec spec = {.batch = 4, .augment = {.shift_h = H + 1}};
    assert_int_equal(kd_loader_create(&loader, &d, &spec), KD_ECONFIG);
    assert_null(loader);
}

/* Freeing at any moment: nothing taken, something taken, just after a seek. */
static void test_shutdown(void **state) {
    (void)state;
    kd_dataset d = make_dataset();
    for (int i = 0; i < 60; i++) {
        kd_batch batch;
        kd_loader *loader = make_loader(&d, &AUGMENTED);
        for (int k = 0; k < i % 12; k++) assert_ok(kd_loader_next(loader, &batch));
        if (i % 3 == 0) kd_loader_seek(loader, i, i % 7);
        kd_loader_free(loader);
    }
    kd_loader_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_order),
        cmocka_unit_test(test_shuffling),
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_seek_to_the_end),
        cmocka_unit_test(test_augmentation_is_pure),
        cmocka_unit_test(test_transforms),
        cmocka_unit_test(test_features),
        cmocka_unit_test(test_large_shifts),
        cmocka_unit_test(test_shutdown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
