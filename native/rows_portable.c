/* Row kernels in C without special instructions. */

#include "rows.h"

#include <string.h>

/* The sums of one site. */
static void sum_site(const filter_t *filter, const uint8_t *const *in, int64_t x, int32_t *sums) {
    memcpy(sums, filter->biases, sizeof(*sums) * (size_t)filter->outputs);
    const int8_t *weights = filter->weights;
    for (int r = 0; r < filter->rows; r++) {
        const uint8_t *site = in[r] + x * filter->pitch;
        for (int g = 0; g < filter->groups; g++, site += GROUP, weights += GROUP * filter->outputs) {
            const int32_t a = site[0], b = site[1], c = site[2], d = site[3];
            for (int o = 0; o < filter->outputs; o++) {
                const int8_t *w = weights + GROUP * o;
                sums[o] += a * w[0] + b * w[1] + c * w[2] + d * w[3];
            }
        }
    }
}

static void activate(const filter_t *filter, const uint8_t *const *in, int64_t width, const uint8_t *skip,
                     uint8_t *out) {
    int32_t sums[MAX_OUTPUTS];
    for (int64_t x = 0; x < width; x++) {
        sum_site(filter, in, x, sums);
        for (int o = 0; o < filter->outputs; o++) {
            const int64_t at = x * filter->outputs + o;
            out[at] = rescale(sums[o] + (skip ? skip[at] * (1 << SHIFT) : 0));
        }
    }
}

static void sum(const filter_t *filter, const uint8_t *const *in, int64_t width, int32_t *out) {
    for (int64_t x = 0; x < width; x++) sum_site(filter, in, x, out + x * filter->outputs);
}

const kernels_t portable_kernels = {activate, sum, 0};
