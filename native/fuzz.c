/* Attacks the core through its C interface: `make fuzz` builds this with clang's libFuzzer and sanitizers.
 *
 * An input is a function, an instruction set, sizes (some of them wrong), and then what fills all arrays, over and
 * over. Arrays have exactly the size that the interface asks for, so that a sanitizer sees every access beyond it. */

#include "ppyr_core.h"

#include <stdlib.h>
#include <string.h>

enum { SIDE = 20, MOST_INPUTS = 70, MOST_WIDTH = 70, MOST_BLOCKS = 3, OUTPUTS = 50, LEARNT = 3 * 8 * 62 };
enum { WEIGHTS = 3 * PPYR_DECISIONS * PPYR_INPUTS, MAPS = 3 * PPYR_DECISIONS * PPYR_MAP_ENTRIES };

typedef struct {
    const uint8_t *data;
    size_t size, at;
} source_t;

static uint8_t take(source_t *source) { return source->size ? source->data[source->at++ % source->size] : 0; }

/* A number from low to high; rarely, one around 0, or one that is too large for a side. */
static int64_t take_number(source_t *source, int64_t low, int64_t high) {
    const int64_t one = 1;
    const int64_t extremes[] = {-1, 0, INT32_MAX, INT64_MAX, INT64_MIN, (one << 24) + 1, one << 32, -(one << 40)};
    if (take(source) == 255) return extremes[take(source) % 8];
    return low + take(source) % (high - low + 1);
}

static void *take_array(source_t *source, size_t size) {
    uint8_t *array = malloc(size ? size : 1);
    if (!array) abort();
    for (size_t i = 0; i < size; i++) array[i] = take(source);
    return array;
}

static void run_stack(source_t *source, int instructions) {
    const int inputs = 1 + take(source) % MOST_INPUTS, width = 1 + take(source) % MOST_WIDTH;
    const int blocks = take(source) % (MOST_BLOCKS + 1), outputs = take(source) % (OUTPUTS + 1);
    const int first = take(source) % inputs; /* channels of the first part of the inputs */
    const size_t weights = (size_t)(9 * width * (inputs + 2 * blocks * width) + outputs * width);
    const size_t biases = (size_t)((1 + 2 * blocks) * width + outputs);
    const size_t h = take(source) % SIDE, w = take(source) % SIDE;
    int8_t *weight = take_array(source, weights);
    int32_t *bias = take_array(source, biases * sizeof(int32_t));
    for (size_t i = 0; i < weights; i++) weight[i] = (int8_t)(weight[i] % 65);
    for (size_t i = 0; i < biases; i++) bias[i] %= 1 << 20;
    const int64_t height = take_number(source, 1, SIDE), columns = take_number(source, 1, SIDE);
    const int is_small = height >= 0 && height <= SIDE && columns >= 0 && columns <= SIDE;
    const size_t size = is_small ? (size_t)(height * columns) * (outputs ? 4u * (size_t)outputs : (size_t)width) : 64;
    uint8_t *pixels = take_array(source, h * w * (size_t)inputs), *results = take_array(source, size);
    const int64_t row = (int64_t)w, channel = (int64_t)(h * w), sites = (int64_t)w * inputs;
    ppyr_channels parts[2] = {{pixels, first, (int64_t)h, row, channel, row, 1},
                              {pixels + first, inputs - first, (int64_t)h, row, 1, sites, inputs}};
    ppyr_stack *stack = ppyr_stack_new(inputs, width, blocks, outputs, weight, weights, bias, biases, instructions);
    const int count = first ? 2 : 1;
    if (stack) ppyr_stack_run(stack, parts + 2 - count, count, height, columns, results, size + (take(source) == 255));
    ppyr_stack_free(stack);
    free(weight), free(bias), free(pixels), free(results);
}

