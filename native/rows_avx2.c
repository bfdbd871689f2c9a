/* Row kernels with AVX2: vpmaddubsw multiplies unsigned and signed bytes, and adds pairs of products in 16 bits. These
 * stay below 2**15, because weights are at most 64: 2 * 255 * 64 = 32640. */

#include "rows.h"

#if defined(__x86_64__) || defined(_M_X64)

#include <immintrin.h>
#include <string.h>

enum { OF_VECTOR = 8, BLOCKS = 2, TOGETHER = 4 }; /* outputs of a vector; vectors and sites computed together */

INLINE void add_products(const filter_t *filter, const uint8_t *const *in, int64_t x, int first, int sites,
                         __m256i sums[][BLOCKS]) {
    const int64_t pitch = filter->pitch, step = (int64_t)GROUP * filter->outputs;
    const int8_t *weights = filter->weights + GROUP * OF_VECTOR * first;
    const __m256i ones = _mm256_set1_epi16(1);
    for (int b = 0; b < BLOCKS; b++) {
        const __m256i bias = _mm256_loadu_si256((const __m256i *)(filter->biases + OF_VECTOR * (first + b)));
        for (int s = 0; s < sites; s++) sums[s][b] = bias;
    }
    for (int r = 0; r < filter->rows; r++) {
        const uint8_t *site = in[r] + x * pitch;
        for (int g = 0; g < filter->groups; g++, site += GROUP, weights += step) {
            const __m256i w0 = _mm256_load_si256((const __m256i *)weights);
            const __m256i w1 = _mm256_load_si256((const __m256i *)(weights + GROUP * OF_VECTOR));
            for (int s = 0; s < sites; s++) {
                int32_t four;
                memcpy(&four, site + s * pitch, sizeof(four));
                const __m256i a = _mm256_set1_epi32(four);
                sums[s][0] = _mm256_add_epi32(sums[s][0], _mm256_madd_epi16(_mm256_maddubs_epi16(a, w0), ones));
                sums[s][1] = _mm256_add_epi32(sums[s][1], _mm256_madd_epi16(_mm256_maddubs_epi16(a, w1), ones));
            }
        }
    }
}

INLINE __m256i rescale_8(__m256i sum) {
    const __m256i odd = _mm256_and_si256(_mm256_srai_epi32(sum, SHIFT), _mm256_set1_epi32(1));
    const __m256i half = _mm256_set1_epi32((1 << (SHIFT - 1)) - 1);
    return _mm256_srai_epi32(_mm256_add_epi32(_mm256_add_epi32(sum, half), odd), SHIFT);
}

INLINE void activate_sites(const filter_t *filter, const uint8_t *const *in, int64_t x, int first, int sites,
                           const uint8_t *skip, uint8_t *out) {
    __m256i sums[TOGETHER][BLOCKS];
    add_products(filter, in, x, first, sites, sums);
    for (int s = 0; s < sites; s++) {
        const int64_t at = (x + s) * filter->outputs + OF_VECTOR * first;
        for (int b = 0; skip && b < BLOCKS; b++) {
            const __m256i added = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(skip + at + OF_VECTOR * b)));
            sums[s][b] = _mm256_add_epi32(sums[s][b], _mm256_slli_epi32(added, SHIFT));
        }
        /* Packing saturates to 16 and then to 8 bits, within each half of 128 bits. */
        const __m256i words = _mm256_packs_epi32(rescale_8(sums[s][0]), rescale_8(sums[s][1]));
        const __m256i in_order = _mm256_permute4x64_epi64(words, 0xD8);
        const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(in_order), _mm256_extracti128_si256(in_order, 1));
        _mm_storeu_si128((__m128i *)(out + at), bytes);
    }
}

INLINE void sum_sites(const filter_t *filter, const uint8_t *const *in, int64_t x, int first, int sites, int32_t *out) {
    __m256i sums[TOGETHER][BLOCKS];
    add_products(filter, in, x, first, sites, sums);
    for (int s = 0; s < sites; s++)
        for (int b = 0; b < BLOCKS; b++)
            _mm256_storeu_si256((__m256i *)(out + (x + s) * filter->outputs + OF_VECTOR * (first + b)), sums[s][b]);
}

#define FOR_ALL_SITES FOR_SITES_AND_BLOCKS

DEFINE_KERNELS(avx2, 0)

#endif
