/* Errors.
 *
 * Two kinds, never mixed:
 *   - the world misbehaves (a file, a config, a full disk, no memory): the function returns a
 *     negative kd_status and leaves one message for the person at the prompt, kd_error();
 *   - a contract between our own functions is broken: KD_CONTRACT prints and aborts.
 */
#ifndef KD_BASE_ERROR_H
#define KD_BASE_ERROR_H

/* The negative of the process's exit code (sysexits). */
typedef enum {
    KD_OK = 0,
    KD_EUSAGE = -64,    /* the command line is wrong                        */
    KD_EDATA = -65,     /* a file's content is not what it should be        */
    KD_ENOINPUT = -66,  /* a file that is needed is not there               */
    KD_EINTERNAL = -70, /* no memory, or a bug                              */
    KD_EIO = -74,       /* reading or writing failed: full disk, bad medium */
    KD_EAGAIN = -75,    /* stopped on request; state saved, run again       */
    KD_ECONFIG = -78    /* the configuration is wrong                       */
} kd_status;

/* Sets this thread's message and returns `status`, so that `return kd_fail(KD_EDATA, "...")` reads
 * as one thought. Name the file, the place in it, what was found and what would be right. */
int kd_fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts "context: " in front of the message already set; returns `status`. */
int kd_fail_in(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* KD_EINTERNAL with "out of memory: N bytes for WHAT". */
int kd_fail_memory(unsigned long long bytes, const char *what);

/* This thread's last message; "" when there is none. Valid until the next kd_fail. */
const char *kd_error(void);

/* A broken contract: prints file, line and the message, then aborts. */
#define KD_CONTRACT(condition, ...)                                                                \
    do {                                                                                           \
        if (!(condition)) kd_contract_broken(__FILE__, __LINE__, __func__, __VA_ARGS__);           \
    } while (0)

_Noreturn void kd_contract_broken(const char *file, int line, const char *function,
                                  const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
