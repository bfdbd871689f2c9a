/* The integer network: packing of filters, and the walk through a stack's layers.
 *
 * All layers advance together, row by row: once a layer has row y + 1 of its inputs, it computes row y. So only four
 * rows of each layer's inputs are kept, and activations stay in the processor's second-level cache:
 *
 *     step t:   row t of the inputs  ->  row t - 1 of layer 0  ->  row t - 2 of layer 1  ->  ...
 */

#include "ppyr_core.h"
#include "rows.h"

#include <stdlib.h>
#include <string.h>

enum {
    KEPT = 4, /* rows of each layer's inputs: a second convolution adds the row before the latest two */
    MAX_INPUTS = 1024,
    MAX_BLOCKS = 64,
};

struct ppyr_stack {
    int inputs, width, blocks, outputs;
    const kernels_t *kernels;
    int layers;        /* 3x3 convolutions */
    filter_t *filters; /* of the layers, and of the last convolution */
    int8_t *memory;    /* of all filters, before its alignment */
};

static int64_t round_up(int64_t a, int64_t multiple) { return (a + multiple - 1) / multiple * multiple; }

static const kernels_t *find_kernels(int instructions) {
    switch (instructions) {
    case PPYR_PORTABLE: return &portable_kernels;
#if defined(__x86_64__) || defined(_M_X64)
    case PPYR_AVX2: return &avx2_kernels;
    case PPYR_AVX512: return &avx512_kernels;
    case PPYR_AMX: return &amx_kernels;
#elif defined(__aarch64__)
    case PPYR_NEON: return &neon_kernels;
#endif
    default: return NULL;
    }
}

static int best_instructions(void) {
    static const int fastest_first[] = {PPYR_AMX, PPYR_AVX512, PPYR_AVX2, PPYR_NEON, PPYR_PORTABLE};
    int i = 0;
    while (!ppyr_supports(fastest_first[i])) i++;
    return fastest_first[i];
}

/* A filter's shape; its memory follows. */
static filter_t shape_filter(int size, int inputs, int pitch, int outputs) {
    filter_t filter = {.rows = size, .pitch = pitch};
    filter.run = (size - 1) * pitch + inputs;
    const int groups = (int)round_up(filter.run, GROUP) / GROUP, most = MAX_TILE / GROUP;
    const int tiles = (groups + most - 1) / most;
    filter.chunk = (groups + tiles - 1) / tiles;
    filter.groups = filter.chunk * tiles;
    filter.outputs = (int)round_up(outputs, LANES);
    return filter;
}

static size_t weight_bytes(const filter_t *filter) {
    return (size_t)filter->rows * (size_t)filter->groups * GROUP * (size_t)filter->outputs;
}

static size_t bias_bytes(const filter_t *filter) { return (size_t)filter->outputs * sizeof(int32_t); }

/* Fill in a filter from weights (outputs, inputs, size, size) and biases. */
static void pack_filter(filter_t *filter, int inputs, int outputs, const int8_t *weights, const int32_t *biases,
                        int signed_inputs) {
    const int size = filter->rows;
    memcpy(filter->biases, biases, (size_t)outputs * sizeof(*biases));
    for (int o = 0; o < outputs; o++) {
        for (int c = 0; c < inputs; c++) {
            for (int r = 0; r < size; r++) {
                for (int x = 0; x < size; x++, weights++) {
                    const int i = x * filter->pitch + c;
                    const int group = r * filter->groups + i / GROUP;
                    filter->weights[(group * filter->outputs + o) * GROUP + i % GROUP] = *weights;
                    if (signed_inputs) filter->biases[o] += 128 * *weights;
                }
            }
        }
    }
}

