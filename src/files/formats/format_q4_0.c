#include "files/formats/format_nibbles.h"

KD_NIBBLES_FORMAT(q4_0, 2, 2, 2, false, false, 8);
