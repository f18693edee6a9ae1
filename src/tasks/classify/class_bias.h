/* One number added to the output biases of some classes: for a student whose transfer set lacked
 * them, or held them too often.
 *
 * Such a student knows from its teacher's soft targets what the missing class looks like, but has
 * learned along the way that it is hardly ever the answer: its output bias is too low (Hinton,
 * Vinyals and Dean 2015, section 3). z_v ← z_v + shift for the classes v of a set S mends that
 * after training.
 */
#ifndef KD_TASKS_CLASSIFY_CLASS_BIAS_H
#define KD_TASKS_CLASSIFY_CLASS_BIAS_H

#include <stdint.h>

enum { KD_BIAS_LABELS_MAX = 64 };

typedef struct {
    int count; /* labels in S, at least 1 and not all there are */
    int32_t label[KD_BIAS_LABELS_MAX];
    double shift;
} kd_class_bias;

/* Adds the shift to logits (n,classes). */
void kd_class_bias_add(const kd_class_bias *bias, int64_t n, int classes, float *logits);

/* Finds the shift with which most of n samples are right. Exactly: as the shift grows, the answer
 * for a sample changes once, from the best class outside S to the best class inside, where the
 * shift is the difference of their logits. So the count of right answers is a step function; the
 * result is the middle of its highest step, of the widest if several are as high (0.5 beyond the
 * last change where that has no end), and 0 when no step is higher than the one 0 is on. `logits`
 * (n,classes) are without the shift. KD_EINTERNAL without memory. */
int kd_class_bias_choose(kd_class_bias *bias, int64_t n, int classes, const float *logits,
                         const int32_t *label);

#endif
