/* A checked JSON value into the field its row names. */
#ifndef KD_CONFIG_FIELDS_H
#define KD_CONFIG_FIELDS_H

#include "config/keys.h"

/* `item` passed kd_config_check_value. NULL, or what is wrong with a path. Paths are made relative
 * to `folder`. */
const char *kd_config_store_value(const char *folder, const cJSON *item, const kd_config_key *key,
                                  char *base);

#endif
