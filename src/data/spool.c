#include "data/spool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"

int kd_spool_open(int *out) {
    char path[KD_PATH_MAX];
    const char *folder = getenv("TMPDIR");
    *out = -1;
    int status = kd_path_join(path, folder && *folder ? folder : "/tmp", "distill-sound-XXXXXX");
    if (status < 0) return status;
    *out = mkstemp(path);
    if (*out < 0)
        return kd_fail(KD_EIO, "%s: cannot make a temporary file: %s", path, strerror(errno));
    unlink(path);
    return KD_OK;
}
