"""Read the tags and the pixels of a TIFF.

Pillow reads most TIFFs. tifffile checks these, and reads those of which Pillow would lose alpha or keep only 8 of 16
bits. Large images are read by tifffile alone, piece by piece. Layouts that libraries read differently are refused.
Source: TIFF Revision 6.0, Adobe, 1992; its BigTIFF extension.
"""

import io
import struct
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from PIL.ExifTags import Base as Tag
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from pixelpyramids.codec.container import MAX_CHANNELS
from pixelpyramids.codec.disk_array import bands_of, convert_bands, is_large
from pixelpyramids.errors import DataError, PixelPyramidsError
from pixelpyramids.extras import import_extra
from pixelpyramids.image_files.bit_depth import Pixels, narrow, pixel_type
from pixelpyramids.image_files.file_source import FileSource
from pixelpyramids.image_files.picture import Facts, Inspected, Picture, check_limit
from pixelpyramids.image_files.png_reader import unpacked_size
from pixelpyramids.image_files.tiff_metadata import is_big, read_directory, tags_to_metadata
from pixelpyramids.image_files.tiff_pieces import open_page, read_large, several

_OLD_JPEG = 6
_JPEG = (_OLD_JPEG, 7, 34892)  # 34892 is lossy DNG
_DEFLATED = (8, 32946)
_WITH_PREDICTOR = (5, *_DEFLATED, 34925, 50000)  # LZW, Deflate, LZMA, Zstandard: libtiff supports predictors
_KNOWN_TO_LIBTIFF = (1, 2, 3, 4, 32773, *_WITH_PREDICTOR, *_JPEG)
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _INDEXED, _YCBCR = 0, 1, 2, 3, 6
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))  # the bits of each byte, the last one first
_UNSPECIFIED, _ALPHA = 0, 2  # kinds of extra channels; alpha is not premultiplied
_WITH_EXTRA = (_BLACK_IS_ZERO, _RGB)
_METAMORPH_PLANES = 33629
_TURN = Image.Transpose
_UNDO_ROTATION = {  # what Pillow did to the pixels, by the orientation
    2: _TURN.FLIP_LEFT_RIGHT, 3: _TURN.ROTATE_180, 4: _TURN.FLIP_TOP_BOTTOM, 5: _TURN.TRANSPOSE, 6: _TURN.ROTATE_90,
    7: _TURN.TRANSVERSE, 8: _TURN.ROTATE_270,
}  # fmt: skip


def is_tiff(data: bytes) -> bool:
    """Whether the data begin like a TIFF."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class Tiff(NamedTuple):
    """How a TIFF's pixels are stored. `palette` (3, 2**depth) has the 16-bit colour of each index.

    `is_plain` says whether Pillow reads the values exactly, `is_lossy` whether they are compressed as JPEG.
    """

    height: int
    width: int
    depth: int
    photometric: int
    orientation: int
    is_plain: bool
    is_planar: bool
    is_lossy: bool
    compression: int
    palette: Pixels | None


def inspect_tiff(source: FileSource, max_pixels: int) -> Inspected:
    """Read a TIFF's tags. Raises DataError if its kind of pixels cannot be read."""
    tags, head = read_directory(source.file), source.read(0, 4)
    tiff = _layout(tags, head)
    channels = tags.get(Tag.SamplesPerPixel, 1)
    check_limit(tiff.height, tiff.width, max_pixels, channels)
    metadata, lost = tags_to_metadata(tags, lambda tag, place: read_directory(source.file, place, tag))
    not_kept = (*lost, *_find_tags_not_kept(tags, source, head))
    if channels > 4 and tiff.photometric == _RGB:
        not_kept += ("that the TIFF's first channels are red, green and blue",)
    shape = (tiff.height, tiff.width, channels)[: 2 + (channels > 1)]

    def load() -> Picture:
        planes = len(several(tags.get(_METAMORPH_PLANES, 1)))
        if planes > 1 and planes * sum(several(tags.get(Tag.StripByteCounts, 0))) <= source.size:
            raise DataError(f"expected one picture, got {planes} pages; save one of them as a file")
        _check_pieces(tags, tiff, source)
        depth, dtype = tiff.depth, pixel_type(tiff.depth)
        pixels: Any
        if is_large(shape, dtype):
            pixels = read_large(source, tags, shape, dtype)
        else:
            pixels = _read_pixels(source.read(0, source.size), tiff)
        if tiff.photometric == _WHITE_IS_ZERO:
            pixels = convert_bands(pixels, lambda band: (1 << depth) - 1 - band)
        if tiff.palette is not None:
            pixels, depth = _look_up_palette(pixels, tiff.palette)
        return Picture(pixels, depth, metadata, "TIFF", tiff.is_lossy, not_kept)

    facts = Facts(shape, pixel_type(tiff.depth), tiff.depth, metadata) if tiff.palette is None else None
    return Inspected(facts, load)


