/* A number for each component of a mixture, with two implementations: a vector of AVX-512, or plain integers.
 *
 * The vector has three lanes more than a mixture has components. They are computed, too; all that is needed to keep
 * them out is that their weights are 0. */

#ifndef PPYR_LANES_H
#define PPYR_LANES_H

#include "coder.h"

#define INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__) && defined(__AVX512DQ__)

#include <immintrin.h>

enum { LANES = 8 };

typedef __m512i lanes_t;

INLINE lanes_t all(int64_t a) { return _mm512_set1_epi64(a); }
INLINE lanes_t load(const int64_t *from) { return _mm512_load_si512(from); }
INLINE void store(lanes_t a, int64_t *to) { _mm512_store_si512(to, a); }
INLINE lanes_t plus(lanes_t a, lanes_t b) { return _mm512_add_epi64(a, b); }
INLINE lanes_t minus(lanes_t a, lanes_t b) { return _mm512_sub_epi64(a, b); }
INLINE lanes_t times_32(lanes_t a, lanes_t b) { return _mm512_mul_epi32(a, b); }
INLINE lanes_t times(lanes_t a, lanes_t b) { return _mm512_mullo_epi64(a, b); }
INLINE lanes_t shift_up(lanes_t a, int64_t bits) { return _mm512_sllv_epi64(a, all(bits)); }
INLINE lanes_t shift_down(lanes_t a, int64_t bits) { return _mm512_srav_epi64(a, all(bits)); }
INLINE lanes_t shift_down_each(lanes_t a, lanes_t bits) { return _mm512_srav_epi64(a, bits); }
INLINE lanes_t low_bits(lanes_t a, int64_t mask) { return _mm512_and_si512(a, all(mask)); }
INLINE lanes_t larger_of(lanes_t a, lanes_t b) { return _mm512_max_epi64(a, b); }
INLINE lanes_t smaller_of(lanes_t a, lanes_t b) { return _mm512_min_epi64(a, b); }
INLINE int64_t sum_of(lanes_t a) { return _mm512_reduce_add_epi64(a); }
INLINE lanes_t add_to_lane(lanes_t a, int k, int64_t b) {
    return _mm512_mask_add_epi64(a, (__mmask8)(1u << k), a, all(b));
}

/* The first lane that holds the largest number. */
INLINE int first_largest(lanes_t a) {
    return __builtin_ctz(_mm512_cmpeq_epi64_mask(a, all(_mm512_reduce_max_epi64(a))));
}

INLINE lanes_t look_up(const int32_t *table, lanes_t index) {
    return _mm512_cvtepi32_epi64(_mm512_i64gather_epi32(index, table, 4));
}

INLINE void look_up_pair(const int32_t *table, lanes_t index, lanes_t *at, lanes_t *next) {
    const __m512i pairs = _mm512_i64gather_epi64(index, table, 4);
    *at = low_bits(pairs, 0xffffffff);
    *next = _mm512_srai_epi64(pairs, 32);
}

INLINE lanes_t divide(lanes_t a, lanes_t b) {
    return _mm512_cvttpd_epi64(_mm512_div_pd(_mm512_cvtepi64_pd(a), _mm512_cvtepi64_pd(b)));
}

#else

enum { LANES = COMPONENTS };

typedef struct {
    int64_t k[LANES];
} lanes_t;

#define MAKE_LANES(value)                                      \
    do {                                                       \
        lanes_t result;                                        \
        for (int k = 0; k < LANES; k++) result.k[k] = (value); \
        return result;                                         \
    } while (0)

INLINE lanes_t all(int64_t a) { MAKE_LANES(a); }
INLINE lanes_t load(const int64_t *from) { MAKE_LANES(from[k]); }
INLINE void store(lanes_t a, int64_t *to) {
    for (int k = 0; k < LANES; k++) to[k] = a.k[k];
}
INLINE lanes_t plus(lanes_t a, lanes_t b) { MAKE_LANES(a.k[k] + b.k[k]); }
INLINE lanes_t minus(lanes_t a, lanes_t b) { MAKE_LANES(a.k[k] - b.k[k]); }
INLINE lanes_t times_32(lanes_t a, lanes_t b) { MAKE_LANES(a.k[k] * b.k[k]); }
INLINE lanes_t times(lanes_t a, lanes_t b) { MAKE_LANES(a.k[k] * b.k[k]); }
INLINE lanes_t shift_up(lanes_t a, int64_t bits) { MAKE_LANES(a.k[k] * ((int64_t)1 << bits)); }
INLINE lanes_t shift_down(lanes_t a, int64_t bits) { MAKE_LANES(a.k[k] >> bits); }
INLINE lanes_t shift_down_each(lanes_t a, lanes_t bits) { MAKE_LANES(a.k[k] >> bits.k[k]); }
INLINE lanes_t low_bits(lanes_t a, int64_t mask) { MAKE_LANES(a.k[k] & mask); }
INLINE lanes_t larger_of(lanes_t a, lanes_t b) { MAKE_LANES(a.k[k] > b.k[k] ? a.k[k] : b.k[k]); }
INLINE lanes_t smaller_of(lanes_t a, lanes_t b) { MAKE_LANES(a.k[k] < b.k[k] ? a.k[k] : b.k[k]); }
INLINE int64_t sum_of(lanes_t a) {
    int64_t sum = 0;
    for (int k = 0; k < LANES; k++) sum += a.k[k];
    return sum;
}
INLINE lanes_t add_to_lane(lanes_t a, int lane, int64_t b) { MAKE_LANES(a.k[k] + (k == lane ? b : 0)); }

INLINE int first_largest(lanes_t a) {
    int first = 0;
    int64_t largest = a.k[0];
    for (int k = 1; k < LANES; k++) {
        first = a.k[k] > largest ? k : first;
        largest = a.k[k] > largest ? a.k[k] : largest;
    }
    return first;
}

INLINE lanes_t look_up(const int32_t *table, lanes_t index) { MAKE_LANES(table[index.k[k]]); }

INLINE void look_up_pair(const int32_t *table, lanes_t index, lanes_t *at, lanes_t *next) {
    for (int k = 0; k < LANES; k++) at->k[k] = table[index.k[k]], next->k[k] = table[index.k[k] + 1];
}

INLINE lanes_t divide(lanes_t a, lanes_t b) { MAKE_LANES((int64_t)((double)a.k[k] / (double)b.k[k])); }

#endif

/* times_32: both factors fit into 32 bits. look_up_pair: entries of the table, which are not negative, and those that
 * follow them. divide: the quotients of numbers from 0 to 2**45 and from 1 to 2**25, rounded down; doubles divide
 * exactly here, because a quotient that is not whole is further below the next whole number than its rounding. */

INLINE lanes_t clamp_all(lanes_t a, int64_t low, int64_t high) { return smaller_of(larger_of(a, all(low)), all(high)); }

#endif
