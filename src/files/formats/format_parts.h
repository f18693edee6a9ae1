/* Numbers whose scales lie apart from them in a file: codes of some bits, and scales as such. They
 * are no formats of number_format.h, whose rows are whole; a kd_stored (stored.h) puts the two
 * together.
 *
 *   i8    −128 … 127           u8    the same, plus 128
 *   u4    −8 … 7, plus 8, two neighbours in a byte, the first in its low half
 *   e2m1  ±{0, ½, 1, 1½, 2, 3, 4, 6}, likewise
 *   e8m0  2^(e − 127), a scale; 255 is no number
 */
#ifndef KD_FILES_FORMAT_PARTS_H
#define KD_FILES_FORMAT_PARTS_H

#include "files/formats/number_format.h"

#define KD_PART_FORMATS(X)    X(i8) X(u8) X(u4) X(e2m1) X(e8m0)
#define KD_DECLARE_PART(name) extern const kd_number_format kd_part_##name;
KD_PART_FORMATS(KD_DECLARE_PART)
#undef KD_DECLARE_PART

#endif
