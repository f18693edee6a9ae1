/* A nameless temporary file in $TMPDIR or /tmp: it is gone when its descriptor is closed, however
 * the process ends. */
#ifndef KD_DATA_SPOOL_H
#define KD_DATA_SPOOL_H

/* *out is −1 on errors (KD_EIO). The caller closes. */
int kd_spool_open(int *out);

#endif
