#include "data/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    uint8_t pixels[5 * 7 * 3];
    kd_image_decode(pixels, bytes, length, "input", 5, 7, 1);
    kd_image_decode(pixels, bytes, length, "input", 5, 7, 3);
    return 0;
}
