#include "files/formats/format_nibbles.h"

KD_NIBBLES_FORMAT(q4_1, 3, 3, 3, true, false, 15);
