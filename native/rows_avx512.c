/* Row kernels with AVX-512 VNNI: vpdpbusd adds four products of unsigned and signed bytes to each of 16 sums. */

#include "rows_512.h"

#if defined(__x86_64__) || defined(_M_X64)

#include <immintrin.h>
#include <string.h>

enum { MAX_BLOCKS = 3 }; /* of 16 outputs that are computed together */

/* Add the products of `sites` sites, from x on, with `blocks` blocks of 16 outputs, from `first` on. */
INLINE void add_products(const filter_t *filter, const uint8_t *const *in, int64_t x, int first, int sites, int blocks,
                         __m512i sums[][MAX_BLOCKS]) {
    const int64_t pitch = filter->pitch, step = (int64_t)GROUP * filter->outputs;
    const int8_t *weights = filter->weights + GROUP * LANES * first;
    for (int b = 0; b < blocks; b++) {
        const __m512i bias = _mm512_loadu_si512(filter->biases + LANES * (first + b));
        for (int s = 0; s < sites; s++) sums[s][b] = bias;
    }
    for (int r = 0; r < filter->rows; r++) {
        const uint8_t *site = in[r] + x * pitch;
        for (int g = 0; g < filter->groups; g++, site += GROUP, weights += step) {
            __m512i w[MAX_BLOCKS];
            for (int b = 0; b < blocks; b++) w[b] = _mm512_load_si512(weights + GROUP * LANES * b);
            for (int s = 0; s < sites; s++) {
                int32_t four;
                memcpy(&four, site + s * pitch, sizeof(four));
                const __m512i a = _mm512_set1_epi32(four);
                for (int b = 0; b < blocks; b++) sums[s][b] = _mm512_dpbusd_epi32(sums[s][b], a, w[b]);
            }
        }
    }
}

INLINE void activate_sites(const filter_t *filter, const uint8_t *const *in, int64_t x, int first, int sites,
                           int blocks, const uint8_t *skip, uint8_t *out) {
    __m512i sums[8][MAX_BLOCKS];
    add_products(filter, in, x, first, sites, blocks, sums);
    for (int s = 0; s < sites; s++) {
        for (int b = 0; b < blocks; b++) {
            const int64_t at = (x + s) * filter->outputs + LANES * (first + b);
            activate_16(sums[s][b], skip ? skip + at : NULL, out + at);
        }
    }
}

INLINE void sum_sites(const filter_t *filter, const uint8_t *const *in, int64_t x, int first, int sites, int blocks,
                      int32_t *out) {
    __m512i sums[8][MAX_BLOCKS];
    add_products(filter, in, x, first, sites, blocks, sums);
    for (int s = 0; s < sites; s++)
        for (int b = 0; b < blocks; b++)
            _mm512_storeu_si512(out + (x + s) * filter->outputs + LANES * (first + b), sums[s][b]);
}

/* Eight sites at a time, then one at a time; three blocks of outputs at a time, then one at a time. */
#define FOR_ALL_SITES(CALL, ...)                                    \
    for (int64_t x = 0, sites; x < width; x += sites) {             \
        const int blocks = filter->outputs / LANES;                 \
        int b = 0;                                                  \
        sites = width - x >= 8 ? 8 : 1;                             \
        for (; b + MAX_BLOCKS <= blocks; b += MAX_BLOCKS) {         \
            if (sites == 8)                                         \
                CALL(filter, in, x, b, 8, MAX_BLOCKS, __VA_ARGS__); \
            else                                                    \
                CALL(filter, in, x, b, 1, MAX_BLOCKS, __VA_ARGS__); \
        }                                                           \
        for (; b < blocks; b++) {                                   \
            if (sites == 8)                                         \
                CALL(filter, in, x, b, 8, 1, __VA_ARGS__);          \
            else                                                    \
                CALL(filter, in, x, b, 1, 1, __VA_ARGS__);          \
        }                                                           \
    }

DEFINE_KERNELS(avx512, 0)

#endif
