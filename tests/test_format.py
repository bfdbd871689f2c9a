"""The format's text, and the decoder beside it, which shares no code with the package, agree with the package."""

import ast
import math
import re
import subprocess
import sys
from decimal import Decimal, localcontext
from pathlib import Path

import numpy as np
import pytest
from ppyr_files import (
    AXIS,
    DECODER,
    STORED,
    VALUES,
    WEIGHT_BYTES,
    WEIGHTS,
    WIDE,
    File,
    assert_decoded,
    decoder,
    encode_mixed,
    pack,
    pixels,
)

import pixelpyramids as pp
from pixelpyramids.codec import (
    compact_model,
    container,
    distributions,
    image,
    integer_network,
    learning,
    memory,
    mixing,
    outputs,
    parts,
)
from pixelpyramids.codec.container import Kind, read_index
from pixelpyramids.codec.fields import MemorySource
from pixelpyramids.pyramid import octaves


def assert_agree(array, mixed=None, **options):
    """Both decoders return the array; return its file's index. With `mixed`, these channels are mixed."""
    data = pp.encode(array, **options) if mixed is None else encode_mixed(array, mixed, **options)
    assert_decoded(data, array)
    return read_index(MemorySource(data), 2**28)


@pytest.mark.parametrize("depth", range(1, 17))
def test_the_decoder_agrees_at_every_depth(depth):
    shapes = [(1, 1), (1, 19), (19, 1), (3, 3), (2, 67), (13, 10), (70, 3), (8, 1)]
    kinds = ["smooth", "noise", "grey", "comb", "constant"]
    for number, channels in enumerate((None, 1, 2, 3, 4)):
        shape = shapes[(depth + 3 * number) % len(shapes)]
        kind = kinds[(depth + number) % len(kinds)]
        shape = shape if channels is None else (*shape, channels)
        wide = depth > 8 or (depth + number) % 3 == 0
        for mixed in (None, 1 + (depth + number) % 7):
            assert_agree(pixels(kind, shape, depth, wide, depth), mixed, depth=depth, effort="fast")


@pytest.mark.parametrize("kind", ["smooth", "grey"])
@pytest.mark.parametrize("shape", [(5, 7), (6, 6), (9, 12), (17, 16), (1, 30), (30, 1)])
def test_the_decoder_agrees_on_odd_and_even_sides(shape, kind):
    for channels in (2, 3, 4):
        assert_agree(pixels(kind, (*shape, channels), 8), effort="fast")


@pytest.mark.parametrize("channels", [5, 6, 7, 64])
@pytest.mark.parametrize("depth", [8, 16])
def test_the_decoder_agrees_on_many_channels(depth, channels):
    for kind in ("smooth", "comb", "constant"):
        index = assert_agree(pixels(kind, (9, 7, channels), depth), mixed=0)
    assert len(index.entries) == channels // 3 + channels % 3


@pytest.mark.parametrize("shape", [(3, 1300), (1300, 3), (2, 780, 3), (1, 770, 2)])
def test_the_decoder_agrees_across_tiles(shape):
    index = assert_agree(pixels("smooth", shape, 8), mixed=5)
    tiles = [part.tiles[0] for part, _ in index.header.layout() if not part.is_base]
    assert sum(tile.octave == 0 for tile in tiles) > 1
    if max(shape) == 1300:  # the coarser octave is one tile of more sites than others
        assert max(max(tile.bottom - tile.top, tile.right - tile.left) for tile in tiles) == 325


def test_parts_of_every_kind_occur_and_agree():
    kinds = set()
    for array in (
        pixels("corner", (20, 1100), 8),
        pixels("noise", (20, 70), 8),
        pixels("noise", (9, 9, 3), 16),
        pixels("constant", (70, 70, 4), 12),
    ):
        kinds |= {entry.kind for entry in assert_agree(array, effort="fast").entries}
    assert kinds == set(Kind)


def test_lists_of_values_and_gains_occur_and_agree():
    header = assert_agree(pixels("comb", (72, 64), 10), effort="fast", depth=10).header
    assert header.values and header.bits < 8
    header = assert_agree(pixels("smooth", (20, 20, 2), 16), effort="fast").header
    assert max(header.gains[0]) > 0 and len(header.gains) == 2
    # a list of more values than 8 bits can count, and gains, in a file of 3 x 4 pixels, which has one octave
    values = np.zeros(2**16, bool)
    values[:60000:100] = True
    fields = pack(np.packbits(values, bitorder="little").tobytes()) + b"\2"
    stored = (STORED, np.packbits([0, 1] * 60).tobytes())
    file = File(3, 4, AXIS | WIDE | VALUES, 16, fields=fields, parts=(stored,))
    assert_decoded(file, np.full((3, 4, 1), 100 * 0b0101010101, np.uint16))


