/* libhdf5 1.10.8 does not give back everything when it refuses a damaged file. A test that shows it
 * such files includes this, so that the leak sanitizer looks at our memory only. */
#ifndef KD_TESTS_HDF5_LEAKS_H
#define KD_TESTS_HDF5_LEAKS_H

const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
    return "leak:libhdf5";
}

#endif
