/* What is learnt from one site to the next, in fixed point.
 *
 * Outputs are corrected by what was learnt before. All sites of one context share the corrections d of all outputs.
 * After each row, every output takes a step of Newton's method:
 *
 *     d <- d - G / 2 / (H + 16)      G = sum of g over the row; H = sum of g**2 over all rows, decaying by an eighth
 * per row
 *
 * g is the derivative of a site's nats by an output. Four more numbers per channel are learnt in the same way: how the
 * scores of the sites to the left and above shift and widen the channel's components (Creal, Koopman and Lucas 2013).
 */

#ifndef PPYR_LEARNING_H
#define PPYR_LEARNING_H

#include "mixture.h"

enum {
    SMALLEST_CONTEXT = -2,
    SLOPE_BITS = 12,
    FINE_SLOPE_BITS = 20,
    FORGETTING = 3,
    MEMORY = 2,
    LARGEST_SLOPE = 16 << SLOPE_BITS,
    LARGEST_STEP = 1 << (CORRECTION_BITS - 4),
    CAUTION = 16 << 2 * SLOPE_BITS,
    LARGEST_SCORE = 4 << SLOPE_BITS,
};

/* What a context learnt: numbers, their slopes G of this row, and their squares H; first those of the components. */
enum { OF_COMPONENTS = PARAMETERS * LANES, NUMBERS = OF_COMPONENTS + CHANNELS * INFLUENCES };
typedef struct {
    int64_t numbers[(NUMBERS + 7) / 8 * 8], slopes[(NUMBERS + 7) / 8 * 8], squares[(NUMBERS + 7) / 8 * 8];
} context_t;

/* Derivatives of a site's nats, by the mean in values, by the scale's logarithm and by the mean in scales. */
typedef struct {
    lanes_t mean, log_scale, offset;
} slopes_t;

/* The scores of a neighbouring site by channel: by a shift of all components, and by the width of all of them. */
typedef struct {
    int64_t shift[CHANNELS], width[CHANNELS];
} scores_t;

/* The quotient, rounded down; the divisor is positive. */
INLINE int64_t divide_down(int64_t a, int64_t b) {
    const int64_t quotient = a / b;
    return quotient - (a % b < 0);
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
            shift * left->shift[c],
            shift * above->shift[c],
            width * left->width[c],
            width * above->width[c],
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

#endif
