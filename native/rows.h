/* What the row kernels of each instruction set share: one primitive, the product of a row of sites with a filter.
 *
 *     sums[x][o] = bias[o] + sum over r < rows, i < run of in[r][x * pitch + i] * weight[r][i][o]
 *
 * A 3x3 convolution has three rows and runs of three sites; a 1x1 convolution has one of each. Rows of activations hold
 * sites side by side, each `pitch` bytes of channels, and are padded so that whole vectors can be read and written.
 */

#ifndef PPYR_ROWS_H
#define PPYR_ROWS_H

#include <stdint.h>

enum {
    SHIFT = 7,     /* bits by which a sum is shifted to give an activation */
    LANES = 16,    /* outputs are padded to a multiple of this; so are inner activations */
    GROUP = 4,     /* activations that one 32-bit lane of weights is multiplied with */
    MAX_TILE = 64, /* bytes of a run that one AMX tile holds */
    SITES = 16,    /* sites that kernels may compute at once, past the end of a row too */
    MAX_OUTPUTS = 256,
};

/* A packed filter. The weights of four successive inputs and 16 outputs lie together in 64 bytes:
 * weights[r][i / 4][o][i % 4], with `run` padded by zeros to `groups` of 4. */
typedef struct {
    int rows, pitch, run, groups, outputs; /* outputs: padded to LANES */
    int chunk;                             /* groups of an AMX tile; divides `groups` */
    int8_t *weights;                       /* aligned to 64 bytes */
    int32_t *biases;
} filter_t;

/* Compute the rescaled activations of a row, [x * outputs + o]. `skip`, of the same layout, is added if not NULL. */
typedef void activate_row_t(const filter_t *filter, const uint8_t *const *in, int64_t width, const uint8_t *skip,
                            uint8_t *out);

/* Compute the sums of a row: [x * outputs + o]. */
typedef void sum_row_t(const filter_t *filter, const uint8_t *const *in, int64_t width, int32_t *out);

typedef struct {
    activate_row_t *activate;
    sum_row_t *sum;
    int signed_inputs; /* activations are read as a - 128: biases are corrected for this when filters are packed */
} kernels_t;

#define INLINE static inline __attribute__((always_inline))

/* Define the functions of an instruction set, called NAME_kernels, from its own FOR_ALL_SITES, activate_sites and
 * sum_sites. */
#define DEFINE_KERNELS(NAME, SIGNED_INPUTS)                                                                    \
    static void activate(const filter_t *filter, const uint8_t *const *in, int64_t width, const uint8_t *skip, \
                         uint8_t *out) {                                                                       \
        FOR_ALL_SITES(activate_sites, skip, out)                                                               \
    }                                                                                                          \
    static void sum(const filter_t *filter, const uint8_t *const *in, int64_t width, int32_t *out) {           \
        FOR_ALL_SITES(sum_sites, out)                                                                          \
    }                                                                                                          \
    const kernels_t NAME##_kernels = {activate, sum, SIGNED_INPUTS};

/* Compute TOGETHER sites at a time, then one at a time, and BLOCKS vectors of OF_VECTOR outputs at a time. */
#define FOR_SITES_AND_BLOCKS(CALL, ...)                                 \
    for (int64_t x = 0, sites; x < width; x += sites) {                 \
        sites = width - x >= TOGETHER ? TOGETHER : 1;                   \
        for (int b = 0; b < filter->outputs / OF_VECTOR; b += BLOCKS) { \
            if (sites == TOGETHER)                                      \
                CALL(filter, in, x, b, TOGETHER, __VA_ARGS__);          \
            else                                                        \
                CALL(filter, in, x, b, 1, __VA_ARGS__);                 \
        }                                                               \
    }

/* Round half to even after division by 2**SHIFT, and clamp to 0..255. */
static inline uint8_t rescale(int32_t sum) {
    const int32_t rounded = (sum + ((1 << (SHIFT - 1)) - 1) + ((sum >> SHIFT) & 1)) >> SHIFT;
    return (uint8_t)(rounded < 0 ? 0 : rounded > 255 ? 255 : rounded);
}

/* NULL if this build does not have them. */
extern const kernels_t portable_kernels;
#if defined(__x86_64__) || defined(_M_X64)
extern const kernels_t avx2_kernels, avx512_kernels, amx_kernels;
#elif defined(__aarch64__)
extern const kernels_t neon_kernels;
#endif

#endif
