/* A site's mixture of logistics (PixelCNN++, Salimans et al. 2017) in fixed point, for one channel after the other:
 *
 *     z_k(x) = (x - 1/2 - mean_k) / scale_k
 *     S_k(x) = sigma(z_k(x)), of 2**24; S_k(0) = 0 and S_k(n) = 2**24
 *     F(x)   = x + (2**24 - n) * sum_k w_k S_k(x) / 2**24 / 2**24
 *
 * The symbol x has the frequency F(x + 1) - F(x), which is at least one. After a channel has the value x, the weights
 * become conditional on it: w_k' ~ w_k (S_k(x + 1) - S_k(x)).
 */

#ifndef PPYR_MIXTURE_H
#define PPYR_MIXTURE_H

#include "lanes.h"
#include "tables.h"

enum {
    UNIT_BITS = 12, /* of outputs */
    MEAN_BITS = 9,  /* fractional bits of means */
    STEP_BITS = 6,  /* z from one entry of SIGMOIDS to the next is 2**-6 */
    Z_BITS = 16,
    LARGEST_Z = 16 << Z_BITS,
    POWER_UNIT_BITS = 16,
    LARGEST_PAIR_WEIGHT = 2 << UNIT_BITS,
    SMALLEST_LOG_SCALE = -(6 * (1 << UNIT_BITS)),
};

#define TOTAL ((int64_t)1 << TOTAL_BITS)

/* Where a component's parameters are: its logit, then the means, log-scales and pair weights of all channels. */
INLINE int mean_of(int c) { return 1 + c; }
INLINE int scale_of(int c) { return 1 + CHANNELS + c; }
INLINE int pair_of(int c, int before) { return 1 + 2 * CHANNELS + c * (c - 1) / 2 + before; }

/* One channel of a site's mixture, and its shares below the lower and upper edge of the value. Means and scales have 9
 * fractional bits; scales are only used for guesses. */
typedef struct {
    lanes_t mean, scale, inverse, shift, low, high;
} mixture_t;

INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
INLINE int64_t clamp(int64_t a, int64_t low, int64_t high) { return smaller(larger(a, low), high); }

/* Multiply by 2**bits; if that is a fraction, round down. */
INLINE lanes_t scale_by(lanes_t a, int64_t bits) { return bits >= 0 ? shift_up(a, bits) : shift_down(a, -bits); }

/* 2**16 * 2**(-exponent / 4096) for exponents from 0 to 4095, to the nearest of 256 steps. */
INLINE lanes_t power(lanes_t exponent) { return look_up(POWERS, shift_down(plus(exponent, all(8)), 4)); }

/* 2**15 * 2**(exponent / 4096). */
INLINE lanes_t growth(lanes_t exponent) {
    return look_up(POWERS, minus(all(256), shift_down(plus(exponent, all(8)), 4)));
}

/* sigma(z) in units of 2**-24, for z in units of 2**-16: interpolated, and never decreasing. */
INLINE lanes_t sigmoid(lanes_t z) {
    enum { DOWN = Z_BITS - STEP_BITS, LAST = 2 * LARGEST_Z >> DOWN };
    const lanes_t place = plus(clamp_all(z, -LARGEST_Z, LARGEST_Z), all(LARGEST_Z));
    const lanes_t index = smaller_of(shift_down(place, DOWN), all(LAST - 1));
    lanes_t low, next;
    look_up_pair(SIGMOIDS, index, &low, &next);
    return plus(low, shift_down(times_32(minus(next, low), minus(place, shift_up(index, DOWN))), DOWN));
}

/* Scale weights with a sum below 2**31 to add up to 2**24: each component's is at least one (`least` is 1 in their
 * lanes, else 0); the largest takes the remainder. */
INLINE lanes_t normalise(lanes_t weights, lanes_t least) {
    const int64_t inverse = ((int64_t)1 << 62) / sum_of(weights);
    const lanes_t scaled = larger_of(shift_down(times(weights, all(inverse)), 38), least);
    return add_to_lane(scaled, first_largest(weights), TOTAL - sum_of(scaled));
}

/* The mixture's weights from its logits. */
INLINE lanes_t start_weights(lanes_t logits, lanes_t least) {
    int64_t values[LANES] __attribute__((aligned(64)));
    store(logits, values);
    const lanes_t below = minus(all(values[first_largest(logits)]), logits);
    const lanes_t bits = smaller_of(shift_down(below, UNIT_BITS), all(62));
    return normalise(larger_of(shift_down_each(shift_up(power(low_bits(below, 4095)), 8), bits), least), least);
}

/* A channel's components. `distances` are those of the earlier channels from their bases, in quarters. `offset` shifts
 * all means, in scales; `widening` widens them. */
INLINE void place_components(const lanes_t *corrected, int c, const int64_t *distances, int64_t offset,
                             int64_t widening, const ppyr_slice *slice, mixture_t *mixture) {
    lanes_t mean = scale_by(corrected[mean_of(c)], slice->gain);
    for (int before = 0; before < c; before++) {
        const lanes_t weight = clamp_all(corrected[pair_of(c, before)], -LARGEST_PAIR_WEIGHT, LARGEST_PAIR_WEIGHT);
        mean = plus(mean, shift_down(times_32(weight, all(distances[before])), 5));
    }
    const int64_t widest = (4 + slice->bits) << UNIT_BITS, wider = slice->gain * (1 << UNIT_BITS) + widening;
    const lanes_t scale = clamp_all(plus(corrected[scale_of(c)], all(wider)), SMALLEST_LOG_SCALE, widest);
    const lanes_t whole = shift_down(scale, UNIT_BITS), part = low_bits(scale, 4095);
    const lanes_t factor = growth(part), down = minus(all(Z_BITS + POWER_UNIT_BITS - MEAN_BITS - 1), whole);
    mixture->mean = plus(mean, shift_down_each(times_32(factor, all(offset)), down));
    mixture->scale = shift_down_each(shift_up(factor, Z_BITS), down);
    mixture->inverse = power(part);
    mixture->shift = plus(whole, all(MEAN_BITS));
}

