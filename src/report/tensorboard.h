/* Curves for TensorBoard: event files beside the run's log.
 *
 * A file is a row of records, each: length (u64), masked CRC-32C of it (u32), a protocol-buffer
 * `Event` of so many bytes, its masked CRC-32C (u32); all little-endian. masked(c) = (c >>> 15) +
 * 0xa282ead8 with the rotation in 32 bits. Of the messages only what curves need is written:
 *
 *     Event   { double wall_time = 1; int64 step = 2; string file_version = 3;
 *               Summary summary = 5; SessionLog session_log = 7; }
 *     Summary { repeated Value value = 1; }       Value { string tag = 1; float simple_value = 2; }
 *     SessionLog { SessionStatus status = 1; }    START = 1
 *
 * Every start of a stage makes a file of its own; its START event takes back what earlier starts
 * had written at that step or later.
 */
#ifndef KD_REPORT_TENSORBOARD_H
#define KD_REPORT_TENSORBOARD_H

#include <stdint.h>

#include "report/metric.h"

typedef struct kd_tensorboard kd_tensorboard;

/* Makes `folder` and in it events.out.tfevents.<time>.<host>.<process>; `step` is the first that
 * will be written. KD_EIO. The caller closes. */
int kd_tensorboard_open(kd_tensorboard **out, const char *folder, int64_t step);
void kd_tensorboard_close(kd_tensorboard *board);

/* The numbers of a step; those that are not finite are left out. One write(2), no allocation.
 * KD_EIO when it could not be written. */
int kd_tensorboard_add(kd_tensorboard *board, int64_t step, int count, const kd_scalar *scalar);

#endif
