"""The resolution blob: "X Y UNIT" in ASCII, whole numbers or fractions a/b; UNIT inch, centimetre, metre or ratio.

A ratio gives only the shape of a pixel. The blob keeps the unit of the file, so that nothing is rounded when it is
written to the same format again: PNG counts pixels per metre, TIFF and JPEG per inch or centimetre.
"""

import math
import re
import struct
from fractions import Fraction
from typing import NamedTuple

_UNITS = {"inch": Fraction(10000, 254), "centimetre": Fraction(100), "metre": Fraction(1), "ratio": Fraction(1)}
_FORM = re.compile(rb"(\d{1,10}(?:/[1-9]\d{0,9})?) (\d{1,10}(?:/[1-9]\d{0,9})?) (inch|centimetre|metre|ratio)")
_LARGEST = 2**31 - 1  # PNG's largest number


class Resolution(NamedTuple):
    """Pixels per unit of length."""

    x: Fraction
    y: Fraction
    unit: str

    def blob(self) -> bytes:
        """The blob, as .ppyr files store it."""
        return f"{self.x} {self.y} {self.unit}".encode()

    def physical(self) -> bytes:
        """The content of PNG's chunk pHYs: pixels per metre, rounded, or a ratio of whole numbers."""
        is_ratio = self.unit == "ratio"
        scale = Fraction(math.lcm(self.x.denominator, self.y.denominator)) if is_ratio else _UNITS[self.unit]
        if is_ratio and max(self.x, self.y) * scale > _LARGEST:
            scale = _LARGEST / max(self.x, self.y)
        x, y = (min(max(round(number * scale), int(number > 0)), _LARGEST) for number in (self.x, self.y))
        return struct.pack(">IIB", x, y, not is_ratio)

    def fits_physical(self) -> bool:
        """Whether `physical` holds the numbers: a ratio's exactly, others but for a hundredth."""
        x, y, is_metre = struct.unpack(">IIB", self.physical())
        if not is_metre:
            return (self.x, self.y) == (x, y)
        exact = self.x * _UNITS[self.unit], self.y * _UNITS[self.unit]
        return all(abs(held - number) * 100 <= number for held, number in zip((x, y), exact, strict=True))

    def per_inch(self) -> tuple[float, float]:
        """Pixels per inch, as Pillow's writers expect them."""
        scale = _UNITS[self.unit] / _UNITS["inch"]
        return float(self.x * scale), float(self.y * scale)


def parse_resolution(blob: bytes) -> Resolution | None:
    """The resolution in a blob, or None if the blob is malformed."""
    match = _FORM.fullmatch(blob)
    if match is None:
        return None
    x, y, unit = (group.decode() for group in match.groups())
    return Resolution(Fraction(x), Fraction(y), unit)


def parse_physical(chunk: bytes) -> Resolution | None:
    """The resolution in PNG's chunk pHYs, or None if the chunk is malformed."""
    if len(chunk) != 9 or chunk[8] > 1:
        return None
    x, y, is_metre = struct.unpack(">IIB", chunk)
    return Resolution(Fraction(x), Fraction(y), "metre" if is_metre else "ratio")


def resolution_blob(x: Fraction, y: Fraction, unit: str) -> bytes | None:
    """The blob of a resolution, or None if it is not positive."""
    return Resolution(x, y, unit).blob() if x > 0 and y > 0 else None