/* The lower edge of x, counted from the base, with 9 fractional bits; `base` is in quarters. */
INLINE int64_t edge_of(int64_t x, int64_t base) {
    return x * (1 << MEAN_BITS) - (1 << (MEAN_BITS - 1)) - base * (1 << (MEAN_BITS - 2));
}

INLINE lanes_t z_at(const mixture_t *mixture, int64_t edge) {
    return shift_down_each(times(minus(all(edge), mixture->mean), mixture->inverse), mixture->shift);
}

/* S_k(x) for x from 0 to n. */
INLINE lanes_t shares_below(const mixture_t *mixture, int64_t base, int64_t x, int64_t n) {
    return x <= 0 ? all(0) : x >= n ? all(TOTAL) : sigmoid(z_at(mixture, edge_of(x, base)));
}

/* F(x) for x from 0 to n, given S_k(x). */
INLINE int64_t cumulative(lanes_t weights, lanes_t shares, int64_t x, int64_t n) {
    if (x <= 0 || x >= n) return x <= 0 ? 0 : TOTAL;
    return x + (((sum_of(times_32(weights, shares)) >> TOTAL_BITS) * (TOTAL - n)) >> TOTAL_BITS);
}

/* The mixture's mean, in 512ths of a value, counted from the base. */
INLINE int64_t mean_of_mixture(lanes_t weights, const mixture_t *mixture) {
    return sum_of(shift_down(times(shift_down(weights, 8), mixture->mean), TOTAL_BITS - 8));
}

/* The value nearest to a place that is counted from the base; it may lie outside of the range. */
INLINE int64_t nearest_value(int64_t place, int64_t base) {
    return (place + base * (1 << (MEAN_BITS - 2)) + (1 << (MEAN_BITS - 1))) >> MEAN_BITS;
}

/* Set start and end to F(x) and F(x + 1), and keep the shares there. */
INLINE void find_bounds(lanes_t weights, mixture_t *mixture, int64_t base, int64_t x, int64_t n, int64_t *start,
                        int64_t *end) {
    mixture->low = shares_below(mixture, base, x, n);
    mixture->high = shares_below(mixture, base, x + 1, n);
    *start = cumulative(weights, mixture->low, x, n);
    *end = cumulative(weights, mixture->high, x + 1, n);
}

/* log2, with 8 fractional bits, by a straight line from each power of two to the next. */
INLINE int64_t rough_log2(uint64_t a) {
    const int zeros = __builtin_clzll(a);
    return (63 - zeros) * 256 + (int64_t)(a << zeros << 1 >> 56);
}

/* The value whose lower edge is nearest to where a logistic distribution with the mixture's mean and mean scale has the
 * share slot / 2**24 below it. */
INLINE int64_t guess_value(lanes_t weights, const mixture_t *mixture, int64_t base, int64_t slot) {
    enum { LN2_OF_256 = 177 };
    const int64_t mean = mean_of_mixture(weights, mixture);
    const int64_t scale = sum_of(shift_down(times_32(shift_down(weights, 8), mixture->scale), TOTAL_BITS - 8));
    const int64_t z = (rough_log2((uint64_t)slot + 1) - rough_log2((uint64_t)(TOTAL - slot))) * LN2_OF_256;
    return nearest_value(mean + ((scale * z) >> 16), base);
}

/* The symbol x with F(x) <= slot < F(x + 1), both bounds, and the shares at both edges: from the guess outwards in
 * doubling steps, then by halves. */
INLINE int64_t find_symbol(lanes_t weights, mixture_t *mixture, int64_t base, int64_t slot, int64_t n, int64_t *start,
                           int64_t *end) {
    int64_t x = guess_value(weights, mixture, base, slot), low = 0, high = n, step = 1;
    *start = 0, *end = TOTAL;
    mixture->low = all(0), mixture->high = all(TOTAL);
    while (high - low > 1) {
        x = clamp(x, low + 1, high - 1);
        const lanes_t shares = sigmoid(z_at(mixture, edge_of(x, base)));
        const int64_t at = cumulative(weights, shares, x, n);
        if (at <= slot)
            low = x, *start = at, mixture->low = shares;
        else
            high = x, *end = at, mixture->high = shares;
        x = high == n ? low + step : low == 0 ? high - step : (low + high) >> 1;
        step <<= 1;
    }
    return low;
}

/* The weights, conditional on the channel's value. */
INLINE lanes_t condition_weights(lanes_t weights, const mixture_t *mixture, lanes_t least) {
    const lanes_t joint = times_32(weights, minus(mixture->high, mixture->low));
    const int64_t total = sum_of(joint);
    return total == 0 ? weights : normalise(shift_down(joint, total >> 31 ? 17 : 0), least);
}

#endif