def is_lossy_tiff(source: FileSource) -> bool:
    """Whether a TIFF's pixels are compressed as JPEG."""
    return read_directory(source.file).get(Tag.Compression) in _JPEG


def _read_pixels(data: bytes, tiff: Tiff) -> Pixels:
    """The stored values. Raises DataError if a second library reads the file too, but reads other values."""
    first, second = (_by_pillow, _by_tifffile) if tiff.is_plain else (_by_tifffile, _by_libtiff)
    pixels = first(data, tiff)
    # JPEG decoders round differently, and libtiff does not know the rarer compressions.
    if tiff.is_lossy or tiff.compression not in _KNOWN_TO_LIBTIFF:
        return pixels
    try:
        again = second(data, tiff)
    except DataError:
        raise
    except (PixelPyramidsError, ImportError, NotImplementedError, LookupError, TypeError, ValueError):
        return pixels  # it is not installed, or does not know this kind
    except RuntimeError as error:
        raise DataError(f"one library reads this TIFF, another finds it damaged ({error}); save it again") from error
    if not np.array_equal(pixels, again):
        raise DataError("two libraries read different pixels from this TIFF; convert it to another compression")
    return pixels


def _layout(tags: ImageFileDirectory_v2, head: bytes) -> Tiff:
    """What the tags say about the pixels. Raises DataError if these cannot be read exactly."""
    if (
        not (Tag.StripOffsets in tags or Tag.TileOffsets in tags)
        or not all(tags.get(tag, 1) for tag in (Tag.RowsPerStrip, Tag.TileWidth, Tag.TileLength))
        or not (tags.get(Tag.ImageWidth) and tags.get(Tag.ImageLength))
    ):
        raise DataError("expected a TIFF with its size and the offsets of its pixels, got less; the file is damaged")
    if others := [kind for kind in several(tags.get(Tag.SampleFormat, 1)) if kind != 1]:
        kinds = {2: "signed", 3: "float", 4: "undefined", 5: "complex", 6: "complex float"}
        got = kinds.get(others[0], "unknown")
        raise DataError(f"expected unsigned integers of at most 16 bits, got {got} values; scale and round them first")
    bits, channels = several(tags.get(Tag.BitsPerSample, 1)), tags.get(Tag.SamplesPerPixel, 1)
    depths = sorted(set(bits))
    if len(bits) not in (1, channels) or len(depths) != 1 or not 1 <= depths[0] <= 16:
        raise DataError(
            f"expected channels of equal depth, at most 16 bits, got {', '.join(map(str, depths))} bits; convert it"
        )
    (depth,), photometric = depths, tags.get(Tag.PhotometricInterpretation, -1)
    compression, predictor = tags.get(Tag.Compression, 1), tags.get(Tag.Predictor, 1)
    is_planar, is_lossy = tags.get(Tag.PlanarConfiguration, 1) == 2 and channels > 1, compression in _JPEG
    if not {tags.get(Tag.PlanarConfiguration, 1), tags.get(Tag.FillOrder, 1)} <= {1, 2}:
        raise DataError("expected 1 or 2 for PlanarConfiguration and FillOrder, got others; the file is damaged")
    if photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _INDEXED) and not (is_lossy and photometric == _YCBCR):
        kinds = {4: "a mask", 5: "four inks (CMYK)", 6: "luma and chroma (YCbCr)", 8: "L*a*b* values", -1: "none"}
        pixels = kinds.get(photometric, photometric)
        raise DataError(f"expected grey, RGB or a palette, got {pixels}; convert it to RGB")
    extra = several(tags.get(Tag.ExtraSamples, ()))
    colours = 3 if photometric in (_RGB, _YCBCR) else 1
    known = ((), (_ALPHA,)) if channels <= 4 else ((_UNSPECIFIED,) * (channels - colours),)
    if extra not in known or channels != colours + len(extra) or (extra and photometric not in _WITH_EXTRA):
        raise DataError(
            "expected RGB or grey (0 is black) with at most one channel of unassociated alpha, or at least five "
            "channels, none of them alpha, got other channels, or premultiplied alpha; convert the file"
        )
    if channels > MAX_CHANNELS:
        raise DataError(f"expected at most {MAX_CHANNELS} channels, got {channels}; split the file")
    if predictor not in (1, 2) or (predictor == 2 and compression not in _WITH_PREDICTOR):
        raise DataError(f"got predictor {predictor} with compression {compression}, which libraries read differently; "
                        "convert the file to another compression")  # fmt: skip
    if is_lossy and (depth != 8 or is_planar or extra or photometric == _INDEXED):
        raise DataError("expected 8-bit grey or colour in the JPEG inside the TIFF, got another kind; convert the file")
    palette = None
    if photometric == _INDEXED:
        palette = np.array(tags.get(Tag.ColorMap, ()), np.uint16)
        if depth > 8 or palette.size != 3 << depth:
            raise DataError(f"expected a palette of at most 256 colours, got {palette.size // 3} for {depth} bits; "
                            "convert the file to RGB")  # fmt: skip
        palette = palette.reshape(3, -1)
    height, width = tags[Tag.ImageLength], tags[Tag.ImageWidth]
    deep = () if photometric != _BLACK_IS_ZERO else (12, 16) if tags.prefix == b"II" else (16,)
    is_plain = (
        (
            (depth == 8 and channels <= 4 and not (is_planar and channels == 2))
            or (channels == 1 and depth in (1, 2, 4, *deep))
        )
        # For TIFFs, unlike other formats, Pillow applies its own limit when it loads them.
        and height * width <= (Image.MAX_IMAGE_PIXELS or height * width)
        and head != b"MM\0+"
        and compression in _KNOWN_TO_LIBTIFF
    )
    orientation = tags.get(Tag.Orientation, 1)
    return Tiff(height, width, depth, photometric, orientation, is_plain, is_planar, is_lossy, compression, palette)


