/* speech/student: which layers a student keeps, and that it is its teacher otherwise. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "distill/checkpoint.h"
#include "tasks/speech/student.h"
#include "whisper_tiny.h"

static void keeps_the_published_layers(void **state) {
    (void)state;
    static const struct {
        int n, layers, kept[6];
    } known[] = {
        {2, 6, {0, 5}}, {4, 12, {0, 3, 7, 11}}, {2, 32, {0, 31}}, {6, 6, {0, 1, 2, 3, 4, 5}},
        {1, 6, {5}},    {3, 4, {0, 1, 3}},      {1, 1, {0}}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        int kept[6];
        kd_student_layers(kept, known[i].n, known[i].layers);
        for (int k = 0; k < known[i].n; k++) assert_int_equal(kept[k], known[i].kept[k]);
    }
}

static void assert_same_values(const kd_whisper *a, const char *name, const kd_whisper *b,
                               const char *other) {
    const kd_param *p = kd_params_find(a->params, name), *q = kd_params_find(b->params, other);
    assert_non_null(p);
    assert_non_null(q);
    assert_int_equal(p->tensor.size, q->tensor.size);
    for (int64_t i = 0; i < p->tensor.size; i++) /* a file has them in float32 */
        assert_true((float)p->tensor.value[i] == (float)q->tensor.value[i]);
}

/* The tiny teacher has 2 and 3 layers. */
static void copies_what_it_keeps(void **state) {
    (void)state;
    kd_whisper_file *teacher = tiny_whisper_file(), *student;
    assert_ok(kd_student_create(&student, teacher, 0, 2, KD_WHISPER_TRAIN_DECODER));
    const kd_whisper *s = student->model, *t = teacher->model;
    assert_int_equal(s->spec.audio_layers, 2);
    assert_int_equal(s->spec.text_layers, 2);
    static const char *const same[] = {"encoder.conv1.weight",
                                       "encoder.positional_embedding",
                                       "encoder.blocks.1.mlp.0.weight",
                                       "encoder.ln_post.bias",
                                       "decoder.token_embedding.weight",
                                       "decoder.ln.weight",
                                       "decoder.blocks.0.cross_attn.key.weight"};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        assert_same_values(s, same[i], t, same[i]);
    assert_same_values(s, "decoder.blocks.1.attn.value.bias", t,
                       "decoder.blocks.2.attn.value.bias");
    assert_same_values(s, "decoder.blocks.1.mlp.2.weight", t, "decoder.blocks.2.mlp.2.weight");
    assert_int_equal(kd_params_find(s->params, same[0])->flags, KD_PARAM_STATE);
    assert_true(kd_params_find(s->params, same[4])->flags & KD_PARAM_TRAINED);
    kd_whisper_file_free(student);
    kd_whisper_file_free(teacher);
}

static void with_all_layers_it_is_its_teacher(void **state) {
    (void)state;
    kd_whisper_file *teacher = tiny_whisper_file(), *student;
    assert_ok(kd_student_create(&student, teacher, 2, 3, KD_WHISPER_TRAIN_NOTHING));
    kd_hash a, b;
    assert_ok(kd_params_hash(&a, teacher->model->params));
    assert_ok(kd_params_hash(&b, student->model->params));
    assert_string_equal(a.hex, b.hex);
    assert_string_equal(kd_tokenizer_hash(teacher->tokenizer).hex,
                        kd_tokenizer_hash(student->tokenizer).hex);
    kd_whisper_file_free(student);
    kd_whisper_file_free(teacher);
}

/* Heads of layers left out would point runtimes at layers that are not there. */
static void alignment_heads_follow_their_layers(void **state) {
    (void)state;
    static const kd_whisper_head heads[] = {{0, 1}, {1, 0}, {2, 3}, {2, 1}};
    kd_whisper_file *teacher = tiny_whisper_file(), *student;
    teacher->head_count = 4;
    teacher->head = malloc(sizeof heads);
    assert_non_null(teacher->head);
    memcpy(teacher->head, heads, sizeof heads);
    assert_ok(kd_student_create(&student, teacher, 0, 2, KD_WHISPER_TRAIN_NOTHING));
    static const kd_whisper_head kept[] = {{0, 1}, {1, 3}, {1, 1}};
    assert_int_equal(student->head_count, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(student->head[i].layer, kept[i].layer);
        assert_int_equal(student->head[i].head, kept[i].head);
    }
    kd_whisper_file_free(student);
    kd_whisper_file_free(teacher);
}

static void a_student_is_a_file_of_its_own(void **state) {
    (void)state;
    char path[] = "/tmp/distill-student-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    kd_whisper_file *teacher = tiny_whisper_file(), *student, *read;
    assert_ok(kd_student_create(&student, teacher, 1, 1, KD_WHISPER_TRAIN_DECODER));
    kd_whisper_file_free(teacher); /* nothing of it is borrowed */
    assert_ok(kd_whisper_bin_write(path, student, &kd_format_f32));
    assert_ok(kd_whisper_file_open(&read, path, KD_WHISPER_TRAIN_NOTHING));
    assert_int_equal(read->model->spec.text_layers, 1);
    assert_int_equal(read->model->spec.audio_layers, 1);
    assert_same_values(read->model, "decoder.blocks.0.mlp.0.weight", student->model,
                       "decoder.blocks.0.mlp.0.weight");
    kd_whisper_file_free(read);
    kd_whisper_file_free(student);
    unlink(path);
}

static void more_layers_than_the_teacher_are_refused(void **state) {
    (void)state;
    kd_whisper_file *teacher = tiny_whisper_file(), *student;
    assert_int_equal(kd_student_create(&student, teacher, 0, 4, KD_WHISPER_TRAIN_DECODER),
                     KD_ECONFIG);
    assert_null(student);
    assert_non_null(strstr(kd_error(), "decoder_layers: 4"));
    assert_int_equal(kd_student_create(&student, teacher, 3, 0, KD_WHISPER_TRAIN_DECODER),
                     KD_ECONFIG);
    kd_whisper_file_free(teacher);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_the_published_layers),
        cmocka_unit_test(copies_what_it_keeps),
        cmocka_unit_test(with_all_layers_it_is_its_teacher),
        cmocka_unit_test(alignment_heads_follow_their_layers),
        cmocka_unit_test(a_student_is_a_file_of_its_own),
        cmocka_unit_test(more_layers_than_the_teacher_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