def test_metadata_is_read():
    metadata = {"ICC": bytes(range(256)), "text:Ä": b"", "": b"x"}
    data = pp.encode(pixels("smooth", (6, 6), 8), metadata=metadata)
    assert decoder.read_header(decoder.Fields(data), 2**28).metadata == metadata


def test_other_weights_are_refused():
    data = pp.encode(pixels("smooth", (9, 9), 8), effort="fast")
    for other in (WEIGHT_BYTES[:-1] + bytes([WEIGHT_BYTES[-1] ^ 1]), WEIGHT_BYTES[:-1], b"", b"\2\0\0\0\0\0\0\0{}"):
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


def test_the_decoder_is_short_and_imports_nothing_of_the_package():
    text = DECODER.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 725
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.partition(".")[0])
    assert names - set(sys.stdlib_module_names) == {"numpy", "PIL"}
    at_once = [node for node in ast.parse(text).body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert "PIL" not in "".join(map(ast.unparse, at_once))


def constants():
    """The upper-case names in the modules of the format, with their values; for a table, its length."""
    found = {}
    modules = (
        container,
        parts,
        octaves,
        integer_network,
        outputs,
        distributions,
        learning,
        memory,
        mixing,
        compact_model,
        image,
    )
    for module in modules:
        for node in ast.parse(Path(module.__file__).read_text(encoding="utf-8")).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            for target in [name for some in targets if some for name in ast.walk(some)]:
                value = getattr(module, target.id, None) if isinstance(target, ast.Name) else None
                if isinstance(value, list):
                    value = len(value)
                if isinstance(value, int | bytes) and target.id.isupper():
                    found[f"{module.__name__.rpartition('.')[2]}.{target.id}"] = value
    return found


def test_the_text_names_every_constant_with_its_value():
    text = (DECODER.parent / "format.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+\.[A-Z][A-Z_0-9]+)` \| ([^|]+) \|", text, re.MULTILINE)
    told = {
        name: bytes.fromhex(value.strip("`")) if value.startswith("`") else eval(value.replace("^", "**"))
        for name, value in rows
    }
    assert told == constants()


def test_the_tables_are_the_formulas_nearest_integers_and_none_is_near_a_tie():
    with localcontext() as context:
        context.prec = 50
        two, half = Decimal(2), Decimal("0.5")
        powers = [two**16 * (-two.ln() * i / 256).exp() for i in range(257)]
        sigmoids = [two**24 / (1 + (-Decimal(i) / 64).exp()) for i in range(-1024, 1025)]
        logarithms = [4096 * (1 + (i + half) / 256).ln() for i in range(256)]
        stretches = [4096 * ((i + half) / (Decimal("4095.5") - i)).ln() for i in range(4096)]
        for exact, table, nearest in (
            (powers, distributions.POWERS, Decimal("0.0042")),
            (sigmoids, distributions.SIGMOIDS, Decimal("0.00023")),
            (logarithms, mixing.LOGARITHMS, Decimal("0.00006")),
            (stretches, mixing.STRETCHES, Decimal("0.00006")),
        ):
            assert table == [int(entry.to_integral_value()) for entry in exact]
            assert min(abs(entry % 1 - half) for entry in exact) > nearest
    assert (sum(distributions.POWERS), sum(distributions.SIGMOIDS)) == (12151364, 17188257792)
    assert np.array_equal(distributions.POWERS, decoder.POWERS)
    assert round(4096 * math.log(2)) == mixing.LN2_OF_4096
    first = memory.initial_memory(5, 1).mixing.maps
    assert (first == [distributions.SIGMOIDS[64 * i] >> 8 for i in range(33)]).all()
    # the decoder repeats the last one, to interpolate with
    assert np.array_equal(distributions.SIGMOIDS, decoder.SIGMOIDS[:-1])


def test_the_coarsest_means_are_the_formulas_nearest_integers():
    for bits in range(1, 17):
        means = outputs.coarsest_outputs(5, 3, bits)[5:20:3].tolist()
        assert means == [math.floor(Decimal(256 * (2 * k - 4) * 2**bits) / 5 + Decimal("0.5")) for k in range(5)]


def test_the_rounding_in_integers_is_half_to_even():
    sums = np.arange(-2000, 40000)
    assert np.array_equal((sums + 63 + ((sums >> 7) & 1)) >> 7, np.rint(sums / 128))
