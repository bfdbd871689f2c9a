/* The loops over the sites of a slice: from a network's integer outputs to intervals or values, and to what was learnt.
 *
 * This file is compiled once for each instruction set that has vectors of its own (slices_*.c).
 * docs/reference/format.md is the
 * specification; pixelpyramids/codec/distributions.py is the same in Python. Right shifts of negative numbers round
 * down, as with every compiler that we build with.
 */

#include "learning.h"
#include "mixing.h"

#include <stdlib.h>

#define LOWEST_LOGIT (-((int64_t)1 << 40)) /* of lanes without a component */

/* Where lane k of a parameter is among a site's outputs: all logits, all means, all log-scales and all pair weights,
 * each component by component. */
INLINE int output_of(int parameter, int k) {
    const int means = mean_of(0), scales = scale_of(0), pairs = pair_of(1, 0);
    if (parameter == 0) return k;
    if (parameter < scales) return COMPONENTS * means + k * CHANNELS + parameter - means;
    if (parameter < pairs) return COMPONENTS * scales + k * CHANNELS + parameter - scales;
    return COMPONENTS * pairs + k * (PARAMETERS - pairs) + parameter - pairs;
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
                if (is_saving)
                    *from = *to;
                else
                    *to = *from;
            }
        }
    }
}

INLINE int64_t slot_of(const stream_t *stream) { return (int64_t)(stream->state & (TOTAL - 1)); }

/* Go on to the next state after a symbol; return 0 if the words run out. */
INLINE int take_interval(stream_t *stream, int64_t start, int64_t end) {
    const uint64_t rest = (uint64_t)(slot_of(stream) - start);
    stream->state = (uint64_t)(end - start) * (stream->state >> TOTAL_BITS) + rest;
    while (stream->state < START) {
        if (stream->taken >= stream->count) return 0;
        stream->state = stream->state << WORD | stream->words[stream->taken++];
    }
    return 1;
}

INLINE void give_interval(stream_t *stream, int64_t start, int64_t end) {
    stream->starts[stream->symbols] = (uint32_t)start;
    stream->frequencies[stream->symbols++] = (uint32_t)(end - start);
}

/* Decode one symbol; return 0 if the words run out. */
INLINE int take_symbol(stream_t *stream, lanes_t weights, mixture_t *mixture, int64_t base, int64_t n, int64_t *value) {
    int64_t start, end;
    *value = find_symbol(weights, mixture, base, slot_of(stream), n, &start, &end);
    return take_interval(stream, start, end);
}

/* Store the interval of a given value. */
INLINE void give_symbol(stream_t *stream, lanes_t weights, mixture_t *mixture, int64_t base, int64_t n, int64_t value) {
    int64_t start, end;
    find_bounds(weights, mixture, base, value, n, &start, &end);
    give_interval(stream, start, end);
}

/* Code whether a decision is yes (which is known if it is encoded), given the network's frequencies of yes and no.
 * Return -1 if the words run out. */
INLINE int decide(stream_t *stream, int is_decoding, const ppyr_slice *slice, int c, int number, const keys_t *keys,
                  int64_t value, int64_t yes, int64_t no, int is_yes) {
    decision_t decision;
    if (yes == 0 || no == 0) return no == 0;
    predict(slice, c, number, keys, value, yes, no, &decision);
    if (is_decoding) is_yes = slot_of(stream) < decision.probability;
    const int64_t start = is_yes ? 0 : decision.probability, end = is_yes ? decision.probability : TOTAL;
    if (!is_decoding)
        give_interval(stream, start, end);
    else if (!take_interval(stream, start, end))
        return -1;
    learn_decision(&decision, is_yes);
    return is_yes;
}

/* Code a value that is above or below all that was decided on, by the network alone: its frequencies from `first` to
 * `last` are scaled to 2**24. Return 0 if the words run out. */
static int code_rest(stream_t *stream, int is_decoding, lanes_t weights, mixture_t *mixture, int64_t base, int64_t n,
                     int64_t first, int64_t last, int64_t *value) {
    int64_t start, end;
    const int64_t slot = first + (((slot_of(stream) + 1) * (last - first) - 1) >> TOTAL_BITS);
    if (is_decoding)
        *value = find_symbol(weights, mixture, base, slot, n, &start, &end);
    else
        find_bounds(weights, mixture, base, *value, n, &start, &end);
    start = (start - first) * TOTAL / (last - first), end = (end - first) * TOTAL / (last - first);
    if (is_decoding) return take_interval(stream, start, end);
    give_interval(stream, start, end);
    return 1;
}

/* Code a value as mixed decisions, outwards from the mixture's mean. Each is about the cell of a possible value: that
 * value, and the impossible ones after it. Return 0 if the words run out. */
