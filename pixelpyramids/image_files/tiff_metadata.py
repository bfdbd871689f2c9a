"""Convert a TIFF's tags to metadata and back; metadata.py lists the names.

The blob EXIF holds the directories of EXIF and GPS, and tags that TIFF writers put into the main directory:
description, maker, model, orientation, software, date, artist and copyright. Any other tag that does not say how the
pixels are stored becomes a blob TIFF:NUMBER, a little-endian TIFF structure that holds only this tag.
"""

import io
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from fractions import Fraction
from numbers import Rational
from typing import Any, BinaryIO

from PIL import Image, TiffTags
from PIL.ExifTags import IFD
from PIL.ExifTags import Base as Tag
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from pixelpyramids.image_files.file_source import DAMAGE, read_head
from pixelpyramids.image_files.resolution import parse_resolution, resolution_blob

EXIF_MARK = b"Exif\0\0"
_FIELDS = (270, 271, 272, 274, 305, 306, 315, 33432)
_DIRECTORIES = (Tag.ExifOffset, Tag.GPSInfo)
_INTEROPERABILITY = 40965  # a directory within that of EXIF
_RESOLUTION = (Tag.XResolution, Tag.YResolution, Tag.ResolutionUnit)
_YCBCR = 6
_DENOMINATOR = 100_000  # the largest denominator, if a resolution is a float
_UNITS = {"ratio": 1, "inch": 2, "centimetre": 3}
_OF_THE_PIXELS = {
    *range(254, 260), 262, 266, 273, *range(277, 280), 284, 288, 289, 292, 293, 317, 320, *range(322, 331),
    338, 339, 347, *range(512, 522), *range(529, 532),
}  # fmt: skip
"""Tags that say how a TIFF's pixels are stored: sizes, types, offsets, compression, palette, inner pictures."""
_NO_BLOBS = {*_OF_THE_PIXELS, *_FIELDS, *_DIRECTORIES, *_RESOLUTION}


def read_directory(file: BinaryIO, place: int | None = None, group: int | None = None) -> ImageFileDirectory_v2:
    """The first directory of a TIFF, or the one at `place`."""
    head = read_head(file, 16)
    # Pillow mistakes the head of a big-endian BigTIFF for a TIFF's. It accepts a little-endian head beside the order.
    tags = ImageFileDirectory_v2(b"II+\0" + head[4:] if is_big(head) else head[:8], head[:2], group)
    file.seek(tags.next if place is None else place)
    tags.load(file)
    if tags.tagtype.get(Tag.IPTCNAA) == TiffTags.LONG:
        tags.tagtype[Tag.IPTCNAA] = TiffTags.UNDEFINED  # Photoshop mislabels it; Pillow would keep every fourth byte
    return tags


def is_big(head: bytes) -> bool:
    """Whether a TIFF with that head is a BigTIFF."""
    return 43 in head[2:4]


def tags_to_metadata(
    tags: ImageFileDirectory_v2, read_fields: Callable[[int, int], Mapping[int, Any]]
) -> tuple[dict[str, bytes], list[str]]:
    """The metadata in a TIFF's tags, and the names of fields that cannot be kept, because they have unexpected types.

    `read_fields(tag, place)` returns the fields of the directory at `place`.
    """
    exif = Image.Exif()
    fields, lost = _writable_fields(tags, read_fields)
    exif.update(fields)
    found: dict[str, Any] = {
        "ICC": tags.get(Tag.InterColorProfile),
        "EXIF": exif.tobytes().removeprefix(EXIF_MARK) if len(exif) else None,
        "XMP": tags.get(Tag.XMLPacket),
    }
    found = {name: blob.encode("latin-1") if isinstance(blob, str) else blob for name, blob in found.items()}
    blobs = {name: blob for name, blob in found.items() if blob and isinstance(blob, bytes)}
    if (resolution := _read_resolution(tags)) is not None:
        blobs["resolution"] = resolution
    known = _NO_BLOBS | {tag for tag, name in ((Tag.XMLPacket, "XMP"), (Tag.InterColorProfile, "ICC")) if name in blobs}
    if tags.get(Tag.PhotometricInterpretation) == _YCBCR:  # these pixels become RGB
        known |= {Tag.ReferenceBlackWhite}
    return blobs | {f"TIFF:{int(tag)}": _tag_alone(tags, tag) for tag in tags if tag not in known}, lost


def metadata_to_tags(metadata: Mapping[str, bytes], tags: ImageFileDirectory_v2) -> list[str]:
    """Add metadata to the tags of a TIFF. Returns the names of the metadata that it cannot hold."""
    left_out = []
    for name, blob in metadata.items():
        if name == "ICC":
            tags.tagtype[Tag.InterColorProfile], tags[Tag.InterColorProfile] = TiffTags.UNDEFINED, blob
        elif name == "XMP":
            tags.tagtype[Tag.XMLPacket], tags[Tag.XMLPacket] = TiffTags.BYTE, blob
        elif name == "EXIF":
            left_out += _add_exif(blob, tags)
        elif name == "resolution":
            _add_resolution(blob, tags)
        elif not (name.startswith("TIFF:") and _add_tag(name, blob, tags)):
            left_out.append(name)
    return left_out


