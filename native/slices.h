/* The loops over the sites of a slice: from a network's integer outputs to distributions, and to what was learnt.
 *
 * This file is compiled once for each instruction set that has vectors of its own (slices_*.c).
 *
 * The mixture of logistics (PixelCNN++, Salimans et al. 2017) in fixed point:
 *
 *     z_k(x) = (x - 1/2 - mean_k) / scale_k
 *     S_k(x) = sigma(z_k(x)), of 2**24; S_k(0) = 0 and S_k(n) = 2**24
 *     F(x)   = x + (2**24 - n) * sum_k w_k S_k(x) / 2**24 / 2**24
 *
 * The symbol x has the frequency F(x + 1) - F(x), which is at least one. After a channel has the value x, the weights
 * become conditional on it: w_k' ~ w_k (S_k(x + 1) - S_k(x)).
 *
 * Outputs are corrected by what was learnt before. All sites of one context share the corrections d of all outputs.
 * After each row, every output takes a step of Newton's method:
 *
 *     d <- d - G / 2 / (H + 16),  G = sum of g over the row, H = sum of g**2 over all rows, decaying by an eighth per row
 *
 * g is the derivative of a site's nats by an output. Four more numbers per channel are learnt in the same way: how the
 * scores of the sites to the left and above shift and widen the channel's components (Creal, Koopman and Lucas 2013).
 *
 * docs/format.md is the specification; pixelpyramids/codec/distributions.py is the same in Python. Right shifts of negative numbers round down, as with
 * every compiler that we build with.
 */

#include "coder.h"
#include "lanes.h"
#include "tables.h"

#include <stdlib.h>

enum {
    UNIT_BITS = 12, /* of outputs */
    MEAN_BITS = 9,  /* fractional bits of means */
    STEP_BITS = 6,  /* z from one entry of SIGMOIDS to the next is 2**-6 */
    Z_BITS = 16,
    LARGEST_Z = 16 << Z_BITS,
    POWER_UNIT_BITS = 16,
    SMALLEST_CONTEXT = -2,
    SLOPE_BITS = 12,
    FINE_SLOPE_BITS = 20,
    CORRECTION_BITS = 20,
    FORGETTING = 3,
    MEMORY = 2,
    LARGEST_SLOPE = 16 << SLOPE_BITS,
    LARGEST_STEP = 1 << (CORRECTION_BITS - 4),
    LARGEST_CORRECTION = 2 << CORRECTION_BITS,
    CAUTION = 16 << 2 * SLOPE_BITS,
    LARGEST_SCORE = 4 << SLOPE_BITS,
    LARGEST_PAIR_WEIGHT = 2 << UNIT_BITS,
    SMALLEST_LOG_SCALE = -(6 * (1 << UNIT_BITS)),
};

#define TOTAL ((int64_t)1 << TOTAL_BITS)
#define LOWEST_LOGIT (-((int64_t)1 << 40)) /* of lanes without a component */

/* Where a component's parameters are: its logit, then the means, log-scales and pair weights of all channels. */
INLINE int mean_of(int c) { return 1 + c; }
INLINE int scale_of(int c) { return 1 + CHANNELS + c; }
INLINE int pair_of(int c, int before) { return 1 + 2 * CHANNELS + c * (c - 1) / 2 + before; }

/* What a context learnt: numbers, their slopes G of this row, and their squares H; first those of the components. */
enum { OF_COMPONENTS = PARAMETERS * LANES, NUMBERS = OF_COMPONENTS + CHANNELS * INFLUENCES };
typedef struct {
    int64_t numbers[(NUMBERS + 7) / 8 * 8], slopes[(NUMBERS + 7) / 8 * 8], squares[(NUMBERS + 7) / 8 * 8];
} context_t;

/* One channel of a site's mixture, and its shares below the lower and upper edge of the value. Means and scales have 9
 * fractional bits; scales are only used for guesses. */
typedef struct {
    lanes_t mean, scale, inverse, shift, low, high;
} mixture_t;

/* Derivatives of a site's nats, by the mean in values, by the scale's logarithm and by the mean in scales. */
typedef struct {
    lanes_t mean, log_scale, offset;
} slopes_t;

/* The scores of a neighbouring site by channel: by a shift of all components, and by the width of all of them. */
typedef struct {
    int64_t shift[CHANNELS], width[CHANNELS];
} scores_t;

INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
INLINE int64_t clamp(int64_t a, int64_t low, int64_t high) { return smaller(larger(a, low), high); }

/* Multiply by 2**bits; if that is a fraction, round down. */
INLINE lanes_t scale_by(lanes_t a, int64_t bits) { return bits >= 0 ? shift_up(a, bits) : shift_down(a, -bits); }

