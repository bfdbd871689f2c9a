"""Constants, tables and rounding in the text of the format equal those of the package."""

import ast
import math
import re
from decimal import Decimal, localcontext
from pathlib import Path

import numpy as np

from pixelpyramids.codec import compact_model, container, image, integer_network, kernels, outputs, parts
from pixelpyramids.pyramid import octaves

DOCS = Path(__file__).parent.parent / "docs"
READERS = {"READ_AHEAD"}  # not part of the format


def constants():
    """The upper-case names in the modules of the format, with their values; for a table, its length."""
    found = {}
    for module in (container, parts, octaves, integer_network, outputs, kernels, compact_model, image):
        for node in ast.parse(Path(module.__file__).read_text(encoding="utf-8")).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            for target in targets:
                value = getattr(module, target.id, None) if isinstance(target, ast.Name) else None
                if isinstance(value, np.ndarray):
                    value = len(value)
                if isinstance(value, int | bytes) and target.id.isupper() and target.id not in READERS:
                    found[f"{module.__name__.rpartition('.')[2]}.{target.id}"] = value
    return found


def test_the_text_names_every_constant_with_its_value():
    text = (DOCS / "format.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+\.[A-Z_]+)` \| ([^|]+) \|", text, re.MULTILINE)
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
        for exact, table, nearest in (
            (powers, kernels.POWERS, Decimal("0.0042")),
            (sigmoids, kernels.SIGMOIDS, Decimal("0.00023")),
        ):
            assert table.tolist() == [int(entry.to_integral_value()) for entry in exact]
            assert min(abs(entry % 1 - half) for entry in exact) > nearest
    assert (kernels.POWERS.sum(), kernels.SIGMOIDS.sum()) == (12151364, 17188257792)


def test_the_coarsest_means_are_the_formulas_nearest_integers():
    for bits in range(1, 17):
        means = outputs.coarsest_outputs(5, 3, bits)[5:20:3].tolist()
        assert means == [math.floor(Decimal(256 * (2 * k - 4) * 2**bits) / 5 + Decimal("0.5")) for k in range(5)]


def test_the_rounding_in_integers_is_half_to_even():
    sums = np.arange(-2000, 40000)
    assert np.array_equal((sums + 63 + ((sums >> 7) & 1)) >> 7, np.rint(sums / 128))
