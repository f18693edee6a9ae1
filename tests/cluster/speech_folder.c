/* Fills the current folder with a tiny recogniser's teacher, recordings, lists and config,
 * tiny.json. */
#include "speech_folder.h"

int main(void) {
    test_folder here = {.path = "."};
    fill_folder(&here);
    return 0;
}