static __attribute__((noinline)) int mix_symbol(stream_t *stream, int is_decoding, const ppyr_slice *slice, int c,
                                                const place_t *place, lanes_t weights, mixture_t *mixture, int64_t base,
                                                int64_t n, int64_t *value) {
    keys_t keys;
    find_keys(c, place, &keys);
    const uint64_t *possible = possible_values(slice, c, place);
    int64_t at = nearest_possible(possible, clamp(nearest_value(mean_of_mixture(weights, mixture), base), 0, n - 1), n);
    prefetch(slice, &keys, at, 0), prefetch(slice, &keys, at, 1);
    int64_t below = possible_before(possible, at), above = possible_after(possible, at, n);
    mixture->low = shares_below(mixture, base, below + 1, n);
    mixture->high = shares_below(mixture, base, above, n);
    int64_t start = cumulative(weights, mixture->low, below + 1, n), end = cumulative(weights, mixture->high, above, n);
    int answer = decide(stream, is_decoding, slice, c, 0, &keys, at, end - start, TOTAL - (end - start), *value == at);
    if (answer == 0) {
        const int is_above = decide(stream, is_decoding, slice, c, SIGN, &keys, at, TOTAL - end, start, *value > at);
        if (is_above < 0) return 0;
        const int last_step = FIRST_STEP + steps_of(slice, c);
        for (int step = FIRST_STEP; answer == 0 && step < last_step; step++) {
            if (is_above) {
                at = above, above = possible_after(possible, at, n);
                mixture->low = mixture->high, start = end;
                mixture->high = shares_below(mixture, base, above, n);
                end = cumulative(weights, mixture->high, above, n);
            } else {
                at = below, below = possible_before(possible, at);
                mixture->high = mixture->low, end = start;
                mixture->low = shares_below(mixture, base, below + 1, n);
                start = cumulative(weights, mixture->low, below + 1, n);
            }
            const int64_t no = is_above ? TOTAL - end : start;
            answer = decide(stream, is_decoding, slice, c, step, &keys, at, end - start, no, *value == at);
        }
        if (answer == 0)
            return code_rest(stream, is_decoding, weights, mixture, base, n, is_above ? end : 0,
                             is_above ? TOTAL : start, value);
    }
    *value = at;
    if (possible) {
        mixture->low = shares_below(mixture, base, at, n);
        mixture->high = shares_below(mixture, base, at + 1, n);
    }
    return answer > 0;
}

/* Correct a site's outputs by what the context of its likeliest component learnt; return the context. `raw` holds what
 * lanes without a component get. */
INLINE context_t *correct_outputs(const int32_t *outputs, int64_t raw[PARAMETERS][LANES], context_t *contexts,
                                  lanes_t *corrected) {
    for (int i = 0; i < PARAMETERS; i++)
        for (int k = 0; k < COMPONENTS; k++) raw[i][k] = outputs[output_of(i, k)];
    const int64_t scale = raw[scale_of(0)][first_largest(load(raw[0]))];
    context_t *learnt = contexts + clamp((scale >> UNIT_BITS) - SMALLEST_CONTEXT, 0, CONTEXTS - 1);
    for (int i = 0; i < PARAMETERS; i++) {
        const lanes_t correction = shift_down(load(learnt->numbers + i * LANES), CORRECTION_BITS - UNIT_BITS);
        corrected[i] = plus(load(raw[i]), correction);
    }
    return learnt;
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
            lanes_t corrected[PARAMETERS];
            context_t *learnt = correct_outputs(slice->outputs + site * OUTPUTS, raw, contexts, corrected);
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
                const int32_t *own = (is_decoding ? stream->decoded : stream->values) + site;
                value = is_decoding ? 0 : own[c * sites];
                if (value < 0 || value >= n) return PPYR_BAD_ARGUMENT;
                if (slice->mixed >> c & 1) {
                    const int32_t *near = slice->near + site;
                    const place_t place = {near, near + CHANNELS * sites, x ? own - 1 : near, own, sites};
                    if (!is_decoding && !is_possible(possible_values(slice, c, &place), value))
                        return PPYR_BAD_ARGUMENT;
                    if (!mix_symbol(stream, is_decoding, slice, c, &place, weights, &mixture, base, n, &value))
                        return PPYR_CUT;
                } else if (!is_decoding)
                    give_symbol(stream, weights, &mixture, base, n, value);
                else if (!take_symbol(stream, weights, &mixture, base, n, &value))
                    return PPYR_CUT;
                if (is_decoding) stream->decoded[c * sites + site] = (int32_t)value;
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
