/* The entropy coder: rANS (Duda 2013) with states of 48 bits, words of 16 bits and frequencies of 2**24.
 *
 *     decode:  slot = state mod 2**24;  state = frequency * (state >> 24) + slot - start
 *              while state < 2**32: state = state * 2**16 + the next word
 *     encode:  the same backwards, from the state 2**32, once all starts and frequencies are known
 */

#include "coder.h"

#include <stddef.h>

static follow_slice_t *find_loops(int instructions) {
#if defined(__x86_64__) || defined(_M_X64)
    if (instructions == PPYR_BEST)
        instructions = ppyr_supports(PPYR_AVX512) ? PPYR_AVX512 : ppyr_supports(PPYR_AVX2) ? PPYR_AVX2 : PPYR_PORTABLE;
    if (!ppyr_supports(instructions)) return NULL;
    if (instructions == PPYR_AVX512 || instructions == PPYR_AMX) return follow_slice_avx512;
    if (instructions == PPYR_AVX2) return follow_slice_avx2;
    return follow_slice_portable;
#else
    return instructions == PPYR_BEST || ppyr_supports(instructions) ? follow_slice_portable : NULL;
#endif
}

/* Whether all numbers are from `low` to `high`. */
static int are_within(const int64_t *numbers, int count, int64_t low, int64_t high) {
    int are = 1;
    for (int i = 0; i < count; i++) are &= numbers[i] >= low && numbers[i] <= high;
    return are;
}

static int is_mixing_valid(const ppyr_slice *slice) {
    enum { WEIGHTS = CHANNELS * DECISIONS * INPUTS };
    const int is_last_mixed = slice->mixed >> (CHANNELS - 1) & 1;
    if (!slice->mixed) return 1;
    if (slice->mixed & PPYR_YCBCR && (!slice->colours || slice->bits != 8 || !is_last_mixed)) return 0;
    if (!slice->near || !slice->counters || !slice->maps || !slice->weights) return 0;
    int are = 1;
    for (int i = 0; i < WEIGHTS; i++)
        are &= slice->weights[i] >= -LARGEST_MIXING_WEIGHT && slice->weights[i] <= LARGEST_MIXING_WEIGHT;
    return are;
}

/* The most symbols that a slice can have. */
static int64_t most_symbols(const ppyr_slice *slice) {
    int64_t of_site = 0;
    for (int c = 0; c < slice->coded; c++) of_site += slice->mixed >> c & 1 ? DECISIONS + 1 : 1;
    return of_site * slice->height * slice->width;
}

/* In these ranges, all sums and products are below 2**63; the gradients of a row need most. */
static int is_valid(const ppyr_slice *slice) {
    enum { OF_KIND = CONTEXTS * (OUTPUTS + CHANNELS * INFLUENCES) };
    const int64_t side = (int64_t)1 << 15, most = (int64_t)1 << 60;
    if (!slice || !slice->outputs || !slice->bases || !slice->learnt) return 0;
    if (slice->height < 1 || slice->width < 1 || slice->height > side || slice->width > side) return 0;
    if (slice->coded < 1 || slice->coded > CHANNELS) return 0;
    if (slice->bits < 1 || slice->bits > 16 || slice->gain < -8 || slice->gain > 8) return 0;
    if (slice->mixed < 0 || (slice->mixed & ~(int64_t)(PPYR_FAR | PPYR_YCBCR)) >> slice->coded || !is_mixing_valid(slice)) return 0;
    const int64_t sites = slice->height * slice->width;
    int are_bases = 1;
    for (int64_t i = 0; i < slice->coded * sites; i++)
        are_bases &= slice->bases[i] >= 0 && slice->bases[i] <= LARGEST_BASE;
    return are_bases && are_within(slice->learnt, OF_KIND, -LARGEST_CORRECTION, LARGEST_CORRECTION) &&
           are_within(slice->learnt + OF_KIND, OF_KIND, 0, 0) &&
           are_within(slice->learnt + 2 * OF_KIND, OF_KIND, 0, most);
}

int ppyr_model_slice(const ppyr_slice *slice, const int32_t *values, uint32_t *starts, uint32_t *frequencies,
                     int64_t capacity, int64_t *count, int instructions) {
    follow_slice_t *follow = find_loops(instructions);
    if (!follow || !is_valid(slice) || !values || !starts || !frequencies || !count || *count < 0)
        return PPYR_BAD_ARGUMENT;
    if (*count > capacity || capacity - *count < most_symbols(slice)) return PPYR_BAD_ARGUMENT;
    stream_t stream = {.values = values, .starts = starts, .frequencies = frequencies, .symbols = *count};
    const int result = follow(slice, &stream, 0);
    *count = stream.symbols;
    return result;
}

int ppyr_encode(const uint32_t *starts, const uint32_t *frequencies, int64_t count, uint16_t *words, int64_t capacity,
                int64_t *first, uint64_t *state) {
    if (!starts || !frequencies || !words || !first || !state || count < 0 || count > capacity / 2)
        return PPYR_BAD_ARGUMENT;
    const uint64_t total = (uint64_t)1 << TOTAL_BITS;
    uint64_t current = START;
    int64_t place = capacity;
    for (int64_t i = count - 1; i >= 0; i--) {
        const uint64_t frequency = frequencies[i];
        if (frequency < 1 || frequency + starts[i] > total) return PPYR_BAD_ARGUMENT;
        while (current >= frequency << TOTAL_BITS) {
            words[--place] = (uint16_t)current;
            current >>= WORD;
        }
        current = ((current / frequency) << TOTAL_BITS) + starts[i] + current % frequency;
    }
    *first = place, *state = current;
    return PPYR_OK;
}

int ppyr_decode_slice(const ppyr_slice *slice, const uint16_t *words, int64_t count, uint64_t *state, int64_t *taken,
                      int32_t *values, int instructions) {
    follow_slice_t *follow = find_loops(instructions);
    if (!follow || !is_valid(slice) || !words || !state || !taken || !values) return PPYR_BAD_ARGUMENT;
    if (*taken < 0 || *taken > count || *state < START || *state >> (WORD + 32)) return PPYR_BAD_ARGUMENT;
    stream_t stream = {.words = words, .count = count, .taken = *taken, .state = *state, .decoded = values};
    const int result = follow(slice, &stream, 1);
    *state = stream.state, *taken = stream.taken;
    return result;
}
