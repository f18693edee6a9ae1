/* From reset to main: the vector table, the FPU, .data and .bss; then qemu is told to stop. */
#include <stdint.h>
#include <string.h>

extern uint32_t data_from[], data_begin[], data_end[], bss_begin[], bss_end[], stack_end[],
    stack_top[];
int main(void);
void reset(void);

/* Semihosting's SYS_EXIT_EXTENDED; a debugger or qemu takes it. */
static void leave(int code) {
    const uint32_t what[2] = {0x20026, (uint32_t)code};
    register uint32_t operation __asm__("r0") = 0x20;
    register const uint32_t *argument __asm__("r1") = what;
    __asm__ volatile("bkpt 0xab" : : "r"(operation), "r"(argument) : "memory");
    for (;;) {
    }
}

void reset(void) {
    uint32_t *here = (uint32_t *)__builtin_frame_address(0) - 16, *at;
    *(volatile uint32_t *)0xE000ED88 |= 0xfu << 20; /* the FPU's registers are used */
    memcpy(data_begin, data_from, (size_t)((char *)data_end - (char *)data_begin));
    memset(bss_begin, 0, (size_t)((char *)bss_end - (char *)bss_begin));
    for (at = stack_end; at < here; at++) *(volatile uint32_t *)at = 0xa5a5a5a5u;
    leave(main());
}

static void fault(void) {
    leave(2);
}

__attribute__((section(".vectors"), used)) static void (*const vectors[])(void) = {
    (void (*)(void))(uintptr_t)stack_top, reset, fault, fault, fault, fault, fault};
