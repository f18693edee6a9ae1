/* Says what an exported student sees in picture or sound files.
 *
 *     cc -o classify classify.c $(pkg-config --cflags --libs distill)
 *     ./classify student.int8.gguf boot.png
 */
#include <stdio.h>
#include <stdlib.h>

#include <distill.h>

static int failed(void) {
    fprintf(stderr, "classify: %s\n", distill_error());
    return EXIT_FAILURE;
}

int main(int argc, char **argv) {
    distill_model *model;
    if (argc < 3) return fprintf(stderr, "usage: classify MODEL FILE...\n"), EXIT_FAILURE;
    if (distill_model_open(&model, argv[1]) < 0) return failed();
    const int64_t classes = distill_model_describe(model).classes;
    float *logits = malloc((size_t)classes * sizeof *logits);
    for (int i = 2; logits && i < argc; i++) {
        if (distill_model_run_file(model, argv[i], logits) < 0) return failed();
        int64_t best = 0;
        for (int64_t c = 1; c < classes; c++)
            if (logits[c] > logits[best]) best = c;
        printf("%s\t%s\n", argv[i], distill_model_class(model, best));
    }
    free(logits);
    distill_model_close(model);
    return EXIT_SUCCESS;
}
