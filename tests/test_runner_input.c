/* runtime/distill_input.c: the bytes that reach the network are the program's, of sounds but for a
 * step here and there, where float rounds to the other side. */
#include "quant_nets.h"

#include <math.h>

#include "base/file.h"
#include "data/clip.h"
#include "data/logmel.h"
#include "distill_input.h"

static void build(kd_net *net) {
    kd_net_linear(net, "fc", 0, 10, KD_ACT_NONE);
}

typedef struct {
    char *bytes;
    size_t length;
    void *arena;
    distill_run *run;
    kd_grid grid;
    int32_t zero; /* stored */
} model;

/* A network of one layer whose input lies between low and high, in a blob of such data. */
static model make_model(kd_extent in, const kd_data_spec *data, const kd_normaliser *normaliser,
                        double low, double high, int bits) {
    const kd_quant_spec spec = {.weight_bits = 8, .activation_bits = bits};
    static char names[10][KD_CLASS_NAME_MAX] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"};
    quant_case c = case_create(build, in, &spec);
    const int64_t size = case_sample_size(&c);
    float *x = malloc((size_t)size * sizeof *x);
    fill_uniform(x, size, 3, low, high);
    c.tape->recording = c.tape->training = false;
    kd_qnet_forward(c.qnet, c.tape, case_input(&c, 1, x), KD_QUANT_OBSERVE, NULL);
    free(x);
    const kd_dataset dataset = {.h = in.h,
                                .w = in.w,
                                .c = in.c,
                                .classes = 10,
                                .class_name = names,
                                .normaliser = *normaliser};
    const kd_blob_info info = {.name = "test", .dataset = &dataset, .data = data};
    ASSERT_OK(kd_blob_write(temporary_path(), c.qnet, &info));
    case_free(&c);
    model m;
    size_t need;
    distill_run_grid g;
    ASSERT_OK(kd_file_read(&m.bytes, &m.length, temporary_path(), 1 << 20));
    remove(temporary_path());
    assert_int_equal(distill_run_arena(&need, m.bytes, m.length), DISTILL_RUN_OK);
    m.arena = malloc(need);
    assert_int_equal(distill_run_open(&m.run, m.bytes, m.length, m.arena, need), DISTILL_RUN_OK);
    distill_run_input_grid(&g, m.run);
    m.grid = (kd_grid){g.scale, g.zero, 0, g.high - g.low};
    m.zero = g.zero;
    return m;
}

static void model_free(model *m) {
    free(m->bytes);
    free(m->arena);
}

/* Every byte of every channel. */
static void pictures_give_the_programs_bytes(void **state) {
    (void)state;
    static const kd_normaliser hows[] = {
        {.unit = 1.0f / 255.0f},
        {.unit = 1.0f / 255.0f,
         .channels = 3,
         .mean = {0.4914f, 0.4822f, 0.4465f},
         .deviation = {0.247f, 0.2435f, 0.2616f}},
        {.unit = 0.0123f, .channels = 3, .mean = {1, 2, 3}, .deviation = {0.1f, 10, 3}}};
    const kd_data_spec data = {.kind = KD_DATA_IDX};
    uint8_t pixels[256 * 3];
    for (int i = 0; i < 256 * 3; i++) pixels[i] = (uint8_t)(i / 3 + 85 * (i % 3));
    for (int how = 0; how < 3; how++)
        for (int bits = 3; bits <= 8; bits += 5) {
            model m = make_model((kd_extent){16, 16, 3}, &data, &hows[how], -2.1, 2.6, bits);
            distill_picture picture;
            float x[256 * 3];
            assert_int_equal(distill_picture_open(&picture, m.run, m.bytes, m.length),
                             DISTILL_RUN_OK);
            distill_picture_put(&picture, m.run, pixels);
            kd_normalise_bytes(x, pixels, 256, 3, &hows[how]);
            for (int i = 0; i < 256 * 3; i++)
                assert_int_equal(distill_run_input(m.run)[i],
                                 kd_grid_steps(&m.grid, x[i]) + m.zero);
            model_free(&m);
        }
}

/* Some seconds of tones that come and go over a little noise, in 16 bits. */
static void fill_sound(int16_t *out, int64_t n, int rate, int which) {
    kd_rng rng = kd_rng_init(3, (uint64_t)which);
    for (int64_t i = 0; i < n; i++) {
        const double t = (double)i / rate, swell = exp(-pow((t - 0.5 - 0.1 * which) / 0.15, 2));
        const double tone = sin(6.283 * (300 + 200 * which) * t) + 0.3 * sin(6.283 * 1900 * t * t);
        out[i] = (int16_t)(9000 * swell * tone + 40 * (kd_rng_uniform(&rng) - 0.5));
    }
}