ppyr_stack *ppyr_stack_new(int inputs, int width, int blocks, int outputs, const int8_t *weights, size_t weight_count,
                           const int32_t *biases, size_t bias_count, int instructions) {
    if (instructions == PPYR_BEST) instructions = best_instructions();
    if (!ppyr_supports(instructions) || !weights || !biases) return NULL;
    if (inputs < 1 || inputs > MAX_INPUTS || width < 1 || width > MAX_OUTPUTS) return NULL;
    if (blocks < 0 || blocks > MAX_BLOCKS || outputs < 0 || outputs > MAX_OUTPUTS) return NULL;
    const int layers = 1 + 2 * blocks, count = layers + (outputs > 0), pitch = (int)round_up(width, LANES);
    const size_t inner_layers = 2 * (size_t)blocks, of_output = (size_t)inputs * 9 + inner_layers * (size_t)width * 9;
    if (weight_count != (size_t)width * (of_output + (size_t)outputs)) return NULL;
    if (bias_count != (size_t)width * (size_t)layers + (size_t)outputs) return NULL;

    ppyr_stack *stack = calloc(1, sizeof(*stack));
    filter_t *filters = calloc((size_t)count, sizeof(*filters));
    size_t bytes = 64;
    for (int i = 0; filters && i < count; i++) {
        filters[i] = i == layers ? shape_filter(1, width, pitch, outputs)
                     : i == 0    ? shape_filter(3, inputs, (int)round_up(inputs, GROUP), width)
                                 : shape_filter(3, width, pitch, width);
        bytes += weight_bytes(filters + i) + bias_bytes(filters + i);
    }
    int8_t *memory = filters ? calloc(bytes, 1) : NULL;
    if (!stack || !memory) {
        free(stack), free(filters), free(memory);
        return NULL;
    }
    *stack = (ppyr_stack){inputs, width, blocks, outputs, find_kernels(instructions), layers, filters, memory};
    int8_t *at = memory + (64 - (uintptr_t)memory % 64) % 64;
    for (int i = 0; i < count; i++) {
        const int from = i == 0 ? inputs : width, to = i == layers ? outputs : width, size = filters[i].rows;
        filters[i].weights = at;
        filters[i].biases = (int32_t *)(void *)(at + weight_bytes(filters + i));
        at += weight_bytes(filters + i) + bias_bytes(filters + i);
        pack_filter(filters + i, from, to, weights, biases, stack->kernels->signed_inputs);
        weights += (size_t)from * (size_t)to * (size_t)size * (size_t)size;
        biases += to;
    }
    return stack;
}

void ppyr_stack_free(ppyr_stack *stack) {
    if (!stack) return;
    free(stack->filters);
    free(stack->memory);
    free(stack);
}

/* Write a row of the inputs to sites of `pitch` channels. */
static void gather_row(const ppyr_channels *inputs, int count, int64_t y, int64_t width, int64_t pitch, uint8_t *row) {
    for (int i = 0; i < count; row += inputs[i++].channels) {
        const ppyr_channels *from = inputs + i;
        const int64_t columns = y >= from->height ? 0 : from->width < width ? from->width : width;
        const uint8_t *data = from->data + (columns > 0 ? y * from->row_stride : 0); /* no address of a missing row */
        if (from->channel_stride == 1) {
            for (int64_t x = 0; x < columns; x++)
                memcpy(row + x * pitch, data + x * from->column_stride, (size_t)from->channels);
        } else {
            for (int64_t c = 0; c < from->channels; c++) {
                const uint8_t *channel = data + c * from->channel_stride;
                for (int64_t x = 0; x < columns; x++) row[x * pitch + c] = channel[x * from->column_stride];
            }
        }
        for (int64_t x = columns; x < width; x++) memset(row + x * pitch, 0, (size_t)from->channels);
    }
}