def _add_exif(blob: bytes, tags: ImageFileDirectory_v2) -> list[str]:
    exif = Image.Exif()
    try:
        exif.load(blob)
        fields, left_out = _writable_fields(exif, lambda tag, _: exif.get_ifd(tag))
    except DAMAGE:
        return ["EXIF"]
    tags.update(fields)
    if Tag.XResolution not in tags and (resolution := _read_resolution(exif)) is not None:
        _add_resolution(resolution, tags)
    left_out += [f"EXIF's field {tag}" for tag in exif if tag not in (*_FIELDS, *_DIRECTORIES, *_RESOLUTION)]
    with suppress(*DAMAGE):  # the place of the thumbnail may be wrong
        left_out += ["EXIF's thumbnail"] if exif.get_ifd(IFD.IFD1) else []
    return left_out


def _read_resolution(tags: Mapping[int, Any]) -> bytes | None:
    """The resolution that the tags of a TIFF or of EXIF give, if they do."""
    x, y = (_fraction(tags.get(tag, 0)) for tag in _RESOLUTION[:2])
    unit = {1: "ratio", 3: "centimetre"}.get(tags.get(Tag.ResolutionUnit, 2), "inch")
    return resolution_blob(x, y, unit)


def _add_resolution(blob: bytes, tags: ImageFileDirectory_v2) -> None:
    if (resolution := parse_resolution(blob)) is not None:
        scale = 100 if resolution.unit == "metre" else 1  # TIFF does not count per metre
        values = resolution.x / scale, resolution.y / scale, _UNITS.get(resolution.unit, 3)
        tags.update(zip(_RESOLUTION, values, strict=True))


def _writable_fields(
    tags: Mapping[int, Any], read_fields: Callable[[int, Any], Mapping[int, Any]]
) -> tuple[dict[int, Any], list[str]]:
    """The fields of EXIF that Pillow can write, those of a directory under its tag; and the names of the others."""
    found = {tag: _exact_text(tags[tag]) for tag in _FIELDS if tag in tags}
    lost = _remove_unwritable(found)
    for tag in _DIRECTORIES:
        fields = dict(read_fields(tag, tags[tag])) if tag in tags else {}
        if _INTEROPERABILITY in fields:
            with suppress(*DAMAGE):  # its place may be wrong
                fields[_INTEROPERABILITY] = dict(read_fields(_INTEROPERABILITY, fields[_INTEROPERABILITY]))
        fields = {number: _exact_text(value) for number, value in fields.items()}
        lost += _remove_unwritable(fields, tag)
        found |= {tag: fields} if fields else {}
    return found, lost


def _add_tag(name: str, blob: bytes, tags: ImageFileDirectory_v2) -> bool:
    """Add the tag of a blob. Returns False if the blob has none, or one that must not be set this way."""
    try:
        kept, tag = read_directory(io.BytesIO(blob)), int(name.removeprefix("TIFF:"))
        value = _exact_text(kept[tag])
    except DAMAGE:
        return False
    if tag in _NO_BLOBS:
        return False
    tags.tagtype[tag], tags[tag] = kept.tagtype[tag], value
    return True


def _remove_unwritable(fields: dict[int, Any], group: int | None = None) -> list[str]:
    """Remove the fields that Pillow cannot write, and return their names."""
    names = []
    for number, value in list(fields.items()):
        directory = ImageFileDirectory_v2(group=group)
        try:
            directory[number] = value
            directory.tobytes()
        except DAMAGE:
            names.append(f"EXIF's field {number}")
            del fields[number]
    return names


def _tag_alone(tags: ImageFileDirectory_v2, tag: int) -> bytes:
    """One tag as a TIFF structure without a picture."""
    alone = ImageFileDirectory_v2()
    alone.tagtype[tag] = tags.tagtype[tag]
    alone[tag] = _exact_text(tags[tag])
    return b"II*\0\x08\0\0\0" + alone.tobytes(8)


def _exact_text(value: Any) -> Any:
    """A tag's value for Pillow's writers. They replace non-ASCII text by "?", but readers decode text as Latin-1."""
    if isinstance(value, tuple):
        return tuple(_exact_text(one) for one in value)
    return value.encode("latin-1") if isinstance(value, str) and not value.isascii() else value


def _fraction(value: Any) -> Fraction:
    """A number of a TIFF as a fraction; 0 if it is not a number, or if its denominator is 0."""
    if isinstance(value, float) and math.isfinite(value):
        return Fraction(value).limit_denominator(_DENOMINATOR)
    if not isinstance(value, Rational) or not value.denominator:
        return Fraction(0)
    return Fraction(int(value.numerator), int(value.denominator))
