/* Row kernels with AMX: tdpbusd multiplies a tile of 16 sites x 64 activations with one of 64 activations x 16 outputs.
 *
 * A tile of sites is loaded from the row itself, with the pitch of a site as its stride, so that successive rows of the
 * tile overlap; nothing is copied. */

#include "rows_512.h"

#if defined(__x86_64__) || defined(_M_X64)

#include <immintrin.h>
#include <string.h>

enum { MAX_BLOCKS = 3 }; /* of 16 outputs that are computed together: tiles 0 to 2; 3 holds sites, 4 to 6 weights */

/* Configure the tiles for filters of `groups` groups a tile. */
INLINE void configure(int groups) {
    uint8_t config[64] __attribute__((aligned(64))) = {1};
    for (int tile = 0; tile < 7; tile++) {
        const int is_sites = tile == 3, is_weights = tile > 3;
        const uint16_t bytes = (uint16_t)(is_sites ? GROUP * groups : 64);
        memcpy(config + 16 + 2 * tile, &bytes, sizeof(bytes));
        config[48 + tile] = (uint8_t)(is_weights ? groups : SITES);
    }
    _tile_loadconfig(config);
}

INLINE void add_products(const filter_t *filter, const uint8_t *const *in, int64_t x, int first, int blocks,
                         int32_t sums[MAX_BLOCKS][SITES][LANES]) {
    const int64_t pitch = filter->pitch, step = (int64_t)GROUP * filter->outputs;
    const int8_t *weights = filter->weights + GROUP * LANES * first;
    _tile_zero(0);
    if (blocks > 1) _tile_zero(1);
    if (blocks > 2) _tile_zero(2);
    for (int r = 0; r < filter->rows; r++) {
        const uint8_t *site = in[r] + x * pitch;
        for (int g = 0; g < filter->groups; g += filter->chunk) {
            _tile_loadd(3, site + GROUP * g, (int)pitch);
            _tile_loadd(4, weights, (int)step);
            _tile_dpbusd(0, 3, 4);
            if (blocks > 1) {
                _tile_loadd(5, weights + GROUP * LANES, (int)step);
                _tile_dpbusd(1, 3, 5);
            }
            if (blocks > 2) {
                _tile_loadd(6, weights + 2 * GROUP * LANES, (int)step);
                _tile_dpbusd(2, 3, 6);
            }
            weights += filter->chunk * step;
        }
    }
    _tile_stored(0, sums[0], 64);
    if (blocks > 1) _tile_stored(1, sums[1], 64);
    if (blocks > 2) _tile_stored(2, sums[2], 64);
}

INLINE void activate_sites(const filter_t *filter, const uint8_t *const *in, int64_t x, int first, int blocks,
                           int64_t width, const uint8_t *skip, uint8_t *out) {
    int32_t sums[MAX_BLOCKS][SITES][LANES] __attribute__((aligned(64)));
    add_products(filter, in, x, first, blocks, sums);
    const int64_t sites = width - x < SITES ? width - x : SITES;
    for (int b = 0; b < blocks; b++) {
        const __m512i bias = _mm512_loadu_si512(filter->biases + LANES * (first + b));
        for (int64_t s = 0; s < sites; s++) {
            const int64_t at = (x + s) * filter->outputs + LANES * (first + b);
            const __m512i sum = _mm512_add_epi32(_mm512_load_si512(sums[b][s]), bias);
            activate_16(sum, skip ? skip + at : NULL, out + at);
        }
    }
}

INLINE void sum_sites(const filter_t *filter, const uint8_t *const *in, int64_t x, int first, int blocks, int64_t width,
                      int32_t *out) {
    int32_t sums[MAX_BLOCKS][SITES][LANES] __attribute__((aligned(64)));
    add_products(filter, in, x, first, blocks, sums);
    const int64_t sites = width - x < SITES ? width - x : SITES;
    for (int b = 0; b < blocks; b++) {
        const __m512i bias = _mm512_loadu_si512(filter->biases + LANES * (first + b));
        for (int64_t s = 0; s < sites; s++)
            _mm512_storeu_si512(out + (x + s) * filter->outputs + LANES * (first + b),
                                _mm512_add_epi32(_mm512_load_si512(sums[b][s]), bias));
    }
}

#define FOR_ALL_SITES(CALL, ...)                                                                                  \
    configure(filter->chunk);                                                                                     \
    for (int64_t x = 0; x < width; x += SITES) {                                                                  \
        const int blocks = filter->outputs / LANES;                                                               \
        int b = 0;                                                                                                \
        for (; b + MAX_BLOCKS <= blocks; b += MAX_BLOCKS) CALL(filter, in, x, b, MAX_BLOCKS, width, __VA_ARGS__); \
        for (; b < blocks; b++) CALL(filter, in, x, b, 1, width, __VA_ARGS__);                                    \
    }                                                                                                             \
    _tile_release();

DEFINE_KERNELS(amx, 0)

#endif
