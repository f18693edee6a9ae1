/* Recordings for the tiny model, which hears one second at a time. */
#ifndef KD_TESTS_SPEECH_TINY_H
#define KD_TESTS_SPEECH_TINY_H

#include <sndfile.h>

#include "data/utterances.h"
#include "test_data.h"
#include "whisper_tiny.h"

/* Noise of its own for each `kind`, 16 bits. */
static inline void tiny_sound(const char *path, int samples, int kind) {
    SF_INFO info = {.samplerate = 16000, .channels = 1, .format = SF_FORMAT_WAV | SF_FORMAT_PCM_16};
    SNDFILE *file = sf_open(path, SFM_WRITE, &info);
    assert_non_null(file);
    for (int i = 0; i < samples; i++) {
        const short sample =
            (short)((int64_t)i * (7919 + 2 * kind) % 20011 * ((i >> (8 + kind % 4)) % 3));
        assert_int_equal(sf_writef_short(file, &sample, 1), 1);
    }
    sf_close(file);
}

/* `count` utterances of `kinds` recordings k0.wav … of `least` samples and `more` for each kind, by
 * two speakers in turns of three; their texts are numbers. */
static inline kd_utterances tiny_utterances_of(test_folder *folder, int count, int kinds, int least,
                                               int more) {
    char name[32], path[KD_PATH_MAX], *list = calloc(1, (size_t)count * 64 + 1), *at = list;
    kd_utterances out = {0};
    assert_non_null(list);
    for (int k = 0; k < kinds; k++) {
        snprintf(name, sizeof name, "k%d.wav", k);
        tiny_sound(test_path(folder, name), least + more * k, k);
    }
    for (int i = 0; i < count; i++)
        at += sprintf(at, "k%d.wav\tnumber %d\t%s\n", i % kinds, i, i / 3 % 2 ? "bob" : "ann");
    test_copy(path, sizeof path, test_path(folder, "list.tsv"));
    test_write(path, list, strlen(list));
    assert_ok(kd_utterances_read(&out, path));
    free(list);
    return out;
}

static inline kd_utterances tiny_utterances(test_folder *folder, int count, int kinds) {
    return tiny_utterances_of(folder, count, kinds, 2000, 1300);
}

#endif
