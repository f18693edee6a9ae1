/* What the int8 kernels of all processors share inside. */
#ifndef KD_QUANT_INT8_KERNEL_ROWS_H
#define KD_QUANT_INT8_KERNEL_ROWS_H

/* A constant count of rows keeps the sums in registers. */
#define FOR_EACH_COUNT(rows, run, ...)                                                             \
    switch (rows) {                                                                                \
    case 8:                                                                                        \
        run(8, __VA_ARGS__);                                                                       \
        break;                                                                                     \
    case 7:                                                                                        \
        run(7, __VA_ARGS__);                                                                       \
        break;                                                                                     \
    case 6:                                                                                        \
        run(6, __VA_ARGS__);                                                                       \
        break;                                                                                     \
    case 5:                                                                                        \
        run(5, __VA_ARGS__);                                                                       \
        break;                                                                                     \
    case 4:                                                                                        \
        run(4, __VA_ARGS__);                                                                       \
        break;                                                                                     \
    case 3:                                                                                        \
        run(3, __VA_ARGS__);                                                                       \
        break;                                                                                     \
    case 2:                                                                                        \
        run(2, __VA_ARGS__);                                                                       \
        break;                                                                                     \
    default:                                                                                       \
        run(1, __VA_ARGS__);                                                                       \
        break;                                                                                     \
    }

#endif
