/* Which colours an integer conversion from YCbCr gives, such as that of JPEG decoders: libjpeg-turbo's, by
 *
 *     red = Y + 1.402 Cr,  green = Y - 0.34414 Cb - 0.71414 Cr,  blue = Y + 1.772 Cb       Cb, Cr: minus 128
 */

#include "ppyr_core.h"

#include <string.h>

enum { HALF = 1 << 15 }; /* of a unit of the factors */

static int32_t scaled(int32_t sum) { return (sum + HALF) >> 16; }

static uint32_t limited(int32_t a) { return a < 0 ? 0 : a > 255 ? 255 : (uint32_t)a; }

void ppyr_find_colours(uint64_t *colours) {
    memset(colours, 0, PPYR_COLOURS / 8);
    for (int32_t cb = -128; cb < 128; cb++) {
        for (int32_t cr = -128; cr < 128; cr++) {
            const int32_t red = scaled(91881 * cr), green = scaled(-22554 * cb - 46802 * cr), blue = scaled(116130 * cb);
            for (int32_t y = 0; y < 256; y++) {
                const uint32_t b = limited(y + blue), place = limited(y + red) << 8 | limited(y + green);
                colours[4 * place + (b >> 6)] |= (uint64_t)1 << (b & 63);
            }
        }
    }
}
