/* Exported students by runtime/, the runner that firmwares and apps take into their own trees. */
#ifndef KD_CLI_DEVICE_H
#define KD_CLI_DEVICE_H

#include "distill_run.h"

#include "quant/blob.h"

/* A blob in memory, and a context of the runner with its arena. */
typedef struct {
    char *bytes;
    size_t length, arena_bytes;
    void *arena;
    distill_run *run;
} kd_device;

/* Opens an exported file as a device would. KD_EDATA when the runner refuses it. The caller closes,
 * also after an error. */
int kd_device_open(kd_device *device, const char *path);
void kd_device_close(kd_device *device);

/* One normalised sample x (h,w,c) → logits (classes): the bits of kd_blob_run. */
void kd_device_run(kd_device *device, const float *x, float *logits);

/* Writes the exported file `model` as C: a header with the array and what it needs, both called as
 * the file `out` is. */
int kd_device_write_array(const char *out, const char *model);

#endif
