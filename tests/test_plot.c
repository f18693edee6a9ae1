/* report/: axes and their ticks, what plots draw, intervals. */
#include "test_data.h"

#include <math.h>

#include "asserts.h"
#include "report/metric.h"
#include "report/plot.h"
#include "report/statistics.h"

/* --- axes ------------------------------------------------------------------------------------- */

/* The names of the ticks with a space between; those without a name are counted in *minor. */
static const char *ticks_of(bool log, double low, double high, int *minor) {
    static char names[512];
    kd_tick tick[KD_TICKS_MAX];
    kd_axis axis = kd_axis_begin(log, 0, 100);
    size_t used = 0;
    *minor = 0;
    kd_axis_widen(&axis, low);
    kd_axis_widen(&axis, high);
    const int count = kd_axis_ticks(tick, &axis, 6);
    assert_true(count > 0 && count <= KD_TICKS_MAX);
    for (int i = 0; i < count; i++) {
        const double at = kd_axis_place(&axis, tick[i].value);
        assert_true(at > -1e-6 && at < 100 + 1e-6);
        *minor += tick[i].name[0] == '\0';
        if (tick[i].name[0])
            used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", used ? " " : "",
                                     tick[i].name);
    }
    return names;
}

static void ticks_are_those_people_expect(void **state) {
    (void)state;
    static const struct {
        bool log;
        double low, high;
        const char *names;
        int minor;
    } axis[] = {
        {false, 0, 1, "0.0 0.2 0.4 0.6 0.8 1.0", 0},
        {false, -3, 7, "−2 0 2 4 6", 0},
        {false, 96.2, 97.9, "96.5 97.0 97.5", 0},
        {false, 0, 1.2e-5, "0 2e-6 4e-6 6e-6 8e-6 1e-5 1.2e-5", 0},
        {false, 0, 3e7, "0 5e6 1e7 1.5e7 2e7 2.5e7 3e7", 0},
        {true, 0.5, 3, "0.5 1 2", 5},
        {true, 0.02, 3, "0.02 0.05 0.1 0.2 0.5 1 2", 13},
        {true, 2.2, 4.1, "2.5 3.0 3.5 4.0", 0},
        {true, 1e-4, 20, "1e-4 0.001 0.01 0.1 1 10", 41},
        {true, 1e-12, 1e12, "1e-10 1e-5 1 1e5 1e10", 0},
        {true, 1e-300, 1e300, "1e-300 1e-200 1e-100 1 1e100 1e200 1e300", 0},
    };
    for (size_t i = 0; i < sizeof axis / sizeof *axis; i++) {
        int minor;
        const char *names = ticks_of(axis[i].log, axis[i].low, axis[i].high, &minor);
        if (strcmp(names, axis[i].names) != 0 || minor != axis[i].minor)
            fail_msg("%g … %g: '%s' and %d, should be '%s' and %d", axis[i].low, axis[i].high,
                     names, minor, axis[i].names, axis[i].minor);
    }
}

static void axes_keep_their_bounds(void **state) {
    (void)state;
    kd_axis axis = kd_axis_begin(false, 0, 10);
    kd_axis_widen(&axis, 40);
    kd_axis_widen(&axis, NAN);
    kd_axis_widen(&axis, 99);
    kd_axis_add_margin(&axis, 0.5, &(kd_plot_bounds){0, 100});
    assert_true(axis.low == 10.5 && axis.high == 100);
    axis = kd_axis_begin(true, 0, 10);
    kd_axis_widen(&axis, 0);
    kd_axis_widen(&axis, -1);
    assert_true(axis.low > axis.high); /* nothing could be shown */
    kd_axis_widen(&axis, 100);
    kd_axis_add_margin(&axis, 0.1, &(kd_plot_bounds){0, 0});
    assert_true(fabs(kd_axis_place(&axis, 100) - 5) < 1e-9); /* one value lies in the middle */
}

