#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "cli/cli.h"
#include "distill/selftest.h"

static const kd_usage USAGE = {
    .command = "selftest",
    .positional = "",
    .summary =
        "Checks the distillation loss on this machine, in a moment: its gradient against\n"
        "differences of the formula, computed anew in double precision; that a student equal to\n"
        "its teacher has loss 0, masked rows gradient 0, a batch in parts the same gradient, and\n"
        "that a teacher whose rows are shuffled costs. build/double/bin/distill checks to 1e-7.",
    .example = "distill selftest"};

int kd_cmd_selftest(int argc, char **argv) {
    kd_arguments arguments;
    kd_selftest check[KD_SELFTEST_MAX];
    int count = 0, failed = 0, status = kd_arguments_parse(&arguments, &USAGE, argc, argv);
    if (status != KD_OK) return status;
    status = kd_selftest_run(check, &count, kd_distill_loss);
    if (status < 0) return status;
    kd_text rows = {0}, text = {0};
    kd_text_add(&rows, "check\terror\tat most\t\n");
    for (int i = 0; i < count; i++) {
        bool passed = kd_selftest_passed(&check[i]);
        failed += !passed;
        kd_text_add(&rows, "%s\t%.1e\t%.0e\t%s\n", check[i].what, check[i].found, check[i].most,
                    passed ? "" : "FAILED");
    }
    if (kd_text_finish(&rows, "the table") == KD_OK) kd_text_add_table(&text, "lrrl", rows.text);
    if (kd_text_finish(&text, "the table") == KD_OK) fputs(text.text, stdout);
    free(rows.text);
    free(text.text);
    if (failed > 0)
        return kd_fail(KD_EINTERNAL, "%d of %d checks of the loss failed on this machine", failed,
                       count);
    return KD_OK;
}
