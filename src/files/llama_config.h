/* config.json of a decoder, both ways. */
#ifndef KD_FILES_LLAMA_CONFIG_H
#define KD_FILES_LLAMA_CONFIG_H

#include "base/json.h"
#include "base/text.h"
#include "files/llama_file.h"

/* Whether its "model_type" is known here. */
bool kd_llama_config_is(const kd_json *config);

/* Sizes and ends of the folder's config.json (and generation_config.json, whose ends count more).
 * KD_EDATA where it describes a decoder that layers/llama.h is not. */
int kd_llama_config_read(kd_llama_spec *spec, kd_llama_ends *ends, const char *folder);

/* The text of config.json, `packed` among it: members with a comma behind them, or "". KD_EUSAGE
 * where it has no word for the rotary positions. */
int kd_llama_config_text(kd_text *out, const kd_llama_spec *spec, const kd_llama_ends *ends,
                         const char *packed, const char *dtype);
/* The text of generation_config.json. */
void kd_llama_generation_text(kd_text *out, const kd_llama_ends *ends);

#endif