/* --- intervals -------------------------------------------------------------------------------- */

/* Agresti and Min's formula, worked out with Python's fractions. */
static void paired_intervals_are_those_of_the_formula(void **state) {
    (void)state;
    static const struct {
        int64_t n, a, b;
        double low, high;
    } known[] = {{1000, 40, 25, -0.000893924753, 0.030834044513},
                 {10, 0, 0, -0.163330332045, 0.163330332045},
                 {1, 1, 0, -0.510100874588, 1.000000000000},
                 {5000, 0, 17, -0.005058389981, -0.001738891107}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        double low, high, mirrored_low, mirrored_high;
        kd_paired_interval(known[i].n, known[i].a, known[i].b, &low, &high);
        assert_true(fabs(low - known[i].low) < 1e-9 && fabs(high - known[i].high) < 1e-9);
        kd_paired_interval(known[i].n, known[i].b, known[i].a, &mirrored_low, &mirrored_high);
        assert_true(fabs(low + mirrored_high) < 1e-12 && fabs(high + mirrored_low) < 1e-12);
    }
}

/* --- lines ------------------------------------------------------------------------------------ */

static void plots_draw_what_they_can(void **state) {
    (void)state;
    kd_text text = {0};
    const double x[] = {1, 10, 100, -1}, y[] = {2, NAN, 3, 4}, low[] = {1.5, 1, NAN, 3},
                 high[] = {5, 1, NAN, 5};
    kd_plot plot = {.title = "a < b",
                    .x_name = "x",
                    .y_name = "y",
                    .log_x = true,
                    .y_format = "%.1f",
                    .line_count = 1,
                    .line = {{.name = "l", .n = 4, .x = x, .y = y, .low = low, .high = high}}};
    for (kd_plot_form form = KD_PLOT_ON_PAGE; form <= KD_PLOT_AS_FILE; form++) {
        kd_plot_add_lines(&text, &plot, form);
        assert_ok(kd_text_finish(&text, "plot"));
        assert_non_null(strstr(text.text, "l, x 1: 2.0 (1.5 … 5.0)")); /* the ends as they are */
        assert_non_null(strstr(text.text, "a &#60; b"));
        assert_int_equal(strstr(text.text, "xmlns") != NULL, form == KD_PLOT_AS_FILE);
        assert_int_equal(strstr(text.text, "<figure") != NULL, form == KD_PLOT_ON_PAGE);
        assert_null(strstr(text.text, "nan"));
        assert_null(strstr(text.text, "inf"));
        free(text.text);
        text = (kd_text){0};
    }
    plot.line[0].n = 0;
    kd_plot_add_lines(&text, &plot, KD_PLOT_AS_FILE);
    assert_int_equal(text.length, 0);
    free(text.text);
}

/* A long series has no marks, but some of its points say their numbers. */
static void long_series_are_lines(void **state) {
    (void)state;
    enum { N = 1000 };
    double x[N], y[N];
    for (int i = 0; i < N; i++) {
        x[i] = i;
        y[i] = 1.0 / (i + 1);
    }
    kd_plot plot = {.title = "t",
                    .x_name = "step",
                    .y_name = "y",
                    .log_y = true,
                    .x_counts = true,
                    .y_format = "%.3f",
                    .hairline = 500,
                    .hairline_name = "half",
                    .line_count = 1,
                    .line = {{.name = "l", .colour = "student", .n = N, .x = x, .y = y}}};
    kd_text text = {0};
    kd_plot_add_lines(&text, &plot, KD_PLOT_ON_PAGE);
    assert_ok(kd_text_finish(&text, "plot"));
    assert_non_null(strstr(text.text, "class=\"line student\""));
    assert_null(strstr(text.text, "<circle class=\"student\""));
    assert_non_null(strstr(text.text, "<circle class=\"hit\""));
    assert_non_null(strstr(text.text, ">half</text>"));
    assert_non_null(strstr(text.text, ">0.001</text>"));
    free(text.text);
}

