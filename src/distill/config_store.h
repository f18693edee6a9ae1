/* A checked JSON value into the field its row names. */
#ifndef KD_DISTILL_CONFIG_STORE_H
#define KD_DISTILL_CONFIG_STORE_H

#include "distill/config_keys.h"

/* `item` passed kd_config_check_value. NULL, or what is wrong with a path. Paths are made relative
 * to `folder`. */
const char *kd_config_store_value(const char *folder, const cJSON *item, const kd_config_key *key,
                                  char *base);

#endif
