/* Context mixing: what this image does again and again, such as colours that cannot occur, corrects the network.
 *
 * A value is coded as binary decisions: is it q, the mixture's mean? Is it above? Is it q + 1, q + 2, … (or q - 1, …)?
 * For each, the network's probability and three counters, chosen by hashed contexts, are mixed in the logistic domain,
 * with weights that are learnt online (Mahoney's PAQ, 2005); a map by the mixed probability corrects the result:
 *
 *     s_i = ln(p_i / (1 - p_i)),  z = sum of w_i s_i,  p = (sigma(z) + map(z)) / 2,  w_i += rate (bit - sigma(z)) s_i
 */

#ifndef PPYR_MIXING_H
#define PPYR_MIXING_H

#include "mixture.h"
#include "mixing_tables.h"

enum {
    STRETCH_BITS = 12, /* fractional bits of logits in the mixing */
    LN2_OF_4096 = 2839,
    COUNTER_BITS = 20,
    GROUP_BITS = 3,
    AGE_BITS = 4, /* the low bits of a counter: how often it was used */
    MAP_BITS = 16,
    MAP_RATE = 6,
    MIXING_BITS = 16, /* fractional bits of weights */
    MIXING_RATE = 19,
    SIGN = 1,
    FIRST_STEP = 2, /* the numbers of decisions: 0 is for q itself */
    MOST_STEPS = DECISIONS - FIRST_STEP,
    FEW_STEPS = 2,
    WORDS_OF_VALUES = 256 / 64,
};

/* What is known of a value's surroundings: the colours of the pixels before and after it, of the one to the left in the
 * slice, and its own channels before. Colours are `stride` numbers apart. */
typedef struct {
    const int32_t *near, *opposite, *left, *own;
    int64_t stride;
} place_t;

/* What chooses a decision's counters: a hash of a key and of the value's distance from an origin. Counters of eight
 * distances lie side by side. */
typedef struct {
    uint32_t key[COUNTERS];
    int64_t origin[COUNTERS];
} keys_t;

INLINE uint32_t scramble(uint32_t key, int64_t number) {
    const uint32_t hash = (key ^ (uint32_t)number * 0x9E3779B1u) * 0x85EBCA6Bu;
    return hash ^ hash >> 15;
}

INLINE void set_key(keys_t *keys, int i, int number, int64_t origin, int64_t a, int64_t b) {
    keys->origin[i] = origin;
    keys->key[i] = scramble(scramble((uint32_t)(number + 1) * 0x27D4EB2Fu, a), b);
}

/* The index of a counter. */
INLINE uint32_t counter_of(const keys_t *keys, int i, int64_t value, int is_sign) {
    const int64_t distance = value - keys->origin[i];
    const uint32_t group = scramble(keys->key[i] + (uint32_t)is_sign, distance >> GROUP_BITS);
    return group >> (32 - COUNTER_BITS + GROUP_BITS) << GROUP_BITS | (uint32_t)(distance & ((1 << GROUP_BITS) - 1));
}

INLINE void prefetch(const ppyr_slice *slice, const keys_t *keys, int64_t value, int is_sign) {
    for (int i = 0; i < COUNTERS; i++) __builtin_prefetch(slice->counters + counter_of(keys, i, value, is_sign));
}

INLINE void find_keys(int c, const place_t *at, keys_t *keys) {
    const int64_t stride = at->stride;
    if (c == 0) {
        set_key(keys, 0, 0, 0, at->near[0], at->opposite[0]);
        set_key(keys, 1, 1, 0, 0, 0);
        set_key(keys, 2, 2, at->left[0], 0, 0);
        return;
    }
    const int32_t *near = at->near + (c - 1) * stride, *opposite = at->opposite + (c - 1) * stride;
    const int64_t before = at->own[(c - 1) * stride], first = at->own[0];
    if (c == 1) {
        set_key(keys, 0, 3, before, (int64_t)near[stride] - near[0], (int64_t)opposite[stride] - opposite[0]);
        set_key(keys, 1, 4, 0, before, 0);
        set_key(keys, 2, 5, opposite[stride], before - opposite[0], 0);
    } else {
        set_key(keys, 0, 6, before, before - first, 0);
        set_key(keys, 1, 7, 0, before, 0);
        set_key(keys, 2, 8, opposite[stride], before - opposite[0], first - at->opposite[0]);
    }
}

/* How many values on one side of q get decisions of their own. */
INLINE int steps_of(const ppyr_slice *slice, int c) {
    return slice->mixed & PPYR_FAR || c == CHANNELS - 1 ? MOST_STEPS : FEW_STEPS;
}

/* The possible values of channel 2, a bit for each of 256, if the colours of the whole image come from YCbCr. NULL if
 * all are possible, or if `colours`, which is not checked, has none. */
INLINE const uint64_t *possible_values(const ppyr_slice *slice, int c, const place_t *place) {
    if (!(slice->mixed & PPYR_YCBCR) || c < CHANNELS - 1) return NULL;
    const uint64_t *row = slice->colours + WORDS_OF_VALUES * (place->own[0] << 8 | place->own[place->stride]);
    return row[0] | row[1] | row[2] | row[3] ? row : NULL;
}

INLINE int is_possible(const uint64_t *possible, int64_t x) { return !possible || (possible[x >> 6] >> (x & 63) & 1); }

