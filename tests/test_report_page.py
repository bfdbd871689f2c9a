"""Pages are one file: well-formed, escaped, and complete without the network."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from pixelpyramids.cli.report import page
from pixelpyramids.cli.report.pictures import encode_png

VOID = {"img", "meta"}
ODD = "<b>&\"'\x1b\udcff\n"


class Parsed(HTMLParser):
    """A page that was read: tags are balanced, identifiers unique, and all that it needs is inside."""

    def __init__(self, markup):
        super().__init__()
        self.open, self.tags, self.identifiers, self.targets, self.text = [], [], set(), set(), ""
        self.feed(markup)
        self.close()
        assert self.open == []
        assert self.targets <= self.identifiers

    def handle_starttag(self, tag, attributes):
        self.handle_startendtag(tag, attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        values = dict(attributes)
        assert tag != "script" and not any(name.startswith("on") for name in values)
        self.tags.append((tag, values))
        if "id" in values:
            assert values["id"] not in self.identifiers
            self.identifiers.add(values["id"])
        for name in ("src", "href", "xlink:href"):
            if name in values:
                assert re.match("#|data:image/png;base64,", values[name])
                self.targets |= {values[name][1:]} if values[name].startswith("#") else set()
        for value in values.values():
            self.targets |= set(re.findall(r"url\(#(.*?)\)", value or ""))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def read(markup):
    """The page in its markup, which must not name anything outside itself."""
    assert not re.search(r"//\w|@import|url\((?!#)", re.sub(r"base64,[^\"]*", "", markup))
    assert markup.encode()
    return Parsed(markup)


def figure():
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(5.2, 3))
    axes = drawn.add_subplot()
    axes.plot([0, 1], [1, 2], label="<&>")
    axes.legend()
    return drawn


def test_a_page_with_everything_is_well_formed_and_needs_nothing_else(tmp_path):
    image = np.random.default_rng(0).integers(0, 32, (3, 5, 7))
    parts = [
        page.paragraph(ODD), page.notice(ODD), page.command(ODD), page.facts({ODD: ODD}),
        page.table([ODD, "bits"], [[ODD, "1"], [ODD, "2"]], ODD, has_total=True),
        page.grid([page.picture(encode_png(image, 5), ODD, ODD, (8, 8))]),
        page.chart(figure(), "first", ODD, ODD), page.chart(figure(), "second", ODD),
    ]  # fmt: skip
    whole = page.page(ODD, ODD, [page.Section(ODD, parts), page.Section("second", [])])
    page.write_page(tmp_path / "page.html", whole)
    parsed = read((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert parsed.all("b") == []
    assert parsed.text.count("<b>&\"'\\x1b\\udcff\\n") == 16
    (image_tag,) = parsed.all("img")
    assert image_tag["alt"] == "<b>&\"'\\x1b\\udcff\\n" and image_tag["class"] == "small"
    assert (image_tag["height"], image_tag["width"]) == ("5", "7") and "8/8" in image_tag["style"]
    with Image.open(io.BytesIO(base64.b64decode(image_tag["src"].partition(",")[2]))) as shown:
        assert (np.asarray(shown) == ((image * 510 + 31) // 62).transpose(1, 2, 0)).all()
    assert [svg["aria-label"] for svg in parsed.all("svg")] == [image_tag["alt"]] * 2
    assert len(parsed.all("h1")) == 1 and len(parsed.all("h2")) == len(parsed.all("section")) == 2
    assert [row.get("class") for row in parsed.all("tr")].count("total") == 1


def test_the_same_chart_is_the_same_svg():
    assert page.chart(figure(), "name", "") == page.chart(figure(), "name", "")


def test_the_test_would_see_a_page_that_is_not_well_formed():
    for markup in ("<p><b></p>", '<p id="a"></p><p id="a"></p>', '<img src="a.png">', '<a href="#b"></a>', "<script>"):
        with pytest.raises(AssertionError):
            Parsed(markup)
