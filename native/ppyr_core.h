/* The two inner loops of the .ppyr codec: the integer network and the entropy coder.
 *
 * Both compute on integers only, and give the same integers on every processor. docs/reference/format.md is their
 * specification;
 * pixelpyramids/codec/ has the same computations in NumPy. Nothing here reads files, allocates what it does not free,
 * or keeps state between calls, apart from the networks that ppyr_stack_new returns, which are read-only. All functions
 * may be called from any number of threads.
 *
 * Functions that can fail return PPYR_OK or a negative error code. They check all lengths before they touch any data.
 */

#ifndef PPYR_CORE_H
#define PPYR_CORE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define PPYR_API __declspec(dllexport)
#else
#define PPYR_API __attribute__((visibility("default")))
#endif

#define PPYR_VERSION 3 /* of this interface */

enum { PPYR_OK = 0, PPYR_BAD_ARGUMENT = -1, PPYR_NO_MEMORY = -2, PPYR_CUT = -3 /* the words end too early */ };

/* Instruction sets. PPYR_BEST is the fastest that the processor supports. */
enum { PPYR_BEST = -1, PPYR_PORTABLE = 0, PPYR_AVX2, PPYR_AVX512, PPYR_AMX, PPYR_NEON };

PPYR_API int ppyr_version(void);

/* Whether this build and this processor support an instruction set. */
PPYR_API int ppyr_supports(int instructions);

/* --- The network --------------------------------------------------------------------------------------------------
 *
 * A stack is a 3x3 convolution, residual blocks of two 3x3 convolutions each and, in a head, a 1x1 convolution:
 *
 *     a' = clamp(rne((sum of w a + b + 128 skip) / 128), 0, 255)     rne: round half to even; zero padding
 *     outputs = sum of w a + b
 *
 * Activations are unsigned 8-bit, weights from -64 to 64, and no sum reaches 2**24 (the caller checks this).
 */
typedef struct ppyr_stack ppyr_stack;

/* Pack a stack for an instruction set. `weights` holds all filters (outputs, inputs, rows, columns) one after the
 * other, `biases` all biases; the counts must be exact. `outputs` is 0 for a stack without a last convolution. Returns
 * NULL if an argument is out of range, the instruction set is not supported, or memory is short. */
PPYR_API ppyr_stack *ppyr_stack_new(int inputs, int width, int blocks, int outputs, const int8_t *weights,
                                    size_t weight_count, const int32_t *biases, size_t bias_count, int instructions);
PPYR_API void ppyr_stack_free(ppyr_stack *stack);

/* Some channels of a stack's inputs: (channels, height, width), with strides in bytes. If they have fewer rows or
 * columns than the stack is run on, the rest is zero. */
typedef struct {
    const uint8_t *data;
    int64_t channels, height, width;
    int64_t channel_stride, row_stride, column_stride;
} ppyr_channels;

/* Run a stack on height x width sites. The inputs' channels must add up to the stack's. `results` is
 * uint8 (height, width, stack's width) or, if the stack has a last convolution, int32 (height, width, outputs);
 * `size` is its size in bytes. */
PPYR_API int ppyr_stack_run(const ppyr_stack *stack, const ppyr_channels *inputs, int count, int64_t height,
                            int64_t width, void *results, size_t size);

/* --- The coder ----------------------------------------------------------------------------------------------------*/

enum { PPYR_COMPONENTS = 5, PPYR_CHANNELS = 3 }; /* of the mixtures that the released models give */

/* Of the context mixing: the counters; a decision's number of inputs; the decisions of a value; and the map of each. */
enum { PPYR_COUNTERS = 1 << 20, PPYR_INPUTS = 4, PPYR_DECISIONS = 18, PPYR_MAP_ENTRIES = 33 };

/* In a slice's `mixed`: all channels have all decisions, not only the last one; only some colours can occur. */
enum { PPYR_FAR = 1 << 3, PPYR_YCBCR = 1 << 4 };

enum { PPYR_COLOURS = 1 << 24 }; /* of three channels with 8 bits */

/* Find the colours that the conversion from YCbCr gives (docs/reference/format.md): bit `blue` of the 256 bits (four
 * numbers) of
 * red and green is set. `colours` has PPYR_COLOURS bits: red is the slowest index. */
PPYR_API void ppyr_find_colours(uint64_t *colours);

/* One slice: height x width sites; the network's outputs, int32 (height, width, 50); the bases in quarters, int32
 * (3, height, width), from 0 to 2**18; what was learnt for the band, int64 (3, 8, 62), which the call updates: zeros
 * before the first slice, and then what the last successful call left; the number of coded channels; and the bits of
 * values and the gain of the octave. A side has at most 2**15 sites. Whatever is out of range is refused.
 *
 * `mixed` has a bit for each coded channel that is coded with context mixing. If it is not 0, `near` holds the known
 * pixels on either side of each site, int32 (2, 3, height, width), any numbers; and what was learnt for the mixing is in
 * `counters`, uint16 (PPYR_COUNTERS), `maps`, uint16 (3, PPYR_DECISIONS, PPYR_MAP_ENTRIES), and `weights`, int32
 * (3, PPYR_DECISIONS, PPYR_INPUTS), from -2**20 to 2**20, which the call updates, too. docs/reference/format.md says
 * what they are
 * before the first slice. With PPYR_YCBCR, channel 2 is mixed, values have 8 bits, and `colours` says which ones can
 * occur. */
typedef struct {
    const int32_t *outputs, *bases, *near;
    int64_t *learnt;
    uint16_t *counters, *maps;
    int32_t *weights;
    const uint64_t *colours;
    int64_t height, width, coded, bits, gain, mixed;
} ppyr_slice;

/* Write the starts and frequencies of the values (3, height, width) to the arrays, which hold `capacity`
 * numbers; append after the first `*count`, and update it. Only the first `coded` channels are coded. There is room
 * for as many symbols as the slice can have: one for a value or, if its channel is mixed, PPYR_DECISIONS + 1. */
PPYR_API int ppyr_model_slice(const ppyr_slice *slice, const int32_t *values, uint32_t *starts, uint32_t *frequencies,
                              int64_t capacity, int64_t *count, int instructions);

/* Encode symbols backwards: fill `words` from its end. `first` is set to the first used word, `state` to the state. */
PPYR_API int ppyr_encode(const uint32_t *starts, const uint32_t *frequencies, int64_t count, uint16_t *words,
                         int64_t capacity, int64_t *first, uint64_t *state);

/* Decode the values (coded, height, width) of a slice from `count` words; `state` and `taken`, the count of words that
 * were used, go on from call to call. Returns PPYR_CUT if the words run out. */
PPYR_API int ppyr_decode_slice(const ppyr_slice *slice, const uint16_t *words, int64_t count, uint64_t *state,
                               int64_t *taken, int32_t *values, int instructions);

#ifdef __cplusplus
}
#endif
#endif
