/* Runs the core on what it reads from standard input, and writes the results to standard output, so that tests can run
 * builds that Python cannot load: for other processors under an emulator, and with sanitizers.
 *
 * Input, little-endian: records of an int32 that names the function, its arguments as int32, and its arrays. Output:
 * for each record, the function's result as int32, and then its arrays. Exits with 1 if a record is cut short. */

#include "../ppyr_core.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STACK = 1, MODEL = 2, DECODE = 3, MOST_BYTES = 1 << 28 };

/* Memory of exactly that size, so that a sanitizer sees every access beyond it. */
static void *allocate(size_t size) {
    void *memory = size <= MOST_BYTES ? malloc(size ? size : 1) : NULL;
    if (!memory) exit(1);
    return memory;
}

static void *take(size_t size) {
    void *memory = allocate(size);
    if (fread(memory, 1, size, stdin) != size) exit(1);
    return memory;
}

static void give(const void *data, size_t size) { fwrite(data, 1, size, stdout); }

static void give_result(int32_t result) { give(&result, sizeof(result)); }

static void run_stack(int instructions) {
    int32_t *sizes = take(6 * sizeof(int32_t)); /* inputs, width, blocks, outputs, height, width of the sites */
    const size_t inputs = (size_t)sizes[0], width = (size_t)sizes[1];
    const size_t blocks = (size_t)sizes[2], outputs = (size_t)sizes[3];
    const size_t height = (size_t)sizes[4], columns = (size_t)sizes[5];
    const size_t weight_count = 9 * width * (inputs + 2 * blocks * width) + width * outputs;
    const size_t bias_count = width * (1 + 2 * blocks) + outputs;
    int8_t *weights = take(weight_count);
    int32_t *biases = take(bias_count * sizeof(int32_t));
    uint8_t *activations = take(inputs * height * columns);
    const size_t size = height * columns * (outputs ? outputs * sizeof(int32_t) : width);
    void *results = allocate(size);
    ppyr_stack *stack =
        ppyr_stack_new(sizes[0], sizes[1], sizes[2], sizes[3], weights, weight_count, biases, bias_count, instructions);
    const ppyr_channels channels = {activations, sizes[0], sizes[4], sizes[5], (int64_t)height * sizes[5], sizes[5], 1};
    const int result = ppyr_stack_run(stack, &channels, 1, sizes[4], sizes[5], results, size);
    give_result(result);
    if (result == PPYR_OK) give(results, size);
    ppyr_stack_free(stack);
    free(sizes), free(weights), free(biases), free(activations), free(results);
}

/* Model a slice and encode it, or decode it from the given words. */
static void run_slice(int instructions, int is_decoding) {
    int32_t *sizes = take(7 * sizeof(int32_t)); /* height, width, coded, bits, gain, mixed, words */
    const size_t sites = (size_t)sizes[0] * (size_t)sizes[1], coded = (size_t)sizes[2], words_count = (size_t)sizes[6];
    const size_t of_learnt = 3 * 8 * 62 * sizeof(int64_t), is_mixed = sizes[5] != 0;
    const size_t of_counters = is_mixed * PPYR_COUNTERS * sizeof(uint16_t);
    const size_t of_weights = is_mixed * 3 * PPYR_DECISIONS * PPYR_INPUTS * sizeof(int32_t);
    const size_t of_maps = is_mixed * 3 * PPYR_DECISIONS * PPYR_MAP_ENTRIES * sizeof(uint16_t);
    int32_t *outputs = take(sites * 50 * sizeof(int32_t)), *bases = take(sites * 3 * sizeof(int32_t));
    int32_t *near = take(is_mixed * sites * 6 * sizeof(int32_t));
    int64_t *learnt = take(of_learnt), count = 0, first = 0;
    uint16_t *counters = take(of_counters);
    int32_t *weights = take(of_weights);
    uint16_t *maps = take(of_maps);
    uint64_t *colours = allocate(PPYR_COLOURS / 8);
    ppyr_find_colours(colours);
    const ppyr_slice slice = {outputs, bases, near, learnt, counters, maps, weights, colours,
                              sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5]};
    if (is_decoding) {
        uint64_t *state = take(sizeof(uint64_t));
        uint16_t *words = take(words_count * sizeof(uint16_t));
        int32_t *values = allocate(sites * coded * sizeof(int32_t));
        memset(values, 0, sites * coded * sizeof(int32_t));
        give_result(ppyr_decode_slice(&slice, words, sizes[6], state, &count, values, instructions));
        give(values, sites * coded * sizeof(int32_t)), give(state, sizeof(*state)), give(&count, sizeof(count));
        free(state), free(words), free(values);
    } else {
        size_t symbols = sites * coded;
        for (size_t c = 0; c < coded; c++) symbols += sites * PPYR_DECISIONS * ((size_t)sizes[5] >> c & 1);
        const size_t capacity = 2 * symbols + 1;
        int32_t *values = take(sites * 3 * sizeof(int32_t));
        uint32_t *starts = allocate(symbols * sizeof(uint32_t)), *frequencies = allocate(symbols * sizeof(uint32_t));
        uint16_t *words = allocate(capacity * sizeof(uint16_t));
        uint64_t state = 0;
        int result = ppyr_model_slice(&slice, values, starts, frequencies, (int64_t)symbols, &count, instructions);
        if (result == PPYR_OK)
            result = ppyr_encode(starts, frequencies, count, words, (int64_t)capacity, &first, &state);
        give_result(result);
        if (result == PPYR_OK) {
            const int64_t used = (int64_t)capacity - first;
            const size_t of_symbols = (size_t)count * sizeof(uint32_t);
            give(starts, of_symbols), give(frequencies, of_symbols);
            give(&state, sizeof(state)), give(&used, sizeof(used));
            give(words + first, (size_t)used * sizeof(uint16_t));
        }
        free(values), free(starts), free(frequencies), free(words);
    }
    give(learnt, of_learnt), give(counters, of_counters), give(weights, of_weights), give(maps, of_maps);
    free(sizes), free(outputs), free(bases), free(near), free(learnt), free(counters), free(weights), free(maps), free(colours);
}

int main(int argc, char **argv) {
    const int instructions = argc > 1 ? atoi(argv[1]) : PPYR_BEST;
    if (instructions != PPYR_BEST && !ppyr_supports(instructions)) return 2;
    for (int32_t function; fread(&function, sizeof(function), 1, stdin) == 1;) {
        if (function == STACK)
            run_stack(instructions);
        else
            run_slice(instructions, function == DECODE);
    }
    return 0;
}
