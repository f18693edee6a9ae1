/* The student of a Whisper model before it has learnt anything: its teacher with fewer layers
 * (Gandhi, von Platen, Rush 2023, section 4). */
#ifndef KD_TASKS_SPEECH_STUDENT_H
#define KD_TASKS_SPEECH_STUDENT_H

#include "files/whisper_file.h"

/* Which n of a teacher's `layers` layers a student keeps: linspace(0, layers − 1, n) rounded down,
 * the last of them always the teacher's last. 1 ≤ n ≤ layers (contract). */
void kd_student_layers(int *out, int n, int layers);

/* KD_ECONFIG when the teacher has fewer layers than a student is to keep. */
int kd_student_check(const kd_whisper_file *teacher, int encoder_layers, int decoder_layers);

/* A copy of the teacher that keeps so many layers of encoder and decoder, 0 meaning all. Alignment
 * heads follow their layers, those of layers left out are dropped. Nothing of the teacher is
 * borrowed. KD_ECONFIG when the teacher has fewer layers. The caller frees *out. */
int kd_student_create(kd_whisper_file **out, const kd_whisper_file *teacher, int encoder_layers,
                      int decoder_layers, kd_whisper_training training);

#endif
