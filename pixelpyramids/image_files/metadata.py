r"""What belongs to a picture besides its pixels, by the names that .ppyr files keep it under.

    ICC, EXIF, XMP             the profile; the TIFF structure of EXIF without "Exif\0\0"; the packet
    resolution                 text, see resolution.py
    gAMA cHRM sRGB cICP mDCV cLLI sBIT tIME     the content of PNG's chunk of that name
    text:KEYWORD               a text in UTF-8; text.2:KEYWORD the second of that keyword, and so on
    language:KEYWORD, translated:KEYWORD        of that text, where PNG's iTXt has them
    TIFF:NUMBER                any other tag of a TIFF, such as GeoTIFF's: a TIFF structure that holds this tag alone

Orientation is a field of EXIF, and nothing turns the pixels.
"""

import math
import struct
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from fractions import Fraction
from numbers import Rational
from typing import Any

from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from pixelpyramids.codec.container import MAX_METADATA
from pixelpyramids.errors import DataError
from pixelpyramids.image_files.file_source import DAMAGE
from pixelpyramids.image_files.resolution import Resolution, parse_resolution

PNG_CHUNKS = ("gAMA", "cHRM", "sRGB", "cICP", "mDCV", "cLLI", "sBIT", "tIME")
"""Chunks of PNG that are kept as they are, under their own names."""

_EXIF_MARK = b"Exif\0\0"
_SCALE = 100_000  # of PNG's gamma and chromaticities
# What TIFF writers say in the main directory is what EXIF says in its own: description, maker, model, orientation,
# software, date, artist, copyright, the directories of EXIF and GPS.
TIFF_FIELDS = (270, 271, 272, 274, 305, 306, 315, 33432)
DIRECTORIES = (34665, 34853)
INTEROPERABILITY = 40965  # a directory within that of EXIF
_RESOLUTION = (282, 283, 296)
_XMP, _ICC = 700, 34675
_PHOTOMETRIC, _YCBCR, _BLACK_AND_WHITE = 262, 6, 532
_TIFF_PIXELS = {
    *range(254, 260), 262, 266, 273, *range(277, 280), 284, 288, 289, 292, 293, 317, 320, *range(322, 331),
    338, 339, 347, *range(512, 522), *range(529, 532),
}  # fmt: skip
"""Tags that say how a TIFF's pixels are stored: sizes, types, offsets, compression, palette, inner pictures."""
KEPT_OTHERWISE = {*_TIFF_PIXELS, *TIFF_FIELDS, *DIRECTORIES, *_RESOLUTION}
"""Tags that do not become a blob of their own."""


def of_image(image: Image.Image) -> dict[str, bytes]:
    """What Pillow knows of an opened image."""
    if isinstance(image, TiffImageFile):
        return of_tiff(image.tag_v2, lambda tag, _: image.getexif().get_ifd(tag))
    # A text of a PNG's may have any key in Pillow's info, and be found in the place of what is looked for.
    info = {key: value for key, value in image.info.items() if not isinstance(value, str) or key == "xmp"}
    found: dict[str, Any] = {
        "ICC": info.get("icc_profile"),
        "EXIF": info.get("exif"),
        "XMP": info.get("xmp"),
        "resolution": _resolution(info),
    }
    if (gamma := info.get("gamma")) is not None:
        found["gAMA"] = struct.pack(">I", round(gamma * _SCALE))
    if (points := info.get("chromaticity")) is not None:
        found["cHRM"] = struct.pack(">8I", *(round(point * _SCALE) for point in points))
    if (intent := info.get("srgb")) is not None:
        found["sRGB"] = bytes([intent])
    found |= {name: info[name] for name in PNG_CHUNKS if isinstance(info.get(name), bytes)}
    blobs = {name: _as_bytes(blob) for name, blob in found.items() if blob}
    if "EXIF" in blobs:
        blobs["EXIF"] = blobs["EXIF"].removeprefix(_EXIF_MARK)
    for keyword, text in getattr(image, "text", {}).items():
        if keyword != "XML:com.adobe.xmp":
            blobs[f"text:{keyword}"] = text.encode()
            named = ("language", getattr(text, "lang", "")), ("translated", getattr(text, "tkey", ""))
            blobs |= {f"{kind}:{keyword}": _as_bytes(value) for kind, value in named if value}
    if isinstance(comment := info.get("comment"), bytes) and comment:
        blobs["text:Comment"] = as_utf_8(comment)
    return blobs


def of_tiff(tags: ImageFileDirectory_v2, directory: Callable[[int, int], Mapping[int, Any]]) -> dict[str, bytes]:
    """What a TIFF's tags say; `directory` gives the fields of the directory that a tag names, at a
    place in the file.

    The fields that describe the picture become an EXIF structure of their own.
    """
    exif = Image.Exif()
    for tag in TIFF_FIELDS:
        if tag in tags:
            exif[tag] = exact_text(tags[tag])
    for tag in DIRECTORIES:
        if tag in tags and (fields := dict(directory(tag, tags[tag]))):
            if INTEROPERABILITY in fields:
                with suppress(*DAMAGE):  # what it says of its place may be wrong
                    fields[INTEROPERABILITY] = dict(directory(INTEROPERABILITY, fields[INTEROPERABILITY]))
            exif.get_ifd(tag).update({number: exact_text(value) for number, value in fields.items()})
            exif[tag] = exif.get_ifd(tag)
    found = {
        "ICC": tags.get(_ICC),
        "EXIF": exif.tobytes().removeprefix(_EXIF_MARK) if len(exif) else None,
        "XMP": tags.get(_XMP),
    }
    found = {name: blob.encode("latin-1") if isinstance(blob, str) else blob for name, blob in found.items()}
    blobs = {name: blob for name, blob in found.items() if blob and isinstance(blob, bytes)}
    x, y = _fraction(tags.get(282, 0)), _fraction(tags.get(283, 0))
    unit = {1: "ratio", 3: "centimetre"}.get(tags.get(296, 2), "inch")
    if (resolution := _blob(x, y, unit)) is not None:
        blobs["resolution"] = resolution
    known = KEPT_OTHERWISE | {tag for tag, name in ((_XMP, "XMP"), (_ICC, "ICC")) if name in blobs}
    known |= {_BLACK_AND_WHITE} if tags.get(_PHOTOMETRIC) == _YCBCR else set()  # of pixels that become RGB
    return blobs | {f"TIFF:{tag}": _tag_alone(tags, tag) for tag in tags if tag not in known}


