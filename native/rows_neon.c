/* Row kernels with NEON's dot product, which multiplies signed bytes: activations are read as a - 128, and the biases
 * hold 128 times the sum of a filter's weights more. */

#include "rows.h"

#if defined(__aarch64__)

#include <arm_neon.h>
#include <string.h>

enum { OF_VECTOR = 4, BLOCKS = 4, TOGETHER = 4 }; /* outputs of a vector; vectors and sites computed together */

INLINE void add_products(const filter_t *filter, const uint8_t *const *in, int64_t x, int first, int sites,
                         int32x4_t sums[][BLOCKS]) {
    const int64_t pitch = filter->pitch, step = (int64_t)GROUP * filter->outputs;
    const int8_t *weights = filter->weights + GROUP * OF_VECTOR * first;
    for (int b = 0; b < BLOCKS; b++) {
        const int32x4_t bias = vld1q_s32(filter->biases + OF_VECTOR * (first + b));
        for (int s = 0; s < sites; s++) sums[s][b] = bias;
    }
    for (int r = 0; r < filter->rows; r++) {
        const uint8_t *site = in[r] + x * pitch;
        for (int g = 0; g < filter->groups; g++, site += GROUP, weights += step) {
            int8x16_t w[BLOCKS];
            for (int b = 0; b < BLOCKS; b++) w[b] = vld1q_s8(weights + GROUP * OF_VECTOR * b);
            for (int s = 0; s < sites; s++) {
                uint32_t four;
                memcpy(&four, site + s * pitch, sizeof(four));
                const int8x16_t a = vreinterpretq_s8_u32(vdupq_n_u32(four ^ 0x80808080u));
                for (int b = 0; b < BLOCKS; b++) sums[s][b] = vdotq_s32(sums[s][b], w[b], a);
            }
        }
    }
}

/* Round halves to even, and saturate to 16 bits; packing saturates to 8 bits. */
INLINE int16x4_t rescale_4(int32x4_t sum) {
    const int32x4_t odd = vandq_s32(vshrq_n_s32(sum, SHIFT), vdupq_n_s32(1));
    const int32x4_t half = vdupq_n_s32((1 << (SHIFT - 1)) - 1);
    return vqmovn_s32(vshrq_n_s32(vaddq_s32(vaddq_s32(sum, half), odd), SHIFT));
}

INLINE void activate_sites(const filter_t *filter, const uint8_t *const *in, int64_t x, int first, int sites,
                           const uint8_t *skip, uint8_t *out) {
    int32x4_t sums[TOGETHER][BLOCKS];
    add_products(filter, in, x, first, sites, sums);
    for (int s = 0; s < sites; s++) {
        const int64_t at = (x + s) * filter->outputs + OF_VECTOR * first;
        if (skip) {
            const uint8x16_t bytes = vld1q_u8(skip + at);
            const uint16x8_t low = vshll_n_u8(vget_low_u8(bytes), SHIFT), high = vshll_n_u8(vget_high_u8(bytes), SHIFT);
            sums[s][0] = vaddq_s32(sums[s][0], vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(low))));
            sums[s][1] = vaddq_s32(sums[s][1], vreinterpretq_s32_u32(vmovl_u16(vget_high_u16(low))));
            sums[s][2] = vaddq_s32(sums[s][2], vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(high))));
            sums[s][3] = vaddq_s32(sums[s][3], vreinterpretq_s32_u32(vmovl_u16(vget_high_u16(high))));
        }
        const int16x8_t low = vcombine_s16(rescale_4(sums[s][0]), rescale_4(sums[s][1]));
        const int16x8_t high = vcombine_s16(rescale_4(sums[s][2]), rescale_4(sums[s][3]));
        vst1q_u8(out + at, vcombine_u8(vqmovun_s16(low), vqmovun_s16(high)));
    }
}

INLINE void sum_sites(const filter_t *filter, const uint8_t *const *in, int64_t x, int first, int sites, int32_t *out) {
    int32x4_t sums[TOGETHER][BLOCKS];
    add_products(filter, in, x, first, sites, sums);
    for (int s = 0; s < sites; s++)
        for (int b = 0; b < BLOCKS; b++)
            vst1q_s32(out + (x + s) * filter->outputs + OF_VECTOR * (first + b), sums[s][b]);
}

#define FOR_ALL_SITES FOR_SITES_AND_BLOCKS

DEFINE_KERNELS(neon, 1)

#endif