/* --- rows ------------------------------------------------------------------------------------- */

/* The ends of the first row's interval. */
static void bar_ends(const char *text, double *low, double *high) {
    const char *bar = strstr(text, "<path class=\"line c0\" d=\"M");
    assert_non_null(bar);
    assert_int_equal(sscanf(bar, "<path class=\"line c0\" d=\"M%lf %*d v8 m0 -4 H%lf", low, high),
                     2);
}

/* 50 of 50 right: Wilson's interval is 92.9 … 100, not 96.4 … 103.6, and no axis passes 100. */
static void intervals_keep_their_ends(void **state) {
    (void)state;
    double at_low, at_high;
    const kd_estimate share = kd_estimate_share(50, 50);
    kd_plot_row row = {
        .name = "all right", .mean = 100, .low = 100 * share.low, .high = 100 * share.high};
    kd_plot_rows plot = {.title = "t",
                         .x_name = "x",
                         .x_format = "%.2f",
                         .bounds = {0, 100},
                         .count = 1,
                         .row = &row};
    kd_text text = {0};
    kd_plot_add_rows(&text, &plot, KD_PLOT_AS_FILE);
    assert_ok(kd_text_finish(&text, "plot"));
    bar_ends(text.text, &at_low, &at_high);
    static const char circle[] = "<circle class=\"c0\" cx=\"";
    const char *dot = strstr(text.text, circle);
    assert_non_null(dot);
    assert_true(fabs(at_high - strtod(dot + strlen(circle), NULL)) < 0.11); /* at the value */
    assert_true(at_high - at_low > 100);
    assert_non_null(strstr(text.text, ">100</text>"));
    assert_null(strstr(text.text, ">102</text>"));
    free(text.text);
    kd_statistics s = kd_statistics_within(3, (const double[]){99, 100, 100}, 0, 100);
    assert_true(s.high <= 100 && s.low < 99 && s.mean + s.reach > 100);
}

/* Bars begin at 0 and are as long as what they count. */
static void bars_are_as_long_as_their_counts(void **state) {
    (void)state;
    const kd_plot_row row[] = {{.name = "cat taken for dog", .mean = 8, .low = NAN, .high = NAN},
                               {.colour = "teacher", .mean = 2, .low = NAN, .high = NAN},
                               {.name = "none", .mean = NAN, .low = NAN, .high = NAN}};
    const kd_plot_rows plot = {.title = "t",
                               .x_name = "samples",
                               .x_format = "%.0f",
                               .bars = true,
                               .count = 3,
                               .row = row};
    kd_text text = {0};
    kd_plot_add_rows(&text, &plot, KD_PLOT_ON_PAGE);
    assert_ok(kd_text_finish(&text, "plot"));
    double x[2], width[2];
    const char *a = strstr(text.text, "<rect class=\"c0\" "),
               *b = strstr(text.text, "<rect class=\"teacher\" ");
    assert_true(a && b);
    assert_int_equal(
        sscanf(a, "<rect class=\"c0\" x=\"%lf\" y=\"%*d\" width=\"%lf\"", &x[0], &width[0]), 2);
    assert_int_equal(
        sscanf(b, "<rect class=\"teacher\" x=\"%lf\" y=\"%*d\" width=\"%lf\"", &x[1], &width[1]),
        2);
    assert_true(x[0] == x[1] && fabs(width[0] - 4 * width[1]) < 0.5);
    free(text.text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ticks_are_those_people_expect),
        cmocka_unit_test(axes_keep_their_bounds),
        cmocka_unit_test(paired_intervals_are_those_of_the_formula),
        cmocka_unit_test(plots_draw_what_they_can),
        cmocka_unit_test(long_series_are_lines),
        cmocka_unit_test(intervals_keep_their_ends),
        cmocka_unit_test(bars_are_as_long_as_their_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
