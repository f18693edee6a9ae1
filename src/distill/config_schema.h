/* The tables of keys in the forms editors and people read. */
#ifndef KD_DISTILL_CONFIG_SCHEMA_H
#define KD_DISTILL_CONFIG_SCHEMA_H

#include "base/text.h"

/* JSON schema (draft 2020-12) of a config, as configs/schema.json has it. */
void kd_config_add_schema(kd_text *out);

/* One Markdown table for each kind of object, as docs/configuration.md has them. */
void kd_config_add_markdown(kd_text *out);

#endif