static int is_valid(const ppyr_stack *stack, const ppyr_channels *inputs, int count, int64_t height, int64_t width,
                    const void *results, size_t size) {
    const int64_t side = (int64_t)1 << 24;
    if (!stack || !inputs || !results || height < 1 || width < 1 || height > side || width > side) return 0;
    const size_t of_site = stack->outputs ? (size_t)stack->outputs * sizeof(int32_t) : (size_t)stack->width;
    if (size != (uint64_t)height * (uint64_t)width * of_site) return 0; /* which a size_t may not hold */
    int64_t channels = 0;
    for (int i = 0; i < count; i++) {
        if (!inputs[i].data || inputs[i].channels < 1 || inputs[i].channels > stack->inputs) return 0;
        if (inputs[i].height < 0 || inputs[i].width < 0) return 0;
        channels += inputs[i].channels;
    }
    return channels == stack->inputs;
}

int ppyr_stack_run(const ppyr_stack *stack, const ppyr_channels *inputs, int count, int64_t height, int64_t width,
                   void *results, size_t size) {
    if (!is_valid(stack, inputs, count, height, width, results, size)) return PPYR_BAD_ARGUMENT;
    /* Rows of activations begin and end with a site of zeros; kernels read past that, but use nothing of it. */
    const filter_t *filters = stack->filters, *last = filters + stack->layers;
    const int64_t sites = round_up(width, SITES) + 3, pitch = round_up(stack->width, LANES);
    const int64_t outer = round_up(sites * filters->pitch + MAX_TILE, 64);
    const int64_t inner = round_up(sites * pitch + MAX_TILE, 64);
    const int64_t of_sums = stack->outputs ? sites * last->outputs * (int64_t)sizeof(int32_t) : 0;
    const int64_t longest = outer > inner ? outer : inner;
    const int64_t bytes = longest + KEPT * outer + KEPT * inner * stack->layers + of_sums + 64;
    uint8_t *memory = bytes == (int64_t)(size_t)bytes ? calloc((size_t)bytes, 1) : NULL;
    if (!memory) return PPYR_NO_MEMORY;
    uint8_t *zeros = memory + (64 - (uintptr_t)memory % 64) % 64, *first = zeros + longest;
    int32_t *sums = (int32_t *)(void *)(first + KEPT * outer + KEPT * inner * stack->layers);
    /* Row y of the inputs of a layer, from its padding on. Layer `layers` is what comes after the last one. */
#define ROW(layer, y)                                      \
    ((y) < 0 || (y) >= height ? zeros                      \
     : (layer) == 0           ? first + (y) % KEPT * outer \
                              : first + KEPT * outer + ((layer - 1) * KEPT + (y) % KEPT) * inner)
    for (int64_t t = 0; t < height + stack->layers; t++) {
        if (t < height) gather_row(inputs, count, t, width, filters->pitch, ROW(0, t) + filters->pitch);
        for (int layer = 0; layer < stack->layers; layer++) {
            const int64_t y = t - 1 - layer;
            if (y < 0 || y >= height) continue;
            const uint8_t *rows[] = {ROW(layer, y - 1), ROW(layer, y), ROW(layer, y + 1)};
            const uint8_t *skip = layer > 0 && layer % 2 == 0 ? ROW(layer - 1, y) + pitch : NULL;
            stack->kernels->activate(filters + layer, rows, width, skip, ROW(layer + 1, y) + pitch);
        }
        const int64_t y = t - stack->layers;
        if (y < 0) continue;
        const uint8_t *done = ROW(stack->layers, y) + pitch;
        if (stack->outputs) {
            int32_t *to = (int32_t *)results + y * width * stack->outputs;
            stack->kernels->sum(last, &done, width, sums);
            for (int64_t x = 0; x < width; x++)
                memcpy(to + x * stack->outputs, sums + x * last->outputs, sizeof(int32_t) * (size_t)stack->outputs);
        } else {
            uint8_t *to = (uint8_t *)results + y * width * stack->width;
            for (int64_t x = 0; x < width; x++) memcpy(to + x * stack->width, done + x * pitch, (size_t)stack->width);
        }
    }
#undef ROW
    free(memory);
    return PPYR_OK;
}
