/* The tables of keys in the forms editors and people read. */
#ifndef KD_CONFIG_SCHEMA_H
#define KD_CONFIG_SCHEMA_H

#include "base/text.h"
#include "config/keys.h"

/* JSON schema (draft 2020-12) of the files a table describes, as configs/schema.json and
 * configs/sweep.schema.json have it. */
void kd_config_add_schema(kd_text *out, const kd_config_table *table);

/* One Markdown table for each kind of object, as docs/configuration.md has them. */
void kd_config_add_markdown(kd_text *out, const kd_config_table *table);

#endif