def exact_text(value: Any) -> Any:
    """A tag's value for Pillow's writers: they replace non-ASCII text by "?", which its readers decode as Latin-1."""
    if isinstance(value, tuple):
        return tuple(exact_text(one) for one in value)
    return value.encode("latin-1") if isinstance(value, str) and not value.isascii() else value


def info_of(metadata: Mapping[str, bytes]) -> tuple[dict[Any, Any], dict[str, str]]:
    """What Pillow's `image.info` holds of it, under the keys of Pillow's own readers, and the texts by keyword."""
    info: dict[Any, Any] = {name: metadata[name] for name in ("cICP", "mDCV", "cLLI", "tIME") if name in metadata}
    info |= {key: metadata[name] for key, name in (("icc_profile", "ICC"), ("xmp", "XMP")) if name in metadata}
    if "EXIF" in metadata:
        info["exif"] = _EXIF_MARK + metadata["EXIF"]
    if (resolution := parse_resolution(metadata.get("resolution", b""))) is not None:
        key = "aspect" if resolution.unit == "ratio" else "dpi"
        info[key] = (int(resolution.x), int(resolution.y)) if key == "aspect" else resolution.per_inch()
    if len(gamma := metadata.get("gAMA", b"")) == 4:
        info["gamma"] = struct.unpack(">I", gamma)[0] / _SCALE
    if len(points := metadata.get("cHRM", b"")) == 32:
        info["chromaticity"] = tuple(point / _SCALE for point in struct.unpack(">8I", points))
    if len(intent := metadata.get("sRGB", b"")) == 1:
        info["srgb"] = intent[0]
    texts = {name[5:]: text.decode("utf-8", "replace") for name, text in metadata.items() if name.startswith("text:")}
    return info, texts


def webp_options(metadata: Mapping[str, bytes]) -> dict[str, bytes]:
    """The arguments of Pillow's writer of WebP; a UserWarning names what it has no place for."""
    keys = {"ICC": "icc_profile", "EXIF": "exif", "XMP": "xmp"}
    options = {key: metadata[name] for name, key in keys.items() if name in metadata}
    if "exif" in options:
        options["exif"] = _EXIF_MARK + options["exif"]
    warn_left_out([name for name in metadata if name not in keys], "WEBP")
    return options


def warn_left_out(names: list[str], format: str) -> None:
    """A UserWarning that names the metadata which a format has no place for."""
    if names:
        warnings.warn(f"{format} has no place for the metadata {', '.join(names)}, left out", stacklevel=3)


def check_size(metadata: Mapping[str, bytes]) -> None:
    """Raise DataError where metadata are more than a .ppyr file holds."""
    size = sum(len(name) + len(blob) + 8 for name, blob in metadata.items())
    if size > MAX_METADATA:
        largest = max(metadata, key=lambda name: len(metadata[name]))
        raise DataError(
            f"expected at most {MAX_METADATA} bytes of metadata, got {size}; remove some from the file, the largest "
            f"is {largest}"
        )


def _tag_alone(tags: ImageFileDirectory_v2, tag: int) -> bytes:
    """One tag as a blob: a little-endian TIFF structure without a picture."""
    alone = ImageFileDirectory_v2()
    alone.tagtype[tag] = tags.tagtype[tag]
    alone[tag] = exact_text(tags[tag])
    return b"II*\0\x08\0\0\0" + alone.tobytes(8)


def as_utf_8(text: bytes) -> bytes:
    """A text that is UTF-8, or else taken as Latin-1."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1").encode()
    return text


def _as_bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)


def _resolution(info: Mapping[Any, Any]) -> bytes | None:
    if "jfif_density" in info:
        x, y = info["jfif_density"]
        unit = {1: "inch", 2: "centimetre"}.get(info.get("jfif_unit", 0), "ratio")
        # 1:1 is what JFIF says where nothing is known.
        return None if unit == "ratio" and x == y else _blob(Fraction(x), Fraction(y), unit)
    if "dpi" in info:
        x, y = (Fraction(float(number)).limit_denominator(10**6) for number in info["dpi"])
        return _blob(x, y, "inch")
    if "aspect" in info:
        x, y = info["aspect"]
        return _blob(Fraction(x), Fraction(y), "ratio")
    return None


def _fraction(value: Any) -> Fraction:
    """A number of a TIFF's; 0 where it is none, or its denominator is 0."""
    if isinstance(value, float) and math.isfinite(value):
        return Fraction(value).limit_denominator(_SCALE)
    if not isinstance(value, Rational) or not value.denominator:
        return Fraction(0)
    return Fraction(int(value.numerator), int(value.denominator))


def _blob(x: Fraction, y: Fraction, unit: str) -> bytes | None:
    return Resolution(x, y, unit).blob() if x > 0 and y > 0 else None
