"""benchmarks.evidence: which images are compared, and how the tables of docs/evidence/codecs.md are written."""

from pathlib import Path

import numpy as np
import pytest
from command_line import ROOT

from benchmarks import evidence
from benchmarks.domains import DOMAINS, Sample
from benchmarks.photographs import PACKAGED
from pixelpyramids.cli.report.measurements import Row
from pixelpyramids.cli.report.rivals import OURS, Cost


def row(name, ours, nine, webp=999, **changed):
    """An image of half a megapixel that .ppyr encodes in one second and decodes in two."""
    costs = {OURS: Cost(ours, 1.0, 2.0), "WebP": webp and Cost(webp, 4.0, 0.1), evidence.BASE: Cost(nine, 5.0, 0.5)}
    return Row(name, "PNG", False, 500, 1000, 3, 8, costs)._replace(**changed)


def test_no_image_chose_anything_and_each_has_one_source_and_one_domain():
    samples = [sample for domain in DOMAINS.values() for sample in domain]
    names = [sample.name for sample in samples]
    assert len(set(names)) == len(names) and all(sample.source for sample in samples)
    chose = {Path(file).stem for splits in PACKAGED.values() for file in splits["validation"]} | {"flower"}
    assert not any(name.startswith(tuple(chose)) for name in names)


def test_every_image_is_of_its_depth_and_the_same_each_time():
    for domain in DOMAINS.values():
        for sample in domain:
            pixels, depth = sample.load()
            assert pixels.dtype == (np.uint8 if depth == 8 else np.uint16) and pixels.ndim in (2, 3)
            assert 1 < int(pixels.max()) < 1 << depth
            assert np.array_equal(sample.load()[0], pixels)


def test_images_are_measured_like_those_of_bench():
    found = {OURS: evidence.ours("fast"), "PNG": evidence.rivals(strongest=False)[0]}
    pixels = np.arange(48, dtype=np.uint8).reshape(6, 8)
    measured = evidence.measure(Sample("ramp", "drawn", lambda: (pixels, 8)), found)
    assert (measured.height, measured.width, measured.channels, measured.is_lossy) == (6, 8, 1, False)
    assert list(measured.costs) == [OURS, "PNG"] and all(cost.bytes > 0 for cost in measured.costs.values())


def test_the_worst_image_comes_first_and_the_fewest_bytes_are_bold():
    rows = evidence.worst_first([row("good", 80, 100), row("bad", 1200, 1000), row("even", 100, 100, None)])
    header, _, *lines = evidence.sizes(rows).splitlines()
    assert header == "| bytes | .ppyr / JXL -e 9 | .ppyr | WebP | JXL -e 9 |"
    assert lines == [
        "| bad, 1000x500 RGB | 1.200 | 1,200 | **999** | 1,000 |",
        "| even, 1000x500 RGB | 1.000 | **100** | – | **100** |",
        "| good, 1000x500 RGB | 0.800 | **80** | 999 | 100 |",
    ]
    assert [evidence.is_lost(row) for row in rows] == [True, False, False]


def test_depth_channels_and_former_jpegs_are_named():
    assert evidence.describe(row("a", 1, 1, channels=1, depth=12)) == "a, 1000x500 grey, 12 bits"
    assert evidence.describe(row("a", 1, 1, channels=4, is_lossy=True)) == "a, 1000x500 RGB + alpha (JPEG)"


def test_speeds_are_of_both_directions():
    _, _, line = evidence.speeds([row("a", 80, 100, None)]).splitlines()
    assert line == "| a | 0.50, 0.25 | – | 0.10, 1.00 |"
    assert "| .ppyr | 0.50 | 0.25 |" in evidence.total_speeds([row("a", 80, 100), row("b", 80, 100)])


def test_the_summary_compares_each_domain_and_all_images():
    domains = {"one": [row("a", 80, 100)], "two": [row("b", 300, 200, None)]}
    _, _, *lines = evidence.summary(domains).splitlines()
    assert lines == [
        "| one | 1 | 0 | 80 | 0.080 | 0.800 |",
        "| two | 1 | 1 | 300 | – | 1.500 |",
        "| all | 2 | 1 | 380 | 0.080 | 1.267 |",
    ]


def test_the_worst_domain_comes_first_and_speeds_can_be_left_out(monkeypatch):
    monkeypatch.setattr(evidence, "versions", lambda: "Versions.")
    measured = {"good": [row("a", 80, 100)], "bad": [row("b", 300, 200)]}
    text = evidence.report(measured, with_speeds=True)
    assert text.index("### bad") < text.index("### good") < text.index("### Where")
    assert text.count("MP/s") == 3
    assert "MP/s" not in evidence.report(measured, with_speeds=False)


def test_only_the_tables_of_a_page_are_replaced():
    page = f"before\n{evidence.BEGIN}\nold\n{evidence.END}\nafter\n"
    replaced = evidence.replace_tables(page, "new")
    assert replaced == f"before\n{evidence.BEGIN}\n\nnew\n\n{evidence.END}\nafter\n"
    assert evidence.replace_tables(replaced, "new") == replaced
    for wrong in ("", page + page, f"{evidence.END}\n{evidence.BEGIN}\n"):
        with pytest.raises(ValueError, match="expected one line"):
            evidence.replace_tables(wrong, "new")


def test_the_page_has_a_table_for_each_domain_and_the_sources_as_they_are_now():
    text = (ROOT / "docs" / "evidence" / "codecs.md").read_text(encoding="utf-8")
    assert all(f"### {domain}\n" in text for domain in DOMAINS)
    assert evidence.sources(DOMAINS) in text
    assert evidence.replace_tables(text, "new").count("###") < text.count("###")
