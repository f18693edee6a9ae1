#include "planner/device.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "config/reader.h"
#include "config/rows.h"

/* configs/devices.json, as the build found it. */
static const char KNOWN[] =
#include "devices.inc"
    ;

#define LARGE RANGE(1, 1e18)
/* clang-format off */
static const kd_config_key DEVICE_KEYS[] = {
    {"name", KD_KEY_TEXT, FIELD(kd_device, name), .required = true,
     .doc = "what --device calls it"},
    {"title", KD_KEY_TEXT, FIELD(kd_device, title), .required = true, .doc = "for people"},
    {"memory", KD_KEY_REAL, FIELD(kd_device, memory), LARGE, .required = true,
     .doc = "bytes of RAM"},
    {"reserved", KD_KEY_REAL, FIELD(kd_device, reserved), RANGE(0, 1e18), .fallback = "0",
     .doc = "bytes of it that the system and others have"},
    {"runtime", KD_KEY_REAL, FIELD(kd_device, runtime), RANGE(0, 1e18), .fallback = "50e6",
     .doc = "bytes that the program takes, without weights and activations"},
    {"flash", KD_KEY_REAL, FIELD(kd_device, flash), RANGE(0, 1e18), .fallback = "0",
     .doc = "bytes in which weights are used where they lie; 0: they are in memory"},
    {"bandwidth", KD_KEY_REAL, FIELD(kd_device, bandwidth), LARGE, .required = true,
     .doc = "bytes a second from where the weights are"},
    {"float_operations", KD_KEY_REAL, FIELD(kd_device, float_operations), LARGE, .required = true,
     .doc = "additions and multiplications a second at most, of its fastest floating point"},
    {"integer_operations", KD_KEY_REAL, FIELD(kd_device, integer_operations), LARGE,
     .required = true, .doc = "the same of 8-bit integers"},
    {"note", KD_KEY_TEXT, FIELD(kd_device, note),
     .doc = "where the figures come from"},
};
static const kd_config_table DEVICE_TABLE = {.name = "device", .key = DEVICE_KEYS,
    .count = COUNT(DEVICE_KEYS), .doc = "What a device holds and how fast it is."};
static const kd_config_key ROOT_KEYS[] = {
    {"devices", KD_KEY_OBJECTS, LIST(kd_devices, device, count), .table = &DEVICE_TABLE,
     .required = true, .doc = "the devices"},
};
static const kd_config_table ROOT = {.name = "", .key = ROOT_KEYS, .count = COUNT(ROOT_KEYS),
    .doc = "Devices for distill plan."};
/* clang-format on */

int kd_devices_read(kd_devices *out, const char *path) {
    const kd_config_origin source = {.path = path ? path : "devices.json",
                                     .text = path ? NULL : KNOWN,
                                     .length = sizeof KNOWN - 1};
    char *resolved;
    kd_hash hash;
    *out = (kd_devices){0};
    int status = kd_config_read(out, &ROOT, &source, "docs/planner.md", &resolved, &hash);
    free(resolved);
    return status;
}

int kd_device_find(const kd_device **out, const kd_devices *devices, const char *name) {
    kd_guess guess = kd_guess_begin(name);
    kd_text names = {0};
    *out = NULL;
    for (int i = 0; i < devices->count; i++) {
        const kd_device *d = &devices->device[i];
        if (strcmp(d->name, name) == 0) *out = d;
        kd_guess_offer(&guess, d->name);
        kd_text_add(&names, "%s%s", i ? ", " : "", d->name);
    }
    int status = *out ? KD_OK : kd_text_finish(&names, "the devices");
    if (status == KD_OK && !*out)
        status = kd_fail(KD_EUSAGE, "no device is called \"%s\"%s%s%s; there are %s", name,
                         guess.best ? ", did you mean \"" : "", guess.best ? guess.best : "",
                         guess.best ? "\"?" : "", names.text);
    free(names.text);
    return status;
}
