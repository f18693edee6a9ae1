/* Whisper's text normalisers and word error rates. */
#include "test_data.h"

#include <math.h>
#include <omp.h>

#include "asserts.h"
#include "data/text_normalizer.h"
#include "data/wer.h"

/* Splits a line at tabs into `count` cells, undoing \n and \t; returns the next line. */
static char *read_line(char *at, char **cell, int count) {
    char *line = at, *end = strchr(at, '\n');
    assert_non_null(end);
    *end = '\0';
    for (int i = 0; i < count; i++) {
        cell[i] = line;
        line += strcspn(line, "\t");
        assert_int_equal(*line == '\t', i + 1 < count);
        *line++ = '\0';
        for (char *c = cell[i]; *c; c++)
            if (c[0] == '\\' && (c[1] == 'n' || c[1] == 't')) {
                *c = c[1] == 'n' ? '\n' : '\t';
                memmove(c + 1, c + 2, strlen(c + 2) + 1);
            }
    }
    return end + 1;
}

static void test_normalizers(void **state) {
    (void)state;
    char *text, *cell[3], *out;
    size_t length;
    int lines = 0;
    assert_ok(kd_file_read(&text, &length, "tests/golden/normalizer.tsv", 1 << 20));
    for (char *at = text; *at; lines++) {
        at = read_line(at, cell, 3);
        assert_ok(kd_normalize_english(&out, cell[0]));
        if (strcmp(out, cell[1]))
            fail_msg("'%s' becomes '%s', should be '%s'", cell[0], out, cell[1]);
        free(out);
        assert_ok(kd_normalize_basic(&out, cell[0]));
        if (strcmp(out, cell[2]))
            fail_msg("'%s' becomes '%s', should be '%s'", cell[0], out, cell[2]);
        free(out);
    }
    assert_true(lines > 230);
    free(text);
}

static void test_letters(void **state) {
    (void)state;
    char *text, *cell[2], *out;
    size_t length;
    int lines = 0;
    assert_ok(kd_file_read(&text, &length, "tests/golden/letters.tsv", 1 << 20));
    for (char *at = text; *at; lines++) {
        at = read_line(at, cell, 2);
        assert_ok(kd_normalize_letters(&out, cell[0]));
        if (strcmp(out, cell[1]))
            fail_msg("'%s' becomes '%s', should be '%s'", cell[0], out, cell[1]);
        free(out);
    }
    assert_int_equal(lines, 160);
    free(text);
}

/* One wrong letter of ten is a tenth, not everything. */
static void test_letters_are_counted(void **state) {
    (void)state;
    char *reference, *said;
    kd_wer wer;
    assert_ok(kd_normalize_letters(&reference, "今日はとても良い天気。"));
    assert_ok(kd_normalize_letters(&said, "今日はとても良い電気"));
    assert_ok(kd_wer_count(&wer, reference, said));
    assert_int_equal(wer.words, 10);
    assert_int_equal(wer.substitutions, 1);
    assert_true(kd_wer_rate(&wer, 1) == 0.1);
    free(reference);
    free(said);
}

static void check_english(const char *text, const char *right) {
    char *out;
    assert_ok(kd_normalize_english(&out, text));
    assert_string_equal(out, right);
    free(out);
}

static void test_english(void **state) {
    (void)state;
    check_english("", "");
    check_english("Um, I'd been there.", "i had been there");
    check_english("Twenty-one dollars and five cents", "$21.05");
    check_english("The colour GREY [laughs]", "the color gray");
    check_english("fifty per cent of half a million", "50% of half a 1000000");
    check_english("minus three point five", "-3.5");
    check_english("bad \xFF byte", "bad byte");
}

static void test_counts_of_jiwer(void **state) {
    (void)state;
    char *text, *cell[4];
    size_t length;
    int lines = 0;
    assert_ok(kd_file_read(&text, &length, "tests/golden/wer.tsv", 1 << 20));
    for (char *at = text; *at; lines++) {
        kd_wer wer;
        at = read_line(at, cell, 4);
        assert_ok(kd_wer_count(&wer, cell[0], cell[1]));
        assert_int_equal(wer.substitutions + wer.deletions + wer.insertions, atoi(cell[2]));
        assert_int_equal(wer.words, atoi(cell[3]));
    }
    assert_int_equal(lines, 120);
    free(text);
}

static void check_count(const char *reference, const char *hypothesis, int words, int s, int d,
                        int i) {
    kd_wer wer;
    assert_ok(kd_wer_count(&wer, reference, hypothesis));
    assert_int_equal(wer.words, words);
    assert_int_equal(wer.substitutions, s);
    assert_int_equal(wer.deletions, d);
    assert_int_equal(wer.insertions, i);
}

static void test_kinds_of_changes(void **state) {
    (void)state;
    check_count("a b c", "a b c", 3, 0, 0, 0);
    check_count("a b c", " a  x\tc\n", 3, 1, 0, 0);
    check_count("a b c", "a c", 3, 0, 1, 0);
    check_count("a b c", "a b x y c", 3, 0, 0, 2);
    check_count("a b", "b a", 2, 0, 1, 1); /* not two substitutions */
    check_count("", "a b", 0, 0, 0, 2);
    check_count("a b", "", 2, 0, 2, 0);
    check_count("", "", 0, 0, 0, 0);
}

static void test_rates(void **state) {
    (void)state;
    /* Weighted by words: 1 of 10 and 1 of 2 are 2 of 12. */
    const kd_wer two[] = {{10, 1, 0, 0}, {2, 0, 1, 0}};
    const kd_wer none[] = {{0, 0, 0, 0}}, only_more[] = {{0, 0, 0, 3}};
    assert_true(fabs(kd_wer_rate(two, 2) - 2.0 / 12) < 1e-15);
    assert_true(kd_wer_rate(none, 1) == 0);
    assert_true(isinf(kd_wer_rate(only_more, 1)));
}

/* 400 utterances of one word, a quarter wrong: a binomial rate, whose interval is known. */
static void test_interval(void **state) {
    (void)state;
    enum { COUNT = 400 };
    kd_wer wer[COUNT];
    for (int i = 0; i < COUNT; i++) wer[i] = (kd_wer){1, i % 4 == 0, 0, 0};
    double low, high, again[2], half = 1.96 * sqrt(0.25 * 0.75 / COUNT);
    assert_ok(kd_wer_interval(&low, &high, wer, COUNT, 0.95, 4000, 1));
    assert_true(fabs(low - (0.25 - half)) < 0.006 && fabs(high - (0.25 + half)) < 0.006);
    omp_set_num_threads(3);
    assert_ok(kd_wer_interval(&again[0], &again[1], wer, COUNT, 0.95, 4000, 1));
    assert_true(again[0] == low && again[1] == high);
    assert_ok(kd_wer_interval(&again[0], &again[1], wer, COUNT, 0.95, 4000, 2));
    assert_true(again[0] != low || again[1] != high);
    assert_ok(kd_wer_interval(&again[0], &again[1], wer, COUNT, 0.5, 4000, 1));
    assert_true(again[0] > low && again[1] < high);
    assert_ok(kd_wer_interval(&low, &high, wer, 1, 0.95, 10, 1));
    assert_true(low == 1 && high == 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_normalizers),
        cmocka_unit_test(test_letters),
        cmocka_unit_test(test_letters_are_counted),
        cmocka_unit_test(test_english),
        cmocka_unit_test(test_counts_of_jiwer),
        cmocka_unit_test(test_kinds_of_changes),
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_interval),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