/* The quotient, rounded down; the divisor is positive. */
INLINE int64_t divide_down(int64_t a, int64_t b) {
    const int64_t quotient = a / b;
    return quotient - (a % b < 0);
}

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

/* Scale weights with a sum below 2**31 to add up to 2**24: each component's is at least one (`least` is 1 in their lanes,
 * else 0); the largest takes the remainder. */
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
INLINE void place_components(const lanes_t *corrected, int c, const int64_t *distances, int64_t offset, int64_t widening,
                             const ppyr_slice *slice, mixture_t *mixture) {
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

/* log2, with 8 fractional bits, by a straight line from each power of two to the next. */
INLINE int64_t rough_log2(uint64_t a) {
    const int zeros = __builtin_clzll(a);
    return (63 - zeros) * 256 + (int64_t)(a << zeros << 1 >> 56);
}

/* The value whose lower edge is nearest to where a logistic distribution with the mixture's mean and mean scale has the
 * share slot / 2**24 below it. */
INLINE int64_t guess_value(lanes_t weights, const mixture_t *mixture, int64_t base, int64_t slot) {
    enum { LN2 = 177 }; /* of 256 */
    const lanes_t shares = shift_down(weights, 8);
    const int64_t mean = sum_of(shift_down(times(shares, mixture->mean), TOTAL_BITS - 8));
    const int64_t scale = sum_of(shift_down(times_32(shares, mixture->scale), TOTAL_BITS - 8));
    const int64_t z = (rough_log2((uint64_t)slot + 1) - rough_log2((uint64_t)(TOTAL - slot))) * LN2;
    return (mean + ((scale * z) >> 16) + base * (1 << (MEAN_BITS - 2)) + (1 << (MEAN_BITS - 1))) >> MEAN_BITS;
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

/* The derivatives of -ln(S_k(x + 1) - S_k(x)). Since sigma' = sigma (1 - sigma), that by the mean is
 * (1 - S_k(x + 1) - S_k(x)) / scale; that by the logarithm is z(x) times this, plus
 * sigma'(x + 1) / (S_k(x + 1) - S_k(x)) / scale. */
INLINE void differentiate(const mixture_t *mixture, int64_t base, int64_t x, slopes_t *slopes) {
    const lanes_t low = mixture->low, high = mixture->high, pull = minus(minus(all(TOTAL), low), high);
    const lanes_t inverse = shift_down_each(shift_up(mixture->inverse, MEAN_BITS), mixture->shift);
    const lanes_t z = clamp_all(z_at(mixture, edge_of(x, base)), -LARGEST_Z, LARGEST_Z);
    const lanes_t density = times_32(shift_down(times_32(high, minus(all(TOTAL), high)), TOTAL_BITS), inverse);
    const lanes_t spread = shift_down(divide(density, larger_of(minus(high, low), all(1))), Z_BITS - SLOPE_BITS);
    slopes->mean = shift_down(times_32(pull, inverse), TOTAL_BITS + Z_BITS - FINE_SLOPE_BITS);
    slopes->log_scale = plus(shift_down(times_32(z, pull), TOTAL_BITS + Z_BITS - SLOPE_BITS), spread);
    slopes->offset = shift_down(pull, TOTAL_BITS - SLOPE_BITS);
}

/* Add each component's share of a derivative to the sums of a parameter. */
INLINE void add_slopes(context_t *learnt, int parameter, lanes_t shares, lanes_t slopes) {
    const lanes_t slope = shift_down(times_32(shares, clamp_all(slopes, -LARGEST_SLOPE, LARGEST_SLOPE)), TOTAL_BITS);
    int64_t *sums = learnt->slopes + parameter * LANES, *squares = learnt->squares + parameter * LANES;
    store(plus(load(sums), slope), sums);
    store(plus(load(squares), times_32(slope, slope)), squares);
}

/* How far the neighbours' scores shift and widen a channel. */
INLINE void find_influence(const context_t *learnt, int c, const scores_t *left, const scores_t *above, int64_t *offset,
                           int64_t *widening) {
    const int64_t *numbers = learnt->numbers + OF_COMPONENTS + INFLUENCES * c;
    const int64_t shift = numbers[0] * left->shift[c] + numbers[1] * above->shift[c];
    const int64_t width = numbers[2] * left->width[c] + numbers[3] * above->width[c];
    *offset = shift >> (SLOPE_BITS + CORRECTION_BITS - Z_BITS);
    *widening = width >> (SLOPE_BITS + CORRECTION_BITS - UNIT_BITS);
}

/* Add a site to the sums of its context, and store its scores for the sites to the right and below. `priors` and
 * `weights` are the weights before and after the site's channels. */
INLINE void learn(context_t *learnt, int coded, lanes_t priors, lanes_t weights, const slopes_t *slopes,
                  const int64_t *distances, int64_t gain, scores_t *left, scores_t *above) {
    enum { COARSER = FINE_SLOPE_BITS - SLOPE_BITS };
    add_slopes(learnt, 0, all(TOTAL), shift_down(minus(priors, weights), TOTAL_BITS - SLOPE_BITS));
    for (int c = 0; c < coded; c++) {
        const slopes_t *of = slopes + c;
        const lanes_t mean = scale_by(shift_up(of->mean, UNIT_BITS - MEAN_BITS), gain);
        add_slopes(learnt, mean_of(c), weights, shift_down(mean, COARSER));
        add_slopes(learnt, scale_of(c), weights, of->log_scale);
        for (int before = 0; before < c; before++) {
            const lanes_t slope = shift_down(times_32(of->mean, all(distances[before])), 2 + COARSER);
            add_slopes(learnt, pair_of(c, before), weights, slope);
        }
        const lanes_t widths = times_32(weights, clamp_all(of->log_scale, -LARGEST_SLOPE, LARGEST_SLOPE));
        const int64_t shift = sum_of(times_32(weights, of->offset)) >> TOTAL_BITS;
        const int64_t width = clamp(sum_of(widths) >> TOTAL_BITS, -LARGEST_SCORE, LARGEST_SCORE);
        const int64_t moves[INFLUENCES] = {
            shift * left->shift[c], shift * above->shift[c], width * left->width[c], width * above->width[c],
        };
        for (int i = 0; i < INFLUENCES; i++) {
            const int64_t slope = clamp(moves[i] >> SLOPE_BITS, -LARGEST_SLOPE, LARGEST_SLOPE);
            learnt->slopes[OF_COMPONENTS + INFLUENCES * c + i] += slope;
            learnt->squares[OF_COMPONENTS + INFLUENCES * c + i] += slope * slope;
        }
        left->shift[c] = above->shift[c] = shift;
        left->width[c] += (width - left->width[c]) >> MEMORY;
        above->width[c] += (width - above->width[c]) >> MEMORY;
    }
}

/* Update the numbers at the end of a row. */
static void update_contexts(context_t *contexts) {
    for (context_t *at = contexts; at < contexts + CONTEXTS; at++) {
        for (int i = 0; i < NUMBERS; i++) {
            if (at->slopes[i] == 0) continue;
            const int64_t slope = at->slopes[i] * ((int64_t)1 << (SLOPE_BITS + CORRECTION_BITS - 1));
            const int64_t step = clamp(divide_down(slope, at->squares[i] + CAUTION), -LARGEST_STEP, LARGEST_STEP);
            at->numbers[i] = clamp(at->numbers[i] - step, -LARGEST_CORRECTION, LARGEST_CORRECTION);
            at->slopes[i] = 0;
            at->squares[i] -= at->squares[i] >> FORGETTING;
        }
    }
}

/* Where lane k of a parameter is among a site's outputs: all logits, all means, all log-scales and all pair weights, each
 * component by component. */
INLINE int output_of(int parameter, int k) {
    const int first = parameter == 0 ? 0 : parameter < 1 + CHANNELS ? 1 : parameter < 1 + 2 * CHANNELS ? 1 + CHANNELS : 1 + 2 * CHANNELS;
    const int together = parameter == 0 ? 1 : parameter < 1 + 2 * CHANNELS ? CHANNELS : PARAMETERS - 1 - 2 * CHANNELS;
    return COMPONENTS * first + k * together + parameter - first;
}

/* Copy what was learnt from (is_saving: to) the caller's array, (3, contexts, outputs and influences). */
static void copy_learnt(int64_t *outside, context_t *contexts, int is_saving) {
    for (int kind = 0; kind < 3; kind++) {
        for (int i = 0; i < CONTEXTS; i++, outside += OUTPUTS + CHANNELS * INFLUENCES) {
            int64_t *inside = kind == 0 ? contexts[i].numbers : kind == 1 ? contexts[i].slopes : contexts[i].squares;
            for (int j = 0; j < OUTPUTS + CHANNELS * INFLUENCES; j++) {
                int64_t *from = outside + j, *to = inside + OF_COMPONENTS + j - OUTPUTS;
                if (j < OUTPUTS) {
                    from = outside + output_of(j / COMPONENTS, j % COMPONENTS);
                    to = inside + j / COMPONENTS * LANES + j % COMPONENTS;
                }
                if (is_saving) *from = *to;
                else *to = *from;
            }
        }
    }
}

/* Decode one symbol; return 0 if the words run out. */
INLINE int take_symbol(stream_t *stream, lanes_t weights, mixture_t *mixture, int64_t base, int64_t n, int64_t *value) {
    int64_t start, end;
    const int64_t slot = (int64_t)(stream->state & (TOTAL - 1));
    *value = find_symbol(weights, mixture, base, slot, n, &start, &end);
    stream->state = (uint64_t)(end - start) * (stream->state >> TOTAL_BITS) + (uint64_t)(slot - start);
    while (stream->state < START) {
        if (stream->taken >= stream->count) return 0;
        stream->state = stream->state << WORD | stream->words[stream->taken++];
    }
    return 1;
}

/* Go through the sites of a slice. What is constant lets the compiler unroll the loops. */
INLINE int follow_sites(const ppyr_slice *slice, stream_t *stream, context_t *contexts, scores_t *row, int is_decoding,
                        int coded) {
    const int64_t n = (int64_t)1 << slice->bits, sites = slice->height * slice->width;
    int64_t raw[PARAMETERS][LANES] __attribute__((aligned(64))) = {{0}};
    int64_t ones[LANES] __attribute__((aligned(64))) = {0};
    for (int k = 0; k < LANES; k++) raw[0][k] = LOWEST_LOGIT;
    for (int k = 0; k < COMPONENTS; k++) ones[k] = 1;
    const lanes_t least = load(ones);
    for (int64_t y = 0, site = 0; y < slice->height; y++) {
        scores_t left = {{0}, {0}};
        for (int64_t x = 0; x < slice->width; x++, site++) {
            const int32_t *outputs = slice->outputs + site * OUTPUTS;
            for (int i = 0; i < PARAMETERS; i++)
                for (int k = 0; k < COMPONENTS; k++) raw[i][k] = outputs[output_of(i, k)];
            const int64_t scale = raw[scale_of(0)][first_largest(load(raw[0]))];
            context_t *learnt = contexts + clamp((scale >> UNIT_BITS) - SMALLEST_CONTEXT, 0, CONTEXTS - 1);
            lanes_t corrected[PARAMETERS];
            for (int i = 0; i < PARAMETERS; i++)
                corrected[i] = plus(load(raw[i]), shift_down(load(learnt->numbers + i * LANES), CORRECTION_BITS - UNIT_BITS));
            const lanes_t priors = start_weights(corrected[0], least);
            lanes_t weights = priors;
            slopes_t slopes[CHANNELS];
            int64_t distances[CHANNELS];
            for (int c = 0; c < coded; c++) {
                const int64_t base = slice->bases[c * sites + site];
                mixture_t mixture;
                int64_t offset, widening, value;
                find_influence(learnt, c, &left, row + x, &offset, &widening);
                place_components(corrected, c, distances, offset, widening, slice, &mixture);
                if (is_decoding) {
                    if (!take_symbol(stream, weights, &mixture, base, n, &value)) return PPYR_CUT;
                    stream->decoded[c * sites + site] = (int32_t)value;
                } else {
                    value = stream->values[c * sites + site];
                    if (value < 0 || value >= n) return PPYR_BAD_ARGUMENT;
                    mixture.low = shares_below(&mixture, base, value, n);
                    mixture.high = shares_below(&mixture, base, value + 1, n);
                    const int64_t low = cumulative(weights, mixture.low, value, n);
                    const int64_t high = cumulative(weights, mixture.high, value + 1, n);
                    stream->starts[stream->symbols] = (uint32_t)low;
                    stream->frequencies[stream->symbols++] = (uint32_t)(high - low);
                }
                distances[c] = 4 * value - base;
                differentiate(&mixture, base, value, slopes + c);
                weights = condition_weights(weights, &mixture, least);
            }
            learn(learnt, coded, priors, weights, slopes, distances, slice->gain, &left, row + x);
        }
        update_contexts(contexts);
    }
    return PPYR_OK;
}

int FOLLOW_SLICE(const ppyr_slice *slice, stream_t *stream, int is_decoding) {
    const size_t of_contexts = CONTEXTS * sizeof(context_t), of_row = (size_t)slice->width * sizeof(scores_t);
    char *memory = calloc(of_contexts + of_row + 64, 1);
    if (!memory) return PPYR_NO_MEMORY;
    context_t *contexts = (context_t *)(void *)(memory + (64 - (uintptr_t)memory % 64) % 64);
    scores_t *row = (scores_t *)(void *)(contexts + CONTEXTS);
    copy_learnt(slice->learnt, contexts, 0);
    const int coded = (int)slice->coded;
    const int result = coded < CHANNELS ? follow_sites(slice, stream, contexts, row, is_decoding, coded)
                       : is_decoding    ? follow_sites(slice, stream, contexts, row, 1, CHANNELS)
                                        : follow_sites(slice, stream, contexts, row, 0, CHANNELS);
    copy_learnt(slice->learnt, contexts, 1);
    free(memory);
    return result;
}
