#include "tasks/encoder/score.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/order.h"
#include "base/size.h"

enum { CONTEXTS = 4, SENTENCES = 32 }; /* that are read together */

/* One row of V logits. */
static void add(kd_encoder_score *out, const kd_real *z, int64_t V, int32_t label) {
    int64_t best = 0;
    double sum = 0;
    for (int64_t i = 1; i < V; i++)
        if (z[i] > z[best]) best = i;
    for (int64_t i = 0; i < V; i++) sum += exp((double)(z[i] - z[best]));
    out->nats += log(sum) + (double)(z[best] - z[label]);
    out->right += best == label;
    out->samples++;
}

/* --- masked tokens -----------------------------------------------------------------------------
 */

static int64_t find_chosen(int32_t *place, const kd_masked_rows *rows, int64_t n) {
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++)
        if (rows->chosen[i]) place[count++] = (int32_t)i;
    return count;
}

/* Rows place[0 … count − 1] of `states` (n,width), the chosen ones, alone get logits. */
static int score_chosen(kd_encoder_score *out, const kd_bert *m, const int32_t *label,
                        kd_real *states, int64_t n, const int32_t *place, int64_t count,
                        kd_tape *tape) {
    const int64_t width = m->spec.width, V = m->spec.vocabulary;
    if (kd_tape_guard(tape)) return KD_EINTERNAL;
    kd_tape_reset(tape);
    kd_tensor x = {.rank = 2, .shape = {n, width}, .size = n * width, .value = states};
    const kd_real *z = kd_bert_logits(m, tape, kd_embedding(tape, &x, place, count))->value;
    for (int64_t k = 0; k < count; k++) add(out, z + k * V, V, label[place[k]]);
    kd_tape_reset(tape);
    return KD_OK;
}

int kd_encoder_score_masked(kd_encoder_score *out, const kd_bert *model, const kd_masked *contexts,
                            kd_tape *tape) {
    const int64_t N = contexts->length, count = kd_masked_count(contexts), most = CONTEXTS * N;
    const bool recording = tape->recording, training = tape->training;
    kd_masked_rows rows;
    *out = (kd_encoder_score){0};
    int status = kd_masked_rows_init(&rows, CONTEXTS, N);
    kd_real *states = malloc(kd_array_bytes(most * model->spec.width, sizeof *states));
    int32_t *place = malloc(kd_array_bytes(most, sizeof *place));
    if (status == KD_OK && (!states || !place))
        status = kd_fail_memory((size_t)(most * model->spec.width) * sizeof *states, "contexts");
    tape->recording = tape->training = false;
    for (int64_t i = 0; i < count && status == KD_OK; i += CONTEXTS) {
        const int64_t B = kd_smaller(CONTEXTS, count - i);
        int64_t real;
        for (int64_t b = 0; b < B; b++) kd_masked_read(contexts, 0, i + b, &rows, b, &real);
        const kd_bert_input in = {rows.token, rows.first, rows.end, B, N};
        status = kd_bert_run(model, tape, states, &in);
        const int64_t chosen = find_chosen(place, &rows, B * N);
        if (status == KD_OK && chosen > 0)
            status = score_chosen(out, model, rows.label, states, B * N, place, chosen, tape);
    }
    tape->recording = recording;
    tape->training = training;
    kd_masked_rows_clear(&rows);
    free(states);
    free(place);
    return status;
}

/* --- sentences ---------------------------------------------------------------------------------
 */

static int score_row(kd_encoder_score *out, const kd_bert *m, const kd_sentence_row *row,
                     kd_real *states, kd_tape *tape) {
    const int64_t width = m->spec.width, V = m->spec.classes;
    const kd_bert_input in = {row->token, row->first, row->end, 1, row->tokens};
    int status = kd_bert_run(m, tape, states, &in);
    if (status < 0) return status;
    if (kd_tape_guard(tape)) return KD_EINTERNAL;
    kd_tensor x = {.rank = 3, .shape = {1, row->tokens, width}, .value = states};
    x.size = row->tokens * width;
    const kd_real *z = kd_bert_classes(m, tape, &x, row->start, row->n)->value;
    for (int64_t i = 0; i < row->n; i++) {
        const int64_t right = out->right;
        const int32_t class = row->label[i];
        add(out, z + i * V, V, class);
        out->class_right[class] += out->right - right;
        out->class_samples[class]++;
    }
    kd_tape_reset(tape);
    return KD_OK;
}

int kd_encoder_score_sentences(kd_encoder_score *out, const kd_bert *model,
                               const kd_sentences *sentences, int64_t length, kd_tape *tape) {
    const bool recording = tape->recording, training = tape->training;
    const size_t size = (size_t)(SENTENCES * length * model->spec.width);
    kd_sentence_row row;
    *out = (kd_encoder_score){0};
    int status = kd_sentence_row_init(&row, SENTENCES, length);
    kd_real *states = malloc(size * sizeof *states);
    if (status == KD_OK && !states) status = kd_fail_memory(size * sizeof *states, "sentences");
    tape->recording = tape->training = false;
    for (int64_t i = 0; i < sentences->count && status == KD_OK; i += SENTENCES) {
        kd_sentence_row_fill(&row, sentences, NULL, i, kd_smaller(SENTENCES, sentences->count - i));
        status = score_row(out, model, &row, states, tape);
    }
    tape->recording = recording;
    tape->training = training;
    kd_sentence_row_clear(&row);
    free(states);
    return status;
}