def _check_pieces(tags: ImageFileDirectory_v2, tiff: Tiff, source: FileSource) -> None:
    """Raise DataError for missing or incomplete strips and tiles, which libraries read as zeros."""
    compression = tags.get(Tag.Compression, 1)
    if compression == _OLD_JPEG:  # it may have neither strips nor tiles
        return
    is_tiled = Tag.TileOffsets in tags
    offsets, sizes = (Tag.TileOffsets, Tag.TileByteCounts) if is_tiled else (Tag.StripOffsets, Tag.StripByteCounts)
    lines = tags[Tag.TileLength] if is_tiled else min(tags.get(Tag.RowsPerStrip, tiff.height), tiff.height)
    columns = tags[Tag.TileWidth] if is_tiled else tiff.width
    if is_tiled and (lines % 16 or columns % 16):
        raise DataError(
            f"expected tiles in the TIFF whose sides are multiples of 16, got {columns} x {lines}; save it again"
        )
    channels = tags.get(Tag.SamplesPerPixel, 1)
    planes, samples = (channels, 1) if tiff.is_planar else (1, channels)
    down = -(-tiff.height // lines)
    count, line_bytes = down * -(-tiff.width // columns) * planes, -(-columns * samples * tiff.depth // 8)
    starts = several(tags[offsets])
    lengths = several(tags.get(sizes, source.size - starts[0] if count == 1 else ()))
    is_whole = len(starts) == len(lengths) == count
    pieces = list(zip(starts, lengths, strict=is_whole))
    is_whole = is_whole and all(length > 0 and start + length <= source.size for start, length in pieces)
    if is_whole and sum(lengths) > 2 * source.size:  # unpacking them could take very long
        raise DataError("expected strips or tiles that share no bytes of the TIFF, got others; save the file again")
    for number, (start, length) in enumerate(pieces if is_whole else ()):
        expected = line_bytes * (lines if is_tiled else min(lines, tiff.height - number % down * lines))
        has = length
        if compression in _DEFLATED:  # libtiff ignores the checksums
            pieces_of_it = source.pieces(start, length)
            is_reversed = tags.get(Tag.FillOrder) == 2
            has = unpacked_size(
                (one.translate(_REVERSED_BITS) if is_reversed else one for one in pieces_of_it), expected
            )
        elif compression != 1:
            expected = 1
        is_whole = is_whole and has >= expected
    if not is_whole:
        raise DataError("expected a complete TIFF, got one without some of its pixels; replace or remove the file")


def _find_tags_not_kept(tags: ImageFileDirectory_v2, source: FileSource, head: bytes) -> list[str]:
    """Name the tags that are not kept: pictures within the picture, and tags of types that Pillow does not know."""
    order = ">" if head[:2] == b"MM" else "<"
    kind, step = ("Q", 20) if is_big(head) else ("H", 12)
    size = struct.calcsize(kind)
    (count,) = struct.unpack(f"{order}{kind}", source.read(tags.offset, size))
    entries = source.read(tags.offset + size, step * count)
    numbers = {struct.unpack_from(f"{order}H", entries, step * number)[0] for number in range(count)}
    lost = sorted(number for number in numbers if number not in tags)
    return [f"TIFF tag {number}" for number in lost] + ["pictures in the TIFF's SubIFDs"] * (Tag.SubIFDs in numbers)


def _by_pillow(data: bytes, tiff: Tiff) -> Pixels:
    """The stored values, as Pillow reads them."""
    image = TiffImageFile(io.BytesIO(data), "")
    with image:
        if image.n_frames != 1:
            raise DataError(f"expected one picture, got {image.n_frames} pages; save one of them as a file")
        image.info.pop("xmp", None)  # Pillow would also rotate the pixels by it
        image.load()  # for TIFFs, unlike other formats, this rotates the pixels
        turn = _UNDO_ROTATION.get(tiff.orientation)
        pixels: Any = np.array(image if turn is None else image.transpose(turn))
    if tiff.photometric == _WHITE_IS_ZERO:  # Pillow inverts these
        pixels = ~pixels
    pixels = pixels.astype(pixel_type(tiff.depth), copy=False)
    is_widened = tiff.depth in (2, 4) and tiff.palette is None
    stored: Pixels = pixels >> (8 - tiff.depth) if is_widened else pixels
    return stored


def _by_tifffile(data: bytes, tiff: Tiff) -> Pixels:
    """The stored values, as tifffile reads them. Raises PixelPyramidsError if a needed extra is missing."""
    with open_page(io.BytesIO(data)) as page:
        return _channels_last(page.asarray(), tiff)


def _by_libtiff(data: bytes, tiff: Tiff) -> Pixels:
    """The stored values, as libtiff reads them."""
    return _channels_last(import_extra("imagecodecs", "images").tiff_decode(data), tiff)


def _channels_last(pixels: Any, tiff: Tiff) -> Pixels:
    moved = np.moveaxis(pixels, 0, -1) if tiff.is_planar else pixels
    array: Pixels = np.ascontiguousarray(moved, pixel_type(tiff.depth))
    return array


def _look_up_palette(numbers: Any, palette: Pixels) -> tuple[Any, int]:
    """Colours, or greys if all are grey. They have 8 bits if the palette has only v * 257, or only v * 256; else 16."""
    colours = palette.T
    eight = colours >> 8 if not (colours & 255).any() else narrow(colours, 16, 8)
    table = colours if eight is None else eight.astype(np.uint8)
    used = sum(np.bincount(band.ravel(), minlength=len(table)) for _, band in bands_of(numbers)) > 0
    is_grey = (table[used][:, :1] == table[used][:, 1:]).all()
    table = np.ascontiguousarray(table[:, 0] if is_grey else table)
    return convert_bands(numbers, lambda band: table[band]), 8 * table.itemsize
