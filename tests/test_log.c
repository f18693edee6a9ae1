/* What the person is told while the program works: durations, sizes, and a progress line that is
 * redrawn on a terminal and rare elsewhere. */
#include "test_data.h"

#include <fcntl.h>
#include <math.h>
#include <termios.h>

#include "base/log.h"

static void durations_are_rounded(void **state) {
    (void)state;
    static const struct {
        double seconds;
        const char *text;
    } cases[] = {{0, "0 s"},
                 {0.49, "0 s"},
                 {0.51, "1 s"},
                 {59.4, "59 s"},
                 {59.6, "1 min 00 s"},
                 {61, "1 min 01 s"},
                 {3599.4, "59 min 59 s"},
                 {3599.6, "1 h 00 min"},
                 {3659, "1 h 00 min"},
                 {3660, "1 h 01 min"},
                 {2 * 86400 + 59 * 60 + 59, "48 h 59 min"}};
    char out[32];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kd_format_duration(out, sizeof out, cases[i].seconds);
        assert_string_equal(out, cases[i].text);
    }
}

static void sizes_have_two_digits_or_three(void **state) {
    (void)state;
    static const struct {
        double bytes;
        const char *text;
    } cases[] = {{0, "0 B"},         {7, "7 B"},         {999, "999 B"},     {999.6, "1.0 kB"},
                 {1000, "1.0 kB"},   {1449, "1.4 kB"},   {99400, "99.4 kB"}, {99600, "100 kB"},
                 {999400, "999 kB"}, {999600, "1.0 MB"}, {2.5e9, "2.5 GB"},  {7e12, "7.0 TB"},
                 {1.2e15, "1200 TB"}};
    char out[32];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kd_format_bytes(out, sizeof out, cases[i].bytes);
        assert_string_equal(out, cases[i].text);
    }
}

/* --- stderr as a terminal, or as none ----------------------------------------------------------
 */

static int kept, reading;

/* Puts a new terminal, or a pipe, in the place of stderr. */
static void begin_hearing(bool terminal) {
    int writing;
    fflush(stderr);
    kept = dup(STDERR_FILENO);
    if (terminal) {
        struct termios raw;
        reading = posix_openpt(O_RDWR | O_NOCTTY);
        assert_true(reading >= 0 && grantpt(reading) == 0 && unlockpt(reading) == 0);
        writing = open(ptsname(reading), O_RDWR | O_NOCTTY);
        assert_int_equal(tcgetattr(writing, &raw), 0);
        cfmakeraw(&raw);
        assert_int_equal(tcsetattr(writing, TCSANOW, &raw), 0);
    } else {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        reading = ends[0], writing = ends[1];
    }
    assert_int_equal(fcntl(reading, F_SETFL, O_NONBLOCK), 0);
    assert_true(dup2(writing, STDERR_FILENO) >= 0);
    close(writing);
}

enum { SAID_MAX = 256 };

/* What was written since the last time. */
static void heard(char out[SAID_MAX]) {
    size_t n = 0;
    ssize_t got;
    fflush(stderr);
    while ((got = read(reading, out + n, SAID_MAX - 1 - n)) > 0) n += (size_t)got;
    out[n] = '\0';
}

static void end_hearing(void) {
    fflush(stderr);
    dup2(kept, STDERR_FILENO);
    close(kept);
    close(reading);
}

/* A thousand seconds ago 50 of 10,000 steps of 16 samples were done; nothing was shown since. */
static kd_progress long_running(void) {
    kd_progress p;
    kd_progress_begin(&p, "train", "samples", 16, 50, 10000);
    p.began -= 1000;
    return p;
}

static void a_terminal_is_redrawn(void **state) {
    (void)state;
    char said[6][SAID_MAX];
    begin_hearing(true);
    kd_progress p = long_running();
    kd_progress_show(&p, 2050, "loss 0.5");
    heard(said[0]);
    kd_progress_show(&p, 2051, "too soon");
    heard(said[1]);
    p.last_shown -= 0.2;
    kd_progress_show(&p, 2550, "");
    heard(said[2]);
    kd_warn("a %d", 7);
    heard(said[3]);
    p.last_shown -= 0.2;
    p.unit_per_step = 1;
    kd_progress_show(&p, 50, "nothing yet");
    kd_progress_end(&p);
    heard(said[4]);
    kd_log("done");
    heard(said[5]);
    setenv("NO_COLOR", "", 1);
    const bool empty = kd_log_colour();
    setenv("NO_COLOR", "1", 1);
    const bool none = kd_log_colour();
    unsetenv("NO_COLOR");
    const bool unset = kd_log_colour();
    end_hearing();
    assert_string_equal(said[0], "train 2050/10000 (20 %)  loss 0.5  32 samples/s  ETA 1 h 06 min");
    assert_string_equal(said[1], "");
    assert_string_equal(said[2], "\r\033[Ktrain 2550/10000 (26 %)  40 samples/s  ETA 49 min 40 s");
    assert_string_equal(said[3], "\r\033[Kwarning: a 7\n");
    assert_string_equal(said[4],
                        "train 50/10000 (0 %)  nothing yet  0.00 samples/s  ETA ?\r\033[K");
    assert_string_equal(said[5], "done\n");
    assert_true(empty && unset && !none);
}

static void a_file_gets_a_line_now_and_then(void **state) {
    (void)state;
    char said[4][SAID_MAX];
    begin_hearing(false);
    kd_progress p = long_running();
    kd_progress_show(&p, 2050, "at once");
    p.last_shown -= 29;
    kd_progress_show(&p, 2050, "too soon");
    heard(said[0]);
    p.last_shown -= 2;
    kd_progress_show(&p, 150, "at last");
    heard(said[1]);
    kd_log("a line");
    kd_progress_end(&p);
    heard(said[2]);
    p.last_shown -= 40;
    p.total = 0;
    kd_progress_show(&p, 0, "");
    heard(said[3]);
    const bool colour = kd_log_colour();
    end_hearing();
    assert_string_equal(said[0], "");
    assert_string_equal(said[1],
                        "train 150/10000 (2 %)  at last  1.60 samples/s  ETA 27 h 21 min\n");
    assert_string_equal(said[2], "a line\n");
    assert_memory_equal(said[3], "train 0/0 (100 %)  ", 19);
    assert_false(colour);
}

static void clocks_and_memory(void **state) {
    (void)state;
    const double began = kd_clock();
    usleep(20000);
    const double took = kd_clock() - began;
    assert_true(took >= 0.02 && took < 20);
    enum { BYTES = 1 << 26 };
    const int64_t before = kd_peak_rss();
    assert_true(before > 1 << 20 && before < (int64_t)1 << 40);
    char *block = malloc(BYTES);
    assert_non_null(block);
    memset(block, 1, BYTES);
    assert_int_equal(block[BYTES / 2], 1);
    assert_true(kd_peak_rss() >= BYTES);
    free(block);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_are_rounded), cmocka_unit_test(sizes_have_two_digits_or_three),
        cmocka_unit_test(a_terminal_is_redrawn), cmocka_unit_test(a_file_gets_a_line_now_and_then),
        cmocka_unit_test(clocks_and_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
