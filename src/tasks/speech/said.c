#include "tasks/speech/said.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/ranks.h"

/* Texts of model m: what it said, with whether it was bad, or what it said again. */
static char **texts_of(const kd_speech_result *result, int m, bool again) {
    return again ? result[m].said_again : result[m].said;
}

int kd_said_pack(kd_flow_bytes *out, const kd_speech_result *result, int m, int last, bool again,
                 const int64_t *which, int64_t n) {
    size_t length = 0;
    for (int k = m; k <= last; k++)
        for (int64_t i = 0; i < n; i++) length += strlen(texts_of(result, k, again)[which[i]]) + 2;
    char *at = kd_flow_room(out, length);
    if (!at) return KD_EINTERNAL;
    for (int k = m; k <= last; k++) {
        for (int64_t i = 0; i < n; i++) {
            const char *text = texts_of(result, k, again)[which[i]];
            *at++ = result[k].bad[which[i]] ? 'b' : 'g';
            memcpy(at, text, strlen(text) + 1);
            at += strlen(text) + 1;
        }
    }
    return KD_OK;
}

int kd_said_unpack(kd_speech_result *result, int m, int last, bool again, const int64_t *which,
                   int64_t n, const char *at) {
    for (int k = m; k <= last; k++) {
        for (int64_t i = 0; i < n; i++) {
            char **text = &texts_of(result, k, again)[which[i]];
            result[k].bad[which[i]] = *at++ == 'b';
            if (!*text && !(*text = strdup(at))) return kd_fail_memory(strlen(at), "transcripts");
            at += strlen(at) + 1;
        }
    }
    return KD_OK;
}

int kd_said_share(kd_speech_result *result, int m, int last, bool again, const int64_t *which,
                  int64_t n) {
    kd_flow_bytes all = {0};
    if (kd_rank_count() == 1) return KD_OK;
    int status = kd_ranks_worst(
        kd_rank_first() ? kd_said_pack(&all, result, m, last, again, which, n) : KD_OK);
    size_t length = all.length;
    if (status == KD_OK) {
        kd_ranks_share(&length, sizeof length);
        status = kd_ranks_worst(kd_flow_room(&all, length) ? KD_OK : KD_EINTERNAL);
    }
    if (status == KD_OK) {
        kd_ranks_share(all.bytes, length);
        status = kd_ranks_worst(kd_said_unpack(result, m, last, again, which, n, all.bytes));
    }
    free(all.bytes);
    return status;
}
