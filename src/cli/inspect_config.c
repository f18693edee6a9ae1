#include "base/error.h"
#include "cli/inspect.h"
#include "tasks/registry.h"

int kd_inspect_config(kd_text *out, const char *path) {
    const kd_task *task;
    void *config = NULL;
    int status = kd_task_of_config(&task, path);
    if (status == KD_OK) status = task->load(&config, path, 0, NULL);
    if (status == KD_OK) status = task->inspect(out, config);
    if (config) task->free_config(config);
    return status;
}
