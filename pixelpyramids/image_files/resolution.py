"""The resolution blob: "X Y UNIT" in ASCII, whole numbers or fractions a/b; UNIT inch, centimetre, metre or ratio.

A ratio is that of a pixel's sides alone. Text keeps what each format counts in, so that nothing is rounded on the way
back into the same one: PNG counts pixels per metre, TIFF and JPEG per inch or centimetre.
"""

import re
import struct
from fractions import Fraction
from typing import NamedTuple

_UNITS = {"inch": Fraction(10000, 254), "centimetre": Fraction(100), "metre": Fraction(1), "ratio": Fraction(1)}
_FORM = re.compile(rb"(\d{1,10}(?:/[1-9]\d{0,9})?) (\d{1,10}(?:/[1-9]\d{0,9})?) (inch|centimetre|metre|ratio)")
_LARGEST = 2**31 - 1  # of PNG's numbers


class Resolution(NamedTuple):
    """Pixels per unit of length."""

    x: Fraction
    y: Fraction
    unit: str

    def blob(self) -> bytes:
        """As a file keeps it."""
        return f"{self.x} {self.y} {self.unit}".encode()

    def physical(self) -> bytes:
        """As PNG's chunk pHYs: pixels per metre, rounded, or a ratio."""
        x, y = (min(round(number * _UNITS[self.unit]), _LARGEST) for number in (self.x, self.y))
        return struct.pack(">IIB", x, y, self.unit != "ratio")

    def per_inch(self) -> tuple[float, float]:
        """As Pillow's writers take it."""
        scale = _UNITS[self.unit] / _UNITS["inch"]
        return float(self.x * scale), float(self.y * scale)


def parse_resolution(blob: bytes) -> Resolution | None:
    """The resolution of a blob, None if it is none."""
    match = _FORM.fullmatch(blob)
    if match is None:
        return None
    x, y, unit = (group.decode() for group in match.groups())
    return Resolution(Fraction(x), Fraction(y), unit)


def parse_physical(chunk: bytes) -> Resolution | None:
    """The resolution of PNG's chunk pHYs, None if it is none."""
    if len(chunk) != 9 or chunk[8] > 1:
        return None
    x, y, is_metre = struct.unpack(">IIB", chunk)
    return Resolution(Fraction(x), Fraction(y), "metre" if is_metre else "ratio")


def resolution_blob(x: Fraction, y: Fraction, unit: str) -> bytes | None:
    """The blob of a resolution, None if it is not positive."""
    return Resolution(x, y, unit).blob() if x > 0 and y > 0 else None
