/* The table of `distill train --dry-run --network`, from figures that were measured elsewhere.
 * usage: scaling MICRO_BATCHES MICRO_SECONDS UPDATE_SECONDS BYTES UPDATES GBITS */
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "distill/scaling.h"

int main(int argc, char **argv) {
    if (argc != 7) return -KD_EUSAGE;
    const kd_update_costs costs = {.micro_batches = atoll(argv[1]),
                                   .micro_seconds = atof(argv[2]),
                                   .update_seconds = atof(argv[3]),
                                   .bytes = atof(argv[4]),
                                   .updates = atof(argv[5])};
    kd_text text = {0};
    if (costs.micro_batches < 1) return -KD_EUSAGE;
    kd_scaling_write(&text, &costs, atof(argv[6]));
    if (kd_text_finish(&text, "the table") < 0) return -KD_EINTERNAL;
    fputs(text.text, stdout);
    free(text.text);
    return 0;
}
