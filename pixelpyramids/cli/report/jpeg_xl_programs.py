"""Encode and decode with `cjxl` and `djxl`, the programs of libjxl, which have settings that imagecodecs does not.

Pixels go through pipes as PAM files, which hold 1 to 4 channels of 1 to 16 bits. Source: the manual page pam(5) of
Netpbm.
"""

import shutil
import subprocess
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.codec.bundled import available_threads
from pixelpyramids.errors import PixelPyramidsError
from pixelpyramids.image_files.bit_depth import pixel_type

IntegerArray = NDArray[np.integer[Any]]

PROGRAMS = "cjxl", "djxl"
_TUPLE_TYPES = {1: "GRAYSCALE", 2: "GRAYSCALE_ALPHA", 3: "RGB", 4: "RGB_ALPHA"}
_END = b"ENDHDR\n"


def require_programs() -> None:
    """Raises PixelPyramidsError if a program is not on the PATH."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        raise PixelPyramidsError(
            f"expected the programs {' and '.join(PROGRAMS)} on the PATH, got no {' and no '.join(missing)}; install "
            "libjxl's tools (Debian: libjxl-tools, Homebrew: jpeg-xl)"
        )


def encode_with_cjxl(pixels: IntegerArray, depth: int, *settings: str) -> bytes:
    """Encode pixels (H, W, C) of `depth` bits without loss."""
    height, width, channels = pixels.shape
    header = (
        f"P7\nWIDTH {width}\nHEIGHT {height}\nDEPTH {channels}\nMAXVAL {(1 << depth) - 1}\n"
        f"TUPLTYPE {_TUPLE_TYPES[channels]}\n"
    )
    raster = pixels.astype(">u2" if depth > 8 else np.uint8).tobytes()
    return _run("cjxl", header.encode() + _END + raster, "--distance=0", *settings)


def decode_with_djxl(data: bytes, height: int, width: int, depth: int) -> IntegerArray:
    """Decode pixels (H, W, C) of `depth` bits."""
    raster = _run("djxl", data, "--output_format=pam").partition(_END)[2]
    values = np.frombuffer(raster, ">u2" if depth > 8 else np.uint8)
    return values.reshape(height, width, -1).astype(pixel_type(depth))


def _run(program: str, data: bytes, *settings: str) -> bytes:
    """What a program writes when it reads `data`, on all processors. Raises PixelPyramidsError if it fails."""
    command = [program, "-", "-", "--quiet", f"--num_threads={available_threads()}", *settings]
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    if done.returncode:
        message = done.stderr.decode(errors="replace").strip() or f"status {done.returncode}"
        raise PixelPyramidsError(f"expected {program} to process the image, got its error: {message}")
    return done.stdout
