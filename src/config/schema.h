/* The tables of keys in the forms editors and people read. */
#ifndef KD_CONFIG_SCHEMA_H
#define KD_CONFIG_SCHEMA_H

#include "base/text.h"
#include "config/keys.h"

/* JSON schema (draft 2020-12) of the files a table describes: configs (kd_config_root), as
 * configs/schema.json has it, and sweeps (kd_sweep_root), as configs/sweep.schema.json. */
void kd_config_add_schema(kd_text *out, const kd_config_table *table);

/* One Markdown table for each kind of object, as docs/configuration.md has them. */
void kd_config_add_markdown(kd_text *out, const kd_config_table *table);

#endif
