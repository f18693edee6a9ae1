/* Shapes that do not fit: the op aborts and names itself and both shapes. And what ops owe the tape
 * beyond their gradients. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct {
    kd_tensor *(*call)(kd_tape *tape, kd_tensor **leaf, const void *args);
    const void *args;
    op_leaf leaf[3];
    const char *says;
} misfit;

static const misfit misfits[] = {
    {call_matmul, PLAIN_PLAIN, {LEAF(3, 5), LEAF(4, 7)}, "matmul: shapes (3, 5) and (4, 7)"},
    {call_matmul,
     PLAIN_PLAIN,
     {LEAF(2, 3, 5), LEAF(3, 5, 7)},
     "matmul: shapes (2, 3, 5) and (3, 5, 7)"},
    {call_linear, WITH_BIAS, {LEAF(3, 5), LEAF(7, 4), LEAF(7)}, "linear: shapes (3, 5) and (7, 4)"},
    {call_linear, WITH_BIAS, {LEAF(3, 5), LEAF(7, 5), LEAF(5)}, "linear: shapes (7, 5) and (5)"},
    {call_linear_onto,
     BARE,
     {LEAF(3, 6), LEAF(3, 5), LEAF(7, 5)},
     "linear: shapes (3, 6) and (3, 7)"},
    {call_bias, NULL, {LEAF(3, 5), LEAF(3)}, "bias: shapes (3, 5) and (3)"},
    {call_add, &(kd_act){KD_ACT_NONE}, {LEAF(3, 5), LEAF(15)}, "add: shapes (3, 5) and (15)"},
    {call_mul, NULL, {LEAF(3, 5), LEAF(5, 3)}, "mul: shapes (3, 5) and (5, 3)"},
    {call_scale_rows, NULL, {LEAF(3, 5), LEAF(5)}, "scale_rows: shapes (3, 5) and (5)"},
    {call_reshape, &(reshape_args){2, {4, 4}}, {LEAF(3, 5)}, "reshape: shapes (3, 5) and (4, 4)"},
    {call_transpose, (const int[]){1, 1}, {LEAF(3, 5)}, "transpose: an axis comes twice"},
    {call_slice, &(slice_args){1, 2, 6, 1}, {LEAF(3, 5)}, "slice: 2:6:1 along axis 1 of (3, 5)"},
    {call_concat, &(int){0}, {LEAF(3, 5), LEAF(3, 4)}, "concat: shapes (3, 5) and (3, 4)"},
    {call_pad, &(pad_args){2, 1, 1}, {LEAF(3, 5)}, "pad: axis 2 of (3, 5)"},
    {call_embedding,
     &(embedding_args){embedding_ids, 7},
     {LEAF(4, 5)},
     "embedding: id[0] = 6, table (4, 5)"},
    {call_attention,
     &(attention_args){2, false, NULL, NULL, NULL},
     {LEAF(2, 3, 4), LEAF(2, 5, 6), LEAF(2, 5, 6)},
     "attention: shapes (2, 3, 4) and (2, 5, 6)"},
    {call_attention,
     &(attention_args){3, false, NULL, NULL, NULL},
     {LEAF(2, 3, 4), LEAF(2, 5, 4), LEAF(2, 5, 4)},
     "attention: 3 heads of 4 channels"},
    {call_attention,
     &(attention_args){1, true, NULL, NULL, NULL},
     {LEAF(2, 7, 4), LEAF(2, 5, 4), LEAF(2, 5, 4)},
     "attention (causal): shapes (2, 7, 4) and (2, 5, 4)"},
    {call_distill_loss,
     &(loss_args){SPEC(1.0, 0.0, 1.0, 0.0)},
     {LEAF(2, 3, 5)},
     "distill_loss: logits (2, 3, 5)"},
    {call_distill_loss,
     &(loss_args){SPEC(1.0, 0.0, 1.0, 0.0)},
     {LEAF(2, 3)},
     "label[0] = 4 of 3 classes"},
};

/* What the call writes to stderr before it aborts, in a process of its own. */
static void expect_abort(const misfit *m) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        kd_tape *tape;
        kd_tensor *leaf[3] = {0};
        if (kd_tape_create(&tape, 1) != KD_OK) _exit(2);
        for (int i = 0; i < 3 && m->leaf[i].rank > 0; i++) {
            leaf[i] = kd_tape_input(tape, m->leaf[i].rank, m->leaf[i].shape);
            memset(leaf[i]->value, 0, (size_t)leaf[i]->size * sizeof(kd_real));
        }
        m->call(tape, leaf, m->args);
        _exit(0);
    }
    char text[1024];
    int status;
    close(ends[1]);
    ssize_t length = 0, got;
    while ((got = read(ends[0], text + length, sizeof text - 1 - (size_t)length)) > 0)
        length += got;
    text[length] = 0;
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT || !strstr(text, m->says))
        fail_msg("no abort with \"%s\", but status %d and \"%s\"", m->says, status, text);
}

static void test_misfits(void **state) {
    (void)state;
    omp_set_num_threads(1);
    for (int i = 0; i < OP_COUNT(misfits); i++) expect_abort(&misfits[i]);
}

/* The tape's generator moves on by the blocks used, so two dropouts differ, and the second can be
 * repeated from the state in between. */
static void test_dropout_consumes_the_generator(void **state) {
    (void)state;
    enum { SIZE = 1001 };
    kd_tape *tape;
    assert_int_equal(kd_tape_create(&tape, 1), KD_OK);
    kd_tensor *x = kd_tape_input(tape, 1, (int64_t[]){SIZE});
    for (int i = 0; i < SIZE; i++) x->value[i] = 1;
    kd_tensor *first = kd_dropout(tape, x, KD_REAL(0.5));
    assert_int_equal(tape->rng.counter, (SIZE + 3) / 4);
    const kd_rng between = tape->rng;
    kd_tensor *second = kd_dropout(tape, x, KD_REAL(0.5));
    tape->rng = between;
    kd_tensor *again = kd_dropout(tape, x, KD_REAL(0.5));
    int differing = 0;
    for (int i = 0; i < SIZE; i++) differing += first->value[i] != second->value[i];
    assert_in_range(differing, SIZE * 2 / 5, SIZE * 3 / 5);
    assert_memory_equal(second->value, again->value, SIZE * sizeof(kd_real));
    kd_tape_free(tape);
}

/* The loss hands its gradient's memory over: z is left with no second buffer to fill. */
static void test_loss_gradient_needs_one_buffer(void **state) {
    (void)state;
    enum { ROWS = 64, CLASSES = 40000 }; /* 10 MB of float: an arena chunk holds one, not two */
    kd_tape *tape;
    assert_int_equal(kd_tape_create(&tape, 1), KD_OK);
    kd_tensor *z = kd_tape_input(tape, 2, (int64_t[]){ROWS, CLASSES});
    memset(z->value, 0, (size_t)z->size * sizeof(kd_real));
    z->needs_grad = true;
    static int32_t label[ROWS];
    const kd_loss_spec spec = {.hard_weight = 1, .temperature = 1, .normalizer = ROWS};
    const size_t before = kd_arena_reserved(tape->arena);
    kd_tensor *loss = kd_distill_loss(tape, z, label, NULL, NULL, spec, NULL);
    kd_tape_backward(tape, loss);
    assert_true(kd_arena_reserved(tape->arena) - before < 2 * (size_t)z->size * sizeof(kd_real));
    assert_true(z->grad_written && z->grad[0] < 0 && z->grad[1] > 0);
    kd_tape_free(tape);
}
