/* Whether a model fits on a device in so many bits, and how fast it can be there.
 *
 *     memory   parameters·bits/8 + tokens·cache·2 + activations + the program
 *     seconds  max(bytes read / (bandwidth·0.7), operations / (most of the device·0.4)) of an
 * answer
 *
 * Bytes read are the parameters an answer goes through, bits/8 each, and the cache. Weights of at
 * most 8 bits are multiplied as integers. The cache of keys and values is kept in 16 bits, the
 * activations in 32, or in 8 where the model computes in integers alone. 0.7 and 0.4 are what
 * well-made kernels reach; they are assumptions and are printed with the table.
 */
#ifndef KD_PLANNER_FIT_H
#define KD_PLANNER_FIT_H

#include <stdbool.h>

#include "base/text.h"
#include "planner/device.h"

#define KD_BANDWIDTH_REACHED  0.7
#define KD_OPERATIONS_REACHED 0.4
enum { KD_WORKLOAD_NAME_MAX = 96, KD_PLAN_FORMATS_MAX = 16, KD_STAGES_MAX = 8 };

/* What a model is to memory and time. "An answer" is what `unit` says: a token, a sample, a window
 * of sound. */
typedef struct {
    char name[KD_WORKLOAD_NAME_MAX];
    char unit[24];
    double parameters;
    double cache;       /* numbers of keys and values that a token leaves; 0: it has no cache    */
    double activations; /* numbers that lie in memory at once                                    */
    double read;        /* parameters that an answer goes through, as often as it does           */
    double operations;  /* additions and multiplications of an answer                            */
    bool integers;      /* of 8 bits and fewer it computes in integers alone                     */
    char assumed[160];  /* what was assumed about it, for people; "" when all is known           */
} kd_workload;

/* Numbers that weights lie in. */
typedef struct {
    const char *name;
    double bits; /* of a weight, scales included */
} kd_plan_format;

typedef struct {
    double weights, cache, activations; /* bytes                                    */
    double memory;                      /* of RAM, the program included             */
    double room;                        /* bytes of RAM there are for it            */
    bool fits;                          /* in RAM, and weights in flash where they lie there */
    double seconds;                     /* of an answer                             */
} kd_fit;

/* `tokens` are kept in the cache. */
kd_fit kd_fit_of(const kd_workload *model, const kd_device *device, double bits, double tokens);

/* A decoder of so many parameters as the LLaMA family has it, P = 12·L·(128·L)², for who knows no
 * more than the number. */
kd_workload kd_workload_decoder(double parameters);

/* A model over formats and devices: a table of memory and answers a second, and what it assumes. */
void kd_plan_write_devices(kd_text *out, const kd_workload *model, const kd_plan_format *format,
                           int formats, const kd_devices *devices, double tokens);

/* The same for one device, with what the memory is made of, and which lever to pull first. */
void kd_plan_write_device(kd_text *out, const kd_workload *model, const kd_plan_format *format,
                          int formats, const kd_device *device, double tokens);

/* One stage of several that share a device. */
typedef struct {
    kd_workload model;
    char name[KD_DEVICE_NAME_MAX]; /* "hear"                                            */
    double rate;                   /* answers a second that are wanted                  */
    double bits;                   /* of its weights; 0: the plan chooses               */
    double tokens;
} kd_stage;

/* All of them on one device: for each the format, the memory and the share of the device's time. Of
 * those that leave it open the widest that lets all fit, and keep up, is taken. */
void kd_plan_write_stages(kd_text *out, const kd_stage *stage, int stages,
                          const kd_plan_format *format, int formats, const kd_device *device);

#endif