/* The first possible value after x; n if there is none. */
INLINE int64_t possible_after(const uint64_t *possible, int64_t x, int64_t n) {
    if (!possible || x == n - 1) return x + 1;
    int64_t i = ++x >> 6;
    uint64_t word = possible[i] >> (x & 63) << (x & 63);
    while (!word && ++i < WORDS_OF_VALUES) word = possible[i];
    return word ? i << 6 | __builtin_ctzll(word) : n;
}

/* The last possible value before x; -1 if there is none. */
INLINE int64_t possible_before(const uint64_t *possible, int64_t x) {
    if (!possible || x == 0) return x - 1;
    int64_t i = --x >> 6;
    uint64_t word = possible[i] << (63 - (x & 63)) >> (63 - (x & 63));
    while (!word && --i >= 0) word = possible[i];
    return word ? i << 6 | (63 - __builtin_clzll(word)) : -1;
}

/* The possible value that is nearest to x; the smaller one of two. */
INLINE int64_t nearest_possible(const uint64_t *possible, int64_t x, int64_t n) {
    if (!possible) return x;
    const int64_t above = possible_after(possible, x - 1, n), below = possible_before(possible, x + 1);
    return below < 0 || (above < n && above - x < x - below) ? above : below;
}

/* ln(a) in 4096ths. */
INLINE int64_t logarithm(uint64_t a) {
    const int zeros = __builtin_clzll(a);
    return (63 - zeros) * LN2_OF_4096 + LOGARITHMS[a << zeros << 1 >> 56];
}

/* sigma(z) in units of 2**-24, for z in units of 2**-16, given z + 16. */
INLINE int64_t sigmoid_at(int64_t place) {
    enum { DOWN = Z_BITS - STEP_BITS, LAST = (2 * LARGEST_Z >> DOWN) - 1 };
    const int64_t index = smaller(place >> DOWN, LAST), low = SIGMOIDS[index];
    return low + (((SIGMOIDS[index + 1] - low) * (place - (index << DOWN))) >> DOWN);
}

/* A decision between the network's frequencies of yes and no, neither of which is 0. */
typedef struct {
    int64_t inputs[INPUTS];
    int32_t *weights;
    uint16_t *counters[COUNTERS], *map;
    int64_t mixed, probability; /* of yes, of 2**24: before and after the map */
} decision_t;

INLINE void predict(const ppyr_slice *slice, int c, int number, const keys_t *keys, int64_t value, int64_t yes,
                    int64_t no, decision_t *decision) {
    decision->weights = slice->weights + (c * DECISIONS + number) * INPUTS;
    decision->inputs[0] = logarithm((uint64_t)yes) - logarithm((uint64_t)no);
    int64_t sum = decision->inputs[0] * decision->weights[0];
    for (int i = 0; i < COUNTERS; i++) {
        decision->counters[i] = slice->counters + counter_of(keys, i, value, number == SIGN);
        decision->inputs[1 + i] = STRETCHES[*decision->counters[i] >> AGE_BITS];
        sum += decision->inputs[1 + i] * decision->weights[1 + i];
    }
    const int64_t z = clamp(sum >> (STRETCH_BITS + MIXING_BITS - Z_BITS), -LARGEST_Z, LARGEST_Z);
    const int64_t place = z + LARGEST_Z, entry = smaller(place >> Z_BITS, MAP_ENTRIES - 2);
    const int64_t part = place - (entry << Z_BITS);
    const int64_t offset = (c * DECISIONS + number) * MAP_ENTRIES;
    const uint16_t *map = slice->maps + offset + entry;
    const int64_t between = map[0] * (((int64_t)1 << Z_BITS) - part) + map[1] * part;
    const int64_t mapped = between >> (Z_BITS + MAP_BITS - TOTAL_BITS);
    decision->map = slice->maps + offset + smaller(entry + (part >> (Z_BITS - 1)), MAP_ENTRIES - 1);
    decision->mixed = sigmoid_at(place);
    decision->probability = clamp((decision->mixed + mapped) >> 1, 1, TOTAL - 1);
}

INLINE void learn_decision(decision_t *decision, int is_yes) {
    const int64_t error = (is_yes ? (int64_t)1 << 16 : 0) - (decision->mixed >> (TOTAL_BITS - 16));
    for (int i = 0; i < INPUTS; i++) {
        const int64_t move = (decision->inputs[i] * error + (1 << (MIXING_RATE - 1))) >> MIXING_RATE;
        const int64_t weight = decision->weights[i] + move;
        decision->weights[i] = (int32_t)clamp(weight, -LARGEST_MIXING_WEIGHT, LARGEST_MIXING_WEIGHT);
    }
    for (int i = 0; i < COUNTERS; i++) {
        const int all_bits = *decision->counters[i], share = all_bits >> AGE_BITS, age = all_bits & 15;
        const int moved = share + ((((is_yes ? 4095 : 0) - share) * RATES[age] + (1 << 15)) >> 16);
        *decision->counters[i] = (uint16_t)(moved << AGE_BITS | (age < 15 ? age + 1 : 15));
    }
    *decision->map = (uint16_t)(*decision->map + (((is_yes ? 65535 : 0) - *decision->map) >> MAP_RATE));
}

#endif
