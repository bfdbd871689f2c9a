/* What the entropy coder and the loops over a slice's sites share. */

#ifndef PPYR_CODER_H
#define PPYR_CODER_H

#include "ppyr_core.h"

enum {
    COMPONENTS = PPYR_COMPONENTS,
    CHANNELS = PPYR_CHANNELS,
    PARAMETERS = 1 + 2 * CHANNELS + CHANNELS * (CHANNELS - 1) / 2, /* of a component */
    OUTPUTS = COMPONENTS * PARAMETERS,                             /* of the network, for a site */
    CONTEXTS = 8,                                                  /* of corrections */
    INFLUENCES = 4, /* per channel: the left and the upper neighbour's influence on the shift, then on the width */
    CORRECTION_BITS = 20,
    LARGEST_CORRECTION = 2 << CORRECTION_BITS,
    INPUTS = PPYR_INPUTS,
    COUNTERS = INPUTS - 1, /* of a decision */
    DECISIONS = PPYR_DECISIONS,
    MAP_ENTRIES = PPYR_MAP_ENTRIES,
    LARGEST_MIXING_WEIGHT = 16 << 16,
    LARGEST_BASE = 4 << 16, /* in quarters of values of up to 16 bits */
    WORD = 16,
    TOTAL_BITS = 24,
};

#define START ((uint64_t)1 << 32) /* the state in which encoding starts and decoding ends */

/* Where the symbols of a slice go, or come from. */
typedef struct {
    const int32_t *values; /* if they are modelled */
    uint32_t *starts, *frequencies;
    int64_t symbols;
    const uint16_t *words; /* if they are decoded */
    int64_t count, taken;
    uint64_t state;
    int32_t *decoded;
} stream_t;

typedef int follow_slice_t(const ppyr_slice *slice, stream_t *stream, int is_decoding);

follow_slice_t follow_slice_portable;
#if defined(__x86_64__) || defined(_M_X64)
follow_slice_t follow_slice_avx2, follow_slice_avx512;
#endif

#endif
