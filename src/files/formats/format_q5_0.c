#include "files/formats/format_nibbles.h"

KD_NIBBLES_FORMAT(q5_0, 6, 8, 8, false, true, 16);
