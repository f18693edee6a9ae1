/* Devices that a model may have to fit on: what they hold and how fast they are. */
#ifndef KD_PLANNER_DEVICE_H
#define KD_PLANNER_DEVICE_H

enum { KD_DEVICES_MAX = 32, KD_DEVICE_NAME_MAX = 32, KD_DEVICE_TITLE_MAX = 96 };

/* Sizes in bytes, rates a second; an addition and a multiplication are two operations. */
typedef struct {
    char name[KD_DEVICE_NAME_MAX]; /* "raspberry-pi-5" */
    char title[KD_DEVICE_TITLE_MAX];
    double memory, reserved; /* RAM, and what of it the system and others have                    */
    double runtime;          /* what the program itself takes                                     */
    double flash;            /* weights are used where they lie in it; 0: they are in memory      */
    double bandwidth;        /* from where the weights are                                        */
    double float_operations, integer_operations; /* at most; integers of 8 bits                   */
    char note[256];
} kd_device;

typedef struct {
    kd_device device[KD_DEVICES_MAX];
    int count;
} kd_devices;

/* The devices of a JSON file, or with NULL those that the program knows (configs/devices.json).
 * KD_ECONFIG names every mistake and its place, KD_ENOINPUT a file that is not there. */
int kd_devices_read(kd_devices *out, const char *path);

/* The device of that name; KD_EUSAGE with the names there are, and what was meant. */
int kd_device_find(const kd_device **out, const kd_devices *devices, const char *name);

#endif
