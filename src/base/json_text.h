/* Writing JSON, piece by piece, into a text that grows (base/text.h). */
#ifndef KD_BASE_JSON_TEXT_H
#define KD_BASE_JSON_TEXT_H

#include <stdint.h>

#include "base/text.h"

/* "value" as a JSON string, quotes included. */
void kd_json_add_quoted(kd_text *out, const char *value);

/* "key": "value" */
void kd_json_add_string(kd_text *out, const char *key, const char *value);

/* , "key": value, with nine digits; what is not finite becomes null */
void kd_json_add_number(kd_text *out, const char *key, double value);
void kd_json_add_integer(kd_text *out, const char *key, int64_t value);

#endif
