/* Row kernels for all processors: in C or, for those of x86-64, with SSE2, which all of them have. */

#include "rows.h"

#include <string.h>

#if defined(__SSE2__)

#include <emmintrin.h>

enum { TOGETHER = 4 }; /* sites that are computed together, also after the end of a row */

typedef int32_t sums_t[2 * MAX_OUTPUTS];

/* Add the products of 16 weights, those of four outputs, with four activations of each site, twice in a row. */
static inline void add_products(const int8_t *weights, int16_t activations[TOGETHER][2 * GROUP], sums_t *sums, int at) {
    const __m128i w = _mm_loadu_si128((const __m128i *)weights), signs = _mm_cmpgt_epi8(_mm_setzero_si128(), w);
    const __m128i wide[] = {_mm_unpacklo_epi8(w, signs), _mm_unpackhi_epi8(w, signs)};
    for (int s = 0; s < TOGETHER; s++) {
        const __m128i a = _mm_loadu_si128((const __m128i *)activations[s]);
        for (int half = 0; half < 2; half++) {
            __m128i *to = (__m128i *)(sums[s] + at + 4 * half);
            _mm_storeu_si128(to, _mm_add_epi32(_mm_loadu_si128(to), _mm_madd_epi16(a, wide[half])));
        }
    }
}

/* The sums of some sites, [site][output]. Until the end, two for each output lie side by side. */
static void sum_sites(const filter_t *filter, const uint8_t *const *in, int64_t x, sums_t *sums) {
    const int count = GROUP * filter->outputs;
    memset(sums, 0, TOGETHER * sizeof(*sums));
    const int8_t *weights = filter->weights;
    for (int r = 0; r < filter->rows; r++) {
        const uint8_t *site = in[r] + x * filter->pitch;
        for (int g = 0; g < filter->groups; g++, site += GROUP, weights += count) {
            int16_t activations[TOGETHER][2 * GROUP];
            for (int s = 0; s < TOGETHER; s++)
                for (int i = 0; i < 2 * GROUP; i++) activations[s][i] = site[s * filter->pitch + i % GROUP];
            for (int i = 0; i < count; i += 16) add_products(weights + i, activations, sums, i / 2);
        }
    }
    for (int s = 0; s < TOGETHER; s++)
        for (int o = 0; o < filter->outputs; o++) sums[s][o] = filter->biases[o] + sums[s][2 * o] + sums[s][2 * o + 1];
}

#else

enum { TOGETHER = 1 };

typedef int32_t sums_t[MAX_OUTPUTS];

/* The sums of a site. */
static void sum_sites(const filter_t *filter, const uint8_t *const *in, int64_t x, sums_t *sums) {
    int32_t *sum = sums[0];
    memcpy(sum, filter->biases, sizeof(*sum) * (size_t)filter->outputs);
    const int8_t *weights = filter->weights;
    for (int r = 0; r < filter->rows; r++) {
        const uint8_t *site = in[r] + x * filter->pitch;
        for (int g = 0; g < filter->groups; g++, site += GROUP, weights += GROUP * filter->outputs) {
            const int32_t a = site[0], b = site[1], c = site[2], d = site[3];
            for (int o = 0; o < filter->outputs; o++) {
                const int8_t *w = weights + GROUP * o;
                sum[o] += a * w[0] + b * w[1] + c * w[2] + d * w[3];
            }
        }
    }
}

#endif

static void activate(const filter_t *filter, const uint8_t *const *in, int64_t width, const uint8_t *skip,
                     uint8_t *out) {
    sums_t sums[TOGETHER];
    for (int64_t x = 0; x < width; x += TOGETHER) {
        sum_sites(filter, in, x, sums);
        for (int64_t s = 0; s < TOGETHER && x + s < width; s++) {
            for (int o = 0; o < filter->outputs; o++) {
                const int64_t at = (x + s) * filter->outputs + o;
                out[at] = rescale(sums[s][o] + (skip ? skip[at] * (1 << SHIFT) : 0));
            }
        }
    }
}

static void sum(const filter_t *filter, const uint8_t *const *in, int64_t width, int32_t *out) {
    sums_t sums[TOGETHER];
    for (int64_t x = 0; x < width; x += TOGETHER) {
        sum_sites(filter, in, x, sums);
        for (int64_t s = 0; s < TOGETHER && x + s < width; s++)
            memcpy(out + (x + s) * filter->outputs, sums[s], sizeof(*out) * (size_t)filter->outputs);
    }
}

const kernels_t portable_kernels = {activate, sum, 0};
