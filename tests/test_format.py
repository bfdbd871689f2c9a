"""The decoder beside the format's text, which shares no code with the package, against the package."""

import ast
import importlib.util
import io
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hostile_files import png_of
from PIL import Image

import pixelpyramids as pp
from pixelpyramids.codec import bundled, fallback, fields, kernels
from pixelpyramids.codec.container import Content, FileHeader, Kind, build_file, read_index
from pixelpyramids.codec.fields import MemorySource
from pixelpyramids.errors import BitstreamError

DOCS = Path(__file__).parent.parent / "docs"
DECODER = DOCS / "ppyr_decoder.py"
WEIGHTS = bundled.ASSETS / bundled.MODELS["compact"]


def loaded():
    spec = importlib.util.spec_from_file_location("ppyr_decoder", DECODER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


decoder = loaded()
NAME = bundled.load_model("compact", 1).network.name  # what files call the model


@pytest.fixture(scope="module")
def weights():
    return WEIGHTS.read_bytes()


def pixels(kind, shape, depth, wide=None, seed=0):
    """Noise, or smooth with some noise, of equal colours, of few values, constant, or constant but for a corner."""
    rng, n = np.random.default_rng(seed), 1 << depth
    y, x = np.mgrid[: shape[0], : shape[1]].reshape(2, *shape[:2], *(1,) * (len(shape) - 2))
    smooth = (0.5 + 0.4 * np.sin(y / 5 + seed) * np.cos(x / 7)) * n
    smooth = smooth + rng.normal(0, 1 + n / 99, smooth.shape)
    array = np.broadcast_to(smooth, shape) + (rng.normal(0, 1, shape) if kind == "smooth" else 0)
    if kind == "noise":
        array = rng.integers(0, n, shape)
    elif kind == "comb":
        array = array // max(n // 16, 1) * max(n // 16, 1)
    elif kind == "constant":
        array = np.full(shape, n - 1)
    elif kind == "corner":
        array = np.where(x < 70, array, n // 2)
    wide = depth > 8 if wide is None else wide
    return array.clip(0, n - 1).astype(np.uint16 if wide else np.uint8)


def assert_agree(array, weights, **options):
    """That the decoder makes the array of its file, and the package too; the file's index."""
    data = pp.encode(array, **options)
    for found in (decoder.decode(data, weights), pp.decode(data)):
        assert found.dtype == array.dtype and found.shape == array.shape and np.array_equal(found, array)
    return read_index(MemorySource(data), 2**28)


@pytest.mark.parametrize("depth", range(1, 17))
def test_the_decoder_agrees_at_every_depth(depth, weights):
    shapes = [(1, 1), (1, 19), (19, 1), (3, 3), (2, 67), (13, 10), (70, 3), (8, 1)]
    kinds = ["smooth", "noise", "grey", "comb", "constant"]
    for number, channels in enumerate((None, 1, 2, 3, 4)):
        shape = shapes[(depth + 3 * number) % len(shapes)]
        kind = kinds[(depth + number) % len(kinds)]
        shape = shape if channels is None else (*shape, channels)
        wide = depth > 8 or (depth + number) % 3 == 0
        assert_agree(pixels(kind, shape, depth, wide, depth), weights, depth=depth, effort="fast")


@pytest.mark.parametrize("kind", ["smooth", "grey"])
@pytest.mark.parametrize("shape", [(5, 7), (6, 6), (9, 12), (17, 16), (1, 30), (30, 1)])
def test_the_decoder_agrees_on_odd_and_even_sides(shape, kind, weights):
    for channels in (2, 3, 4):
        assert_agree(pixels(kind, (*shape, channels), 8), weights, effort="fast")


@pytest.mark.parametrize("shape", [(3, 1300), (1300, 3), (2, 780, 3), (1, 770, 2)])
def test_the_decoder_agrees_across_tiles(shape, weights):
    index = assert_agree(pixels("smooth", shape, 8), weights, effort="fast")
    tiles = [part.tiles[0] for part, _ in index.header.layout() if not part.is_base]
    assert sum(tile.octave == 0 for tile in tiles) > 1
    if max(shape) == 1300:  # the coarser octave is one tile of more sites than others
        assert max(max(tile.bottom - tile.top, tile.right - tile.left) for tile in tiles) == 325


def test_parts_of_every_kind_occur_and_agree(weights):
    kinds = set()
    for array in (
        pixels("corner", (20, 1100), 8),
        pixels("noise", (20, 70), 8),
        pixels("noise", (9, 9, 3), 16),
        pixels("constant", (70, 70, 4), 12),
    ):
        kinds |= {entry.kind for entry in assert_agree(array, weights, effort="fast").entries}
    assert kinds == set(Kind)


def test_lists_of_values_and_gains_occur_and_agree(weights):
    header = assert_agree(pixels("comb", (72, 64), 10), weights, effort="fast", depth=10).header
    assert header.values and header.bits < 8
    header = assert_agree(pixels("smooth", (20, 20, 2), 16), weights, effort="fast").header
    assert max(header.gains[0]) > 0 and len(header.gains) == 2
    # a list of more values than 8 bits have, in a file of 3 x 4 pixels and so one octave
    header = FileHeader(3, 4, 1, True, True, 16, Content.MODEL, NAME, values=tuple(range(0, 60000, 100)), gains=((2,),))
    data = build_file(header, [(Kind.STORED, np.packbits([0, 1] * 60).tobytes())])
    assert np.array_equal(decoder.decode(data, weights), np.full((3, 4, 1), 100 * 0b0101010101))
    assert np.array_equal(pp.decode(data), decoder.decode(data, weights))


def test_metadata_are_read(weights):
    blobs = {"ICC": bytes(range(256)), "text:Ä": b"", "": b"x"}
    data = pp.encode(pixels("smooth", (6, 6), 8), metadata=blobs)
    assert decoder.read_header(decoder.Fields(data), 2**28).metadata == blobs
    assert np.array_equal(decoder.decode(data, weights), pp.decode(data))


@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
@pytest.mark.parametrize("depth", [1, 8])
def test_streams_of_libraries_agree(depth, channels, weights):
    drawing = np.zeros((60, 90) if channels is None else (60, 90, channels), np.uint8)
    drawing[10:40, 30:80] = (1 << depth) - 1
    drawing[::7, :60, ...] = 1
    assert assert_agree(drawing, weights, depth=depth, effort="max").header.content != Content.MODEL
    if channels in (None, 1):
        for wide_depth in (depth, 16):
            wide = drawing.astype(np.uint16) << (wide_depth - depth)
            assert assert_agree(wide, weights, depth=wide_depth, effort="max").header.content == Content.PNG


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_each_stream_of_a_library_agrees(channels, weights):
    array = pixels("comb", (20, 31, channels), 8)
    opaque = array.copy()
    opaque[..., -1] = 255
    header = FileHeader(20, 31, channels, True, False, 8, Content.MODEL)
    for pixels_ in (array, opaque):
        streams = fallback._library_streams(pixels_, header)
        assert {content for content, _ in streams} == {Content.PNG, Content.WEBP}
        for content, stream in streams:
            data = build_file(replace(header, content=content), [(Kind.STORED, stream)])
            assert np.array_equal(decoder.decode(data, weights), pixels_)
            assert np.array_equal(pp.decode(data), pixels_)


def drawn(kind):
    """A PNG or a WebP that Pillow takes for another image than the header says."""
    grey = Image.fromarray(pixels("smooth", (20, 31), 8))
    colours = Image.fromarray(pixels("smooth", (20, 31, 3), 8))
    palette = colours.quantize(8)
    image, channels, options = {
        "a palette with transparency, of 3 channels": (palette, 3, {"transparency": bytes(range(8))}),
        "a transparent grey": (grey, 1, {"transparency": 3}),
        "a transparent colour": (colours, 3, {"transparency": (1, 2, 3)}),
        "colours for colours and alpha": (colours, 4, {}),
        "grey for colours": (grey, 3, {}),
        "colours for grey": (grey.convert("RGB"), 1, {}),
        "a palette for grey": (grey.convert("P"), 1, {}),
        "grey for grey and alpha": (grey, 2, {}),
        "16 bits for 8": (Image.fromarray(pixels("smooth", (20, 31), 16)), 1, {}),
    }[kind]
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue(), channels


@pytest.mark.parametrize(
    "kind",
    [
        "a palette with transparency, of 3 channels", "a transparent grey", "a transparent colour",
        "colours for colours and alpha", "grey for colours", "colours for grey", "a palette for grey",
        "grey for grey and alpha", "16 bits for 8",
    ],
)  # fmt: skip
def test_a_stream_of_another_kind_is_refused_by_both(kind, weights):
    stream, channels = drawn(kind)
    data = build_file(FileHeader(20, 31, channels, True, False, 8, Content.PNG), [(Kind.STORED, stream)])
    with pytest.raises(decoder.FormatError):
        decoder.decode(data, weights)
    with pytest.raises(BitstreamError):
        pp.decode(data)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("is_wide", [False, True])
def test_a_png_of_other_bits_or_colours_is_refused_by_both(is_wide, channels, weights):
    """Which Pillow would read all the same: of 16 bits the upper 8, of 2 and 4 multiples."""
    palettes = [(1, 3), (2, 3), (4, 3), (8, 3)]
    told = {1: [(1, 0), (8, 0)], 2: [(8, 4)], 3: [(8, 2), *palettes], 4: [(8, 6), *palettes]}[channels]
    if is_wide:
        told = [(16, 0)] if channels == 1 else []
    header = FileHeader(3, 5, channels, True, is_wide, 16 if is_wide else 8, Content.PNG)
    for bits, (colours, samples) in product((1, 2, 4, 8, 16), {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.items()):
        lines = zlib.compress(bytes(3 * (1 + -(-5 * samples * bits // 8))))
        palette = [(b"PLTE", bytes(6))] if colours == 3 else []
        size = struct.pack(">IIBB3x", 5, 3, bits, colours)
        stream = png_of([(b"IHDR", size), *palette, (b"IDAT", lines), (b"IEND", b"")])
        data = build_file(header, [(Kind.STORED, stream)])
        if (bits, colours) in told:
            assert np.array_equal(decoder.decode(data, weights), pp.decode(data))
            continue
        with pytest.raises(decoder.FormatError):
            decoder.decode(data, weights)
        with pytest.raises(BitstreamError):
            pp.decode(data)


@pytest.mark.parametrize("colours, number", [(2, 1), (1, 1), (0, 0), (None, 0), (100, 200)])
def test_a_number_that_the_palette_lacks_is_refused_by_both(colours, number, weights):
    size = struct.pack(">IIBB3x", 2, 1, 8, 3)
    palette = [] if colours is None else [(b"PLTE", bytes(range(3))[::-1] * colours)]
    stream = png_of([(b"IHDR", size), *palette, (b"IDAT", zlib.compress(bytes([0, number, 0]))), (b"IEND", b"")])
    data = build_file(FileHeader(1, 2, 3, True, False, 8, Content.PNG), [(Kind.STORED, stream)])
    if number < (colours or 0):
        assert decoder.decode(data, weights).tolist() == pp.decode(data).tolist() == [[[2, 1, 0]] * 2]
        return
    with pytest.raises(decoder.FormatError):
        decoder.decode(data, weights)
    with pytest.raises(BitstreamError, match="beyond the end of the palette"):
        pp.decode(data)


def test_a_webp_of_more_pixels_than_the_format_has_is_refused_by_both(weights):
    size = ((16382 << 14) + 16382).to_bytes(5, "little")
    webp = b"RIFF" + bytes(4) + b"WEBPVP8L" + bytes(4) + b"\x2f" + size
    data = build_file(FileHeader(16383, 16383, 3, True, False, 8, Content.WEBP), [(Kind.STORED, webp)])
    with pytest.raises(decoder.FormatError, match="does not allow"):
        decoder.decode(data, weights)
    with pytest.raises(BitstreamError, match="no lossless WebP of the image"):
        pp.decode(data)


def test_every_flip_every_cut_and_bytes_behind_are_refused(weights):
    data = pp.encode(pixels("smooth", (9, 7, 2), 8), effort="fast")
    drawing = np.zeros((50, 70, 3), np.uint8)
    drawing[9:20, 5:50] = (9, 200, 30)
    stream = pp.encode(drawing, effort="max")
    assert stream[5] & 12
    for whole in (data, stream):
        for bit in range(8 * len(whole)):
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << bit % 8
            with pytest.raises(decoder.FormatError):
                decoder.decode(bytes(flipped), weights)
        for length in range(len(whole)):
            with pytest.raises(decoder.FormatError):
                decoder.decode(whole[:length], weights)
        with pytest.raises(decoder.FormatError, match="bytes follow"):
            decoder.decode(whole + b"\0", weights)


HEAD = b"\x8fPPY\0\1\x08\1"  # axis, 8 bits, one channel
CONSTANT = [(Kind.CONSTANT, b"\5\0")]


def framed(front, contents=CONSTANT):
    """A file of that header, its checksums right."""
    entries = b"".join(
        fields.encode_varint(len(data) << 2 | kind) + zlib.crc32(data).to_bytes(4, "little") for kind, data in contents
    )
    front += entries
    return front + zlib.crc32(front).to_bytes(4, "little") + b"".join(data for _, data in contents)


def changed(place, byte):
    return HEAD[:place] + bytes([byte]) + HEAD[place + 1 :] + b"\2\2" + NAME


SOUND = framed(HEAD + b"\2\2" + NAME)
REFUSED = {
    "magic": framed(changed(0, 0)),
    "version": framed(changed(4, 1)),
    "bit 7": framed(changed(5, 129)),
    "content 3": framed(changed(5, 13)),
    "grey of one channel": framed(changed(5, 17)),
    "depth 0": framed(changed(6, 0)),
    "depth 9 of bytes": framed(changed(6, 9)),
    "depth 17": framed(HEAD[:5] + b"\3\x11\1\2\2" + NAME + b"\0\0"),
    "no channel": framed(changed(7, 0)),
    "five channels": framed(changed(7, 5)),
    "two channels without axis": framed(HEAD[:5] + b"\0\x08\2\2\2" + NAME),
    "height 0": framed(HEAD + b"\0\2" + NAME),
    "width 0": framed(HEAD + b"\2\0" + NAME),
    "a long varint": framed(HEAD + b"\x82\0\2" + NAME),
    "a side above the limit": framed(HEAD + b"\xff\xff\xff\xff\x0f\1" + NAME),
    "more pixels than the limit": framed(HEAD + b"\x80\x80\x80\x80\1\2" + NAME),
    "an unknown model": framed(HEAD + b"\2\2" + NAME[::-1]),
    "an empty list of values": framed(HEAD[:5] + b"\x21\3\1\2\2" + NAME + fields.pack(b"\0")),
    "a value above the depth": framed(HEAD[:5] + b"\x21\2\1\2\2" + NAME + fields.pack(b"\x21")),
    "a list of two bytes": framed(HEAD[:5] + b"\x21\2\1\2\2" + NAME + fields.pack(b"\1\0")),
    "a list that is cut short": framed(HEAD[:5] + b"\x21\5\1\2\2" + NAME + fields.pack(b"\1")),
    "a list that does not unpack": framed(HEAD[:5] + b"\x21\2\1\2\2" + NAME + b"\2\1xx"),
    "a listed stream": framed(HEAD[:5] + b"\x29\2\1\2\2"),
    "a gain above bits - 8": framed(HEAD[:5] + b"\3\x0a\1\5\5" + NAME + b"\3\0"),
    "metadata twice": framed(HEAD[:5] + b"\x41\x08\1\2\2" + NAME + fields.pack(b"\1a\0\1a\0")),
    "metadata cut short": framed(HEAD[:5] + b"\x41\x08\1\2\2" + NAME + fields.pack(b"\1a\2x")),
    "a part of kind 3": framed(HEAD + b"\2\2" + NAME, [(3, b"\5\0")]),
    "a constant of one byte": framed(HEAD + b"\2\2" + NAME, [(Kind.CONSTANT, b"\5")]),
    "a constant above the depth": framed(HEAD + b"\2\2" + NAME, [(Kind.CONSTANT, b"\5\1")]),
    "too few stored bits": framed(HEAD + b"\2\2" + NAME, [(Kind.STORED, b"\5\1\1")]),
    "stored bits that mean nothing": framed(changed(6, 1), [(Kind.STORED, b"\x08")]),
    "no state": framed(HEAD + b"\2\2" + NAME, [(Kind.MODEL, b"\1\0\0\0")]),
    "a state below 2**32": framed(HEAD + b"\2\2" + NAME, [(Kind.MODEL, b"\0\x80\0\0\0")]),
    "a state of too many bytes": framed(HEAD + b"\2\2" + NAME, [(Kind.MODEL, b"\0\1\0\0\0\0")]),
    "words that are left": framed(HEAD + b"\2\2" + NAME, [(Kind.MODEL, b"\1\0\0\0\0" + bytes(40))]),
    "too few words": framed(HEAD + b"\2\2" + NAME, [(Kind.MODEL, b"\1\0\0\0\0")]),
    "no PNG": framed(HEAD[:5] + b"\x09\x08\1\2\2", [(Kind.STORED, b"PNG")]),
    "no WebP": framed(HEAD[:5] + b"\x05\x08\1\2\2", [(Kind.STORED, b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0")]),
}


def test_the_file_that_refused_ones_are_made_of_is_sound(weights):
    assert np.array_equal(decoder.decode(SOUND, weights), np.full((2, 2, 1), 5))
    assert np.array_equal(pp.decode(SOUND), np.full((2, 2, 1), 5))


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_what_the_format_refuses_both_refuse(data, weights):
    with pytest.raises(decoder.FormatError):
        decoder.decode(data, weights)
    with pytest.raises(BitstreamError):
        pp.decode(data)


def test_a_number_beyond_the_list_of_values_is_refused(weights):
    header = FileHeader(2, 2, 1, True, True, 12, Content.MODEL, NAME, values=(1, 5, 7))
    data = build_file(header, [(Kind.STORED, b"\xe4")])  # 3, 2, 1, 0
    with pytest.raises(decoder.FormatError, match="does not list"):
        decoder.decode(data, weights)
    with pytest.raises(BitstreamError, match="does not list"):
        pp.decode(data)


def test_other_weights_are_refused(weights):
    data = pp.encode(pixels("smooth", (9, 9), 8), effort="fast")
    for other in (weights[:-1] + bytes([weights[-1] ^ 1]), weights[:-1], b"", b"\2\0\0\0\0\0\0\0{}"):
        with pytest.raises(decoder.FormatError, match="weights"):
            decoder.decode(data, other)


def test_from_the_command_line(tmp_path):
    array = pixels("smooth", (9, 12, 3), 8)
    data = pp.encode(array, effort="fast")
    (tmp_path / "a.ppyr").write_bytes(data)
    (tmp_path / "b.ppyr").write_bytes(data[:-1])

    def run(*arguments):
        return subprocess.run(
            [sys.executable, DECODER, *arguments], cwd=tmp_path, env={}, capture_output=True, text=True, check=False
        )

    assert run("a.ppyr", WEIGHTS, "a.npy").returncode == 0
    assert np.array_equal(np.load(tmp_path / "a.npy"), array)
    for arguments, message in (
        (("a.ppyr", WEIGHTS, "a.npy"), "exists"),
        (("b.ppyr", WEIGHTS, "b.npy"), "cut short"),
        (("c.ppyr", WEIGHTS, "c.npy"), "No such file"),
        (("a.ppyr", "b.ppyr", "b.npy"), "weights"),
        (("a.ppyr",), "usage"),
    ):
        ended = run(*arguments)
        assert ended.returncode == 2 and message in ended.stderr and "Traceback" not in ended.stderr
    assert not (tmp_path / "b.npy").exists()


def test_the_decoder_is_short_and_needs_nothing_of_ours():
    text = DECODER.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 520
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.partition(".")[0])
    assert names - set(sys.stdlib_module_names) == {"numpy", "PIL"}
    at_once = [node for node in ast.parse(text).body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert "PIL" not in "".join(map(ast.unparse, at_once))


def test_the_decoders_tables_are_those_of_the_package():
    assert np.array_equal(kernels.POWERS, decoder.POWERS)
    assert np.array_equal(kernels.SIGMOIDS, decoder.SIGMOIDS[:-1])  # the last one repeats, to be interpolated with


def test_the_text_says_which_bytes_a_name_is(weights):
    assert decoder.Network(weights).name == NAME