/* A slice, and the sites that its arrays have. */
static ppyr_slice take_slice(source_t *source, size_t *sites) {
    const int64_t height = take_number(source, 1, SIDE), width = take_number(source, 1, SIDE);
    const int is_small = height >= 0 && height <= SIDE && width >= 0 && width <= SIDE;
    *sites = is_small ? (size_t)(height * width) : 1;
    const int64_t coded = take_number(source, 1, 3), bits = take(source) % 4 ? take_number(source, 1, 16) : 8;
    int32_t *outputs = take_array(source, *sites * OUTPUTS * 4), *bases = take_array(source, *sites * 12);
    for (size_t i = 0; i < *sites * OUTPUTS; i++) outputs[i] %= 1 << 24; /* as the caller checks */
    for (size_t i = 0; i < *sites * 3; i++) bases[i] &= (1 << 18) - 1;
    int64_t *learnt = calloc(LEARNT, sizeof(int64_t));
    uint16_t *counters = malloc(PPYR_COUNTERS * sizeof(uint16_t));
    if (!learnt || !counters) abort();
    memset(counters, take(source), PPYR_COUNTERS * sizeof(uint16_t)); /* all equal, which takes less time */
    int32_t *near = take_array(source, *sites * 24), *weights = take_array(source, WEIGHTS * 4);
    for (size_t i = 0; i < WEIGHTS; i++) weights[i] %= (1 << 20) + 1;
    uint16_t *maps = take_array(source, MAPS * 2);
    const int64_t gain = take_number(source, -8, 8), mixed = take_number(source, 0, 31);
    static uint64_t all_colours[PPYR_COLOURS / 64];
    if (!all_colours[0]) ppyr_find_colours(all_colours);
    const uint64_t *colours = take(source) == 255 ? NULL : all_colours;
    return (ppyr_slice){outputs, bases, near,  learnt, counters, maps, weights,
                        colours, height, width, coded, bits,     gain, mixed};
}

static void free_slice(const ppyr_slice *slice) {
    free((void *)slice->outputs), free((void *)slice->bases), free((void *)slice->near), free(slice->learnt);
    free(slice->counters), free(slice->maps), free(slice->weights);
}

static void decode_slice(source_t *source, int instructions) {
    size_t sites;
    const ppyr_slice slice = take_slice(source, &sites);
    const size_t count = (size_t)take(source) * take(source);
    int64_t taken = take_number(source, 0, 4);
    uint16_t *words = take_array(source, count * 2);
    uint64_t state = ((uint64_t)1 << 32) + (uint64_t)take(source) * 0x101010101;
    int32_t *values = take_array(source, sites * 12);
    for (int i = 0; i < 2; i++) ppyr_decode_slice(&slice, words, (int64_t)count, &state, &taken, values, instructions);
    free_slice(&slice), free(words), free(values);
}

/* Model a slice, and encode its symbols and whatever was in their arrays before. */
static void encode_slice(source_t *source, int instructions) {
    size_t sites;
    const ppyr_slice slice = take_slice(source, &sites);
    const int64_t capacity = (int64_t)sites * (take_number(source, 0, 3) % 4) * (PPYR_DECISIONS + 1);
    const size_t held = capacity > 0 ? (size_t)capacity : 0;
    int32_t *values = take_array(source, sites * 12);
    for (size_t i = 0; take(source) % 2 && i < sites * 3; i++) values[i] &= 1; /* else, most are out of range */
    uint32_t *starts = take_array(source, held * 4), *frequencies = take_array(source, held * 4);
    uint16_t *words = take_array(source, held * 4);
    int64_t count = take_number(source, 0, 9), first;
    uint64_t state;
    ppyr_model_slice(&slice, values, starts, frequencies, capacity, &count, instructions);
    ppyr_encode(starts, frequencies, count < capacity ? count : capacity, words, 2 * capacity, &first, &state);
    free_slice(&slice), free(values), free(starts), free(frequencies), free(words);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static void (*const functions[])(source_t *, int) = {run_stack, decode_slice, encode_slice};
    source_t source = {data, size, 0};
    const int function = take(&source) % 3, instructions = take(&source) % 6 - 1;
    functions[function](&source, instructions);
    return 0;
}
