/* What the row kernels with AVX-512 and with AMX share. */

#ifndef PPYR_ROWS_512_H
#define PPYR_ROWS_512_H

#include "rows.h"

#if defined(__x86_64__) || defined(_M_X64)

#include <immintrin.h>

/* Write the activations of 16 outputs of a site. `skip` is added if it is not NULL. */
INLINE void activate_16(__m512i sum, const uint8_t *skip, uint8_t *out) {
    if (skip) {
        const __m512i added = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)skip));
        sum = _mm512_add_epi32(sum, _mm512_slli_epi32(added, SHIFT));
    }
    const __m512i odd = _mm512_and_si512(_mm512_srai_epi32(sum, SHIFT), _mm512_set1_epi32(1));
    const __m512i half = _mm512_set1_epi32((1 << (SHIFT - 1)) - 1);
    const __m512i rounded = _mm512_srai_epi32(_mm512_add_epi32(_mm512_add_epi32(sum, half), odd), SHIFT);
    const __m128i bytes = _mm512_cvtusepi32_epi8(_mm512_max_epi32(rounded, _mm512_setzero_si512()));
    _mm_storeu_si128((__m128i *)out, bytes);
}

#endif
#endif
