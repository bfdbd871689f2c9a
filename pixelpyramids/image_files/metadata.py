r"""The metadata of an image, by the names under which .ppyr files store them.

    ICC, EXIF, XMP             the profile; the TIFF structure of EXIF without "Exif\0\0"; the packet
    resolution                 a text, see resolution.py
    gAMA cHRM sRGB cICP mDCV cLLI sBIT tIME     the content of the PNG chunk of that name
    text:KEYWORD               a text in UTF-8; text.2:KEYWORD is the second text of that keyword, and so on
    language:KEYWORD, translated:KEYWORD        its language and translated keyword, if PNG's iTXt has them
    TIFF:NUMBER                any other tag of a TIFF, such as GeoTIFF's: a TIFF structure that holds only this tag

The orientation is a field of EXIF; the pixels are never rotated.
"""

import struct
import warnings
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from pixelpyramids.image_files.resolution import parse_resolution, resolution_blob
from pixelpyramids.image_files.tiff_metadata import EXIF_MARK, tags_to_metadata

PNG_CHUNKS = ("gAMA", "cHRM", "sRGB", "cICP", "mDCV", "cLLI", "sBIT", "tIME")
"""PNG chunks that are stored unchanged, under their own names."""

_SCALE = 100_000  # PNG stores gamma and chromaticities times this


def read_metadata(image: Image.Image) -> dict[str, bytes]:
    """The metadata of an image that Pillow has opened."""
    if isinstance(image, TiffImageFile):
        blobs, lost = tags_to_metadata(image.tag_v2, lambda tag, _: image.getexif().get_ifd(tag))
        warn_left_out(lost, "PPYR")
        return blobs
    # Pillow puts a PNG's texts into `info` too, and their keys may be those that are read here.
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
        blobs["EXIF"] = blobs["EXIF"].removeprefix(EXIF_MARK)
    for keyword, text in getattr(image, "text", {}).items():
        if keyword != "XML:com.adobe.xmp":
            blobs[f"text:{keyword}"] = text.encode()
            named = ("language", getattr(text, "lang", "")), ("translated", getattr(text, "tkey", ""))
            blobs |= {f"{kind}:{keyword}": _as_bytes(value) for kind, value in named if value}
    if isinstance(comment := info.get("comment"), bytes) and comment:
        blobs["text:Comment"] = as_utf_8(comment)
    return blobs


def to_pillow(metadata: Mapping[str, bytes]) -> tuple[dict[Any, Any], dict[str, str]]:
    """The metadata as Pillow's own readers store them in `image.info`, and the texts by keyword."""
    info: dict[Any, Any] = {name: metadata[name] for name in ("cICP", "mDCV", "cLLI", "tIME") if name in metadata}
    info |= {key: metadata[name] for key, name in (("icc_profile", "ICC"), ("xmp", "XMP")) if name in metadata}
    if "EXIF" in metadata:
        info["exif"] = EXIF_MARK + metadata["EXIF"]
    if (resolution := parse_resolution(metadata.get("resolution", b""))) is not None:
        if resolution.unit == "ratio":
            info["aspect"] = tuple(int(side) if side.denominator == 1 else side for side in resolution[:2])
        else:
            info["dpi"] = resolution.per_inch()
    if len(gamma := metadata.get("gAMA", b"")) == 4:
        info["gamma"] = struct.unpack(">I", gamma)[0] / _SCALE
    if len(points := metadata.get("cHRM", b"")) == 32:
        info["chromaticity"] = tuple(point / _SCALE for point in struct.unpack(">8I", points))
    if len(intent := metadata.get("sRGB", b"")) == 1:
        info["srgb"] = intent[0]
    texts = {name[5:]: text.decode("utf-8", "replace") for name, text in metadata.items() if name.startswith("text:")}
    return info, texts


def webp_options(metadata: Mapping[str, bytes], about: str = "") -> dict[str, bytes]:
    """The arguments for Pillow's WebP writer. A UserWarning names the metadata that WebP cannot hold."""
    keys = {"ICC": "icc_profile", "EXIF": "exif", "XMP": "xmp"}
    options = {key: metadata[name] for name, key in keys.items() if name in metadata}
    if "exif" in options:
        options["exif"] = EXIF_MARK + options["exif"]
    warn_left_out([name for name in metadata if name not in keys], f"{about}WEBP")
    return options


def warn_left_out(names: list[str], format: str) -> None:
    """Name the metadata that a format cannot hold in a UserWarning."""
    if names:
        warnings.warn(f"{format} cannot hold the metadata {', '.join(names)}; left out", stacklevel=3)


def as_utf_8(text: bytes) -> bytes:
    """Return a text in UTF-8. If it is not UTF-8, it is read as Latin-1."""
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
        # JFIF says 1:1 if the resolution is not known.
        return None if unit == "ratio" and x == y else resolution_blob(Fraction(x), Fraction(y), unit)
    if "dpi" in info:
        x, y = (Fraction(float(number)).limit_denominator(10**6) for number in info["dpi"])
        return resolution_blob(x, y, "inch")
    if "aspect" in info:
        x, y = info["aspect"]
        return resolution_blob(Fraction(x), Fraction(y), "ratio")
    return None
