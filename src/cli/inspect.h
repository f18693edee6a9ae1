/* What `distill inspect` says about each kind of file, as text. */
#ifndef KD_CLI_INSPECT_H
#define KD_CLI_INSPECT_H

#include "base/text.h"

int kd_inspect_config(kd_text *out, const char *path);
int kd_inspect_checkpoint(kd_text *out, const char *path);
int kd_inspect_store(kd_text *out, const char *path);
int kd_inspect_gguf(kd_text *out, const char *path);
int kd_inspect_safetensors(kd_text *out, const char *path);

/* Lays out and frees tab-separated rows. */
int kd_inspect_add_table(kd_text *out, const char *align, kd_text *rows);

#endif
