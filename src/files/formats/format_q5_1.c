#include "files/formats/format_nibbles.h"

KD_NIBBLES_FORMAT(q5_1, 7, 9, 9, true, true, 31);