/* As dataset_audio.c does with samples that are there. */
static void program_makes(float *x, const kd_audio_spec *audio, const int16_t *sound, int64_t count,
                          int64_t frames, const kd_normaliser *how) {
    const int64_t clip = (int64_t)floor(audio->seconds * audio->sample_rate + 0.5);
    if (audio->trim <= 0 && count > clip) count = clip;
    const int64_t padded = count > clip ? count : clip;
    float *samples = calloc((size_t)padded, sizeof *samples);
    for (int64_t i = 0; i < count; i++) samples[i] = (float)sound[i] / 32768.0f;
    kd_logmel *logmel;
    ASSERT_OK(
        kd_logmel_create(&logmel, audio->sample_rate, audio->window, audio->hop, audio->mels));
    float *all = malloc((size_t)(padded / audio->hop * audio->mels) * sizeof *all);
    ASSERT_OK(kd_logmel_compute(logmel, all, samples, padded));
    kd_clip_window(x, frames, all, kd_logmel_frames(logmel, padded), audio);
    kd_normalise_features(x, x, frames * audio->mels, 1, how);
    kd_clip_normalise(x, frames, audio);
    kd_logmel_free(logmel);
    free(samples);
    free(all);
}

static void sounds_give_nearly_the_programs_bytes(void **state) {
    (void)state;
    static const kd_audio_spec specs[] = {
        {8000, 256, 128, 32, 0.768, 35, 50, KD_CLIP_BANDS},
        {16000, 400, 160, 40, 0.6, 0, 80, KD_CLIP_PLAIN},
        {8000, 250, 100, 20, 1.5, 0, 60, KD_CLIP_RANGE},
        {8000, 256, 128, 32, 0.4, 40, 70, KD_CLIP_RANGE}, /* shorter than the word */
    };
    enum { MOST = 32000 };
    static int16_t sound[MOST];
    int64_t values = 0, other = 0;
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        const kd_audio_spec *audio = &specs[i];
        const kd_data_spec data = {.kind = KD_DATA_AUDIO, .audio = *audio};
        const kd_normaliser how = {.unit = 1, .channels = 1, .mean = {0.3f}, .deviation = {0.4f}};
        const int64_t frames = (int64_t)(audio->seconds * audio->sample_rate + 0.5) / audio->hop;
        model m = make_model((kd_extent){frames, audio->mels, 1}, &data, &how, -2, 2, 8);
        distill_sound *s;
        distill_picture picture;
        size_t need;
        assert_int_equal(distill_picture_open(&picture, m.run, m.bytes, m.length),
                         DISTILL_RUN_INPUT);
        assert_int_equal(distill_sound_arena(&need, m.run, m.bytes, m.length, MOST),
                         DISTILL_RUN_OK);
        void *arena = malloc(need);
        assert_int_equal(distill_sound_open(&s, m.run, m.bytes, m.length, MOST, arena, need - 8),
                         DISTILL_RUN_ARENA);
        assert_int_equal(distill_sound_open(&s, m.run, m.bytes, m.length, MOST, arena, need),
                         DISTILL_RUN_OK);
        assert_int_equal(distill_sound_rate(s), audio->sample_rate);
        float *x = malloc((size_t)(frames * audio->mels) * sizeof *x);
        for (int which = 0; which < 3; which++) {
            const int64_t count = which == 0 ? 3000 : 8000 * (which + 1);
            fill_sound(sound, count, audio->sample_rate, which);
            distill_sound_put(s, m.run, sound, (uint32_t)count);
            program_makes(x, audio, sound, count, frames, &how);
            for (int64_t k = 0; k < frames * audio->mels; k++) {
                const int right = kd_grid_steps(&m.grid, x[k]) + m.zero;
                const int found = distill_run_input(m.run)[k];
                if (abs(found - right) > 1)
                    fail_msg("spec %zu, sound %d, value %lld: %d, should be %d", i, which,
                             (long long)k, found, right);
                values++;
                other += found != right;
            }
        }
        free(x);
        free(arena);
        model_free(&m);
    }
    print_message("%lld of %lld values are one step off\n", (long long)other, (long long)values);
    assert_true(other * 200 < values);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(pictures_give_the_programs_bytes),
                                       cmocka_unit_test(sounds_give_nearly_the_programs_bytes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
