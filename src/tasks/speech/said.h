/* What models said, on its way from rank to rank: of the models m … last of a measurement and n
 * utterances, `which` by number, what they said and whether it was bad, or what they said again. */
#ifndef KD_TASKS_SPEECH_SAID_H
#define KD_TASKS_SPEECH_SAID_H

#include "base/flow.h"
#include "tasks/speech/speech_eval.h"

/* As bytes, and back: what is known here already stays. KD_EINTERNAL without memory. */
int kd_said_pack(kd_flow_bytes *out, const kd_speech_result *result, int m, int last, bool again,
                 const int64_t *which, int64_t n);
int kd_said_unpack(kd_speech_result *result, int m, int last, bool again, const int64_t *which,
                   int64_t n, const char *bytes);
/* What the first rank has of them, to all. */
int kd_said_share(kd_speech_result *result, int m, int last, bool again, const int64_t *which,
                  int64_t n);

#endif
