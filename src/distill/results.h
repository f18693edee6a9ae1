/* The folder of a run, whatever its task: what earlier starts left in it, before anything is
 * changed, and its taking into use. A run compares each of its results with the origin it would
 * have now; facts that a later stage brings are unknown in it (origin.h). */
#ifndef KD_DISTILL_RESULTS_H
#define KD_DISTILL_RESULTS_H

#include <stdbool.h>

#include "base/file.h"
#include "distill/origin.h"

/* That the file or folder `path` is not one that the run itself writes or removes, those right in
 * `folder` whose names match `written` ("*.best.h5"; a NULL ends them). KD_ECONFIG. */
int kd_results_check_input(const char *path, const char *folder, const char *const *written);

/* 1 after saying so when a file the config names is not there, else 0. */
int kd_results_missing(const char *path, const char *what);
/* "where WHAT: SOURCE", where the config says whence. */
void kd_results_say_source(const char *what, const char *source);

/* Each is KD_OK when there is no such result, or it has this origin; KD_EDATA names what differs.
 */

/* The checkpoints of a training stage, <folder>/<stage>.last.h5 and .best.h5. */
int kd_results_check_stage(const char *folder, const char *stage, const kd_origin *now);
/* The store in the folder `path`; a damaged one passes, whose shards are made again. */
int kd_results_check_store(const char *path, const kd_origin *now);
/* An exported GGUF; a damaged one passes with a warning, and is made again. */
int kd_results_check_gguf(const char *path, const kd_origin *now);
/* An exported folder, by the file that kd_results_write_origin left in it. */
int kd_results_check_folder(const char *path, const kd_origin *now);
/* Makes the folder, and in it distill_origin.json; before what it is the origin of. */
int kd_results_write_origin(const char *folder, const char *origin);

/* Where runs of a sweep share a store in the folder `shared`: named by its origin, whole. */
int kd_results_shared_store(char out[KD_PATH_MAX], const char *shared, const kd_origin *origin);

/* Makes the folder and owns it; *lock is −1, or of kd_folder_own_existing; with `fresh`
 * removes the files that match `results` and the store. */
int kd_results_take_folder(int *lock, const char *folder, bool fresh, const char *const *results);
/* The run's config.json, once the folder is its own. */
int kd_results_write_config(const char *folder, const char *resolved);

#endif
