"""Compare with PNG on deep images: photographs reduced by adding up pixels, which keeps all bits.

    python -m benchmarks.deep IMAGE…

The sums of 2 x 2 pixels have 10 bits, those of 4 x 4 pixels 12. They are also compressed as the upper bits of 16. PNG
is libpng's, 16 bits, at its highest level, by imagecodecs.
"""

import argparse
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image

import pixelpyramids as pp


def sum_blocks(image: np.ndarray, side: int) -> np.ndarray:
    """The sums of blocks of side x side pixels, uint16."""
    height, width = image.shape[0] // side, image.shape[1] // side
    parts = image[: height * side, : width * side].astype(np.uint16).reshape(height, side, width, side, -1)
    return parts.sum(axis=(1, 3), dtype=np.uint16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    print("| image | bits | .ppyr, bytes | in the upper bits of 16 | PNG | .ppyr / PNG |\n|---|---|---|---|---|---|")
    for path in parser.parse_args().images:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        for side, bits in ((2, 10), (4, 12)):
            deep = sum_blocks(pixels, side)
            upper = deep << np.uint16(16 - bits)
            ours, as_16 = pp.encode(deep, depth=bits), pp.encode(upper)
            assert np.array_equal(pp.decode(ours), deep) and np.array_equal(pp.decode(as_16), upper)
            png = len(imagecodecs.png_encode(upper, level=9))
            print(f"| {path.stem} | {bits} | {len(ours)} | {len(as_16)} | {png} | {len(ours) / png:.3f} |", flush=True)


if __name__ == "__main__":
    main()
