/* Which instruction sets this processor and its operating system support. */

#define _DEFAULT_SOURCE /* for syscall */

#include "ppyr_core.h"

int ppyr_version(void) { return PPYR_VERSION; }

#if defined(__x86_64__) || defined(_M_X64)

#include <cpuid.h>
#include <stdint.h>

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>

/* Ask the kernel for the tiles' registers; Linux grants them to a process on request. */
static int may_use_tiles(void) {
    enum { REQUEST = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
}
#else
static int may_use_tiles(void) { return 0; }
#endif

static uint64_t enabled_states(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static int has_bits(uint64_t a, uint64_t bits) { return (a & bits) == bits; }

int ppyr_supports(int instructions) {
    enum { YMM = 0x6, ZMM = 0xe6, TILES = 0x60000 };
    const uint32_t f_dq_bw_vl = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31, vnni = 1u << 11;
    uint32_t a, b, c, d;
    if (instructions == PPYR_PORTABLE) return 1;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !has_bits(c, 1u << 27)) return 0; /* OSXSAVE */
    const uint64_t states = enabled_states();
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
    const int avx2 = has_bits(states, YMM) && has_bits(b, 1u << 5);
    const int avx512 = avx2 && has_bits(states, ZMM) && has_bits(b, f_dq_bw_vl) && has_bits(c, vnni);
    switch (instructions) {
    case PPYR_AVX2: return avx2;
    case PPYR_AVX512: return avx512;
    case PPYR_AMX: return avx512 && has_bits(states, TILES) && has_bits(d, 1u << 24 | 1u << 25) && may_use_tiles();
    default: return 0;
    }
}

#elif defined(__aarch64__)

#if defined(__linux__)
#include <sys/auxv.h>
static int has_dot_product(void) { return (getauxval(AT_HWCAP) >> 20 & 1) != 0; }
#else
static int has_dot_product(void) { return 1; } /* every Mac with an ARM processor */
#endif

int ppyr_supports(int instructions) {
    return instructions == PPYR_PORTABLE || (instructions == PPYR_NEON && has_dot_product());
}

#else

int ppyr_supports(int instructions) { return instructions == PPYR_PORTABLE; }

#endif
