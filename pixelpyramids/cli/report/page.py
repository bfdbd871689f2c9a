"""Self-contained HTML pages: text, tables, pictures and charts in one file, without scripts or anything to download.

    pictures = grid(picture(encode_png(image, 8), "a drawn image") for image in images)
    sections = [Section("Samples", [paragraph("Drawn with seed 0."), pictures])]
    write_page(Path("report.html"), page("A run", "Eight samples.", sections))

Functions that take `str` escape it; `Html` is markup that a function here has made. Pages follow the browser's choice
of light or dark, and fit telephones.
"""

import base64
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NewType

from pixelpyramids.atomic import write_text
from pixelpyramids.extras import import_extra
from pixelpyramids.terminal import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Html = NewType("Html", str)

SMALL = 256  # pixels: a smaller picture is enlarged with sharp edges, a larger one smoothed

_STYLE = """
:root { color-scheme: light dark; --ink: #222; --faint: #666; --paper: #fff; --line: #ddd; --box: #f5f5f5;
  --warning: #fff3d6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e4e4; --faint: #a0a0a0; --paper: #16181b; --line: #3a3d42;
  --box: #212429; --warning: #43361a; } .chart svg { filter: invert(1) hue-rotate(180deg); } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 62rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; padding-top: 1rem; border-top: 1px solid var(--line); }
p { max-width: 44rem; margin: .5rem 0; }
a { color: inherit; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: 1rem 0 0; padding: 0; list-style: none; }
.notice { padding: .5rem .75rem; border-radius: .25rem; background: var(--warning); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .75rem 0; font-size: .9375rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--faint); padding-bottom: .25rem; }
th, td { padding: .25rem .9rem .25rem 0; text-align: left; vertical-align: top; }
th { font-weight: 600; }
thead th { border-bottom: 1px solid var(--faint); }
.figures { overflow-wrap: normal; }
.figures th + th, .figures td { text-align: right; white-space: nowrap; }
.figures tbody th, .facts th { font-weight: 400; }
.facts th { color: var(--faint); white-space: nowrap; }
tr.total > * { font-weight: 600; border-top: 1px solid var(--line); }
pre { margin: .5rem 0; padding: .6rem .8rem; border-radius: .25rem; background: var(--box); white-space: pre-wrap;
  font-size: .875rem; }
figure { margin: .75rem 0; min-width: 0; }
figcaption { color: var(--faint); font-size: .875rem; line-height: 1.35; margin-top: .25rem; }
figure img { display: block; width: 100%; height: auto; background: var(--box); }
img.small { image-rendering: pixelated; }
.chart { max-width: 40rem; }
.chart svg { display: block; width: 100%; height: auto; }
.chart svg * { stroke-linejoin: round; stroke-linecap: butt; }
.grid { display: grid; gap: 1rem; margin: .75rem 0; }
.grid > figure { margin: 0; }
""".strip()


class Section(NamedTuple):
    """A part of a page, and its heading."""

    heading: str
    content: Sequence[Html]


def text(plain: str) -> Html:
    """Plain text as markup. Control characters, and bytes of file names that are not text, are shown as codes."""
    return Html(escape(printable(plain)))


def paragraph(plain: str) -> Html:
    """A paragraph."""
    return Html(f"<p>{text(plain)}</p>")


def notice(plain: str) -> Html:
    """A paragraph that is hard to miss."""
    return Html(f'<p class="notice">{text(plain)}</p>')


def command(line: str) -> Html:
    """A command line."""
    return Html(f"<pre><code>{text(line)}</code></pre>")


def table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "", has_total: bool = False) -> Html:
    """A table: a column of names, then columns of figures; with `has_total`, the last row is a sum of the others."""
    body = [_row(row) for row in rows]
    if has_total:
        body[-1] = body[-1].replace("<tr>", '<tr class="total">', 1)
    columns = "".join(f'<th scope="col">{text(name)}</th>' for name in head)
    title = f"<caption>{text(caption)}</caption>" if caption else ""
    return _scrolling(
        f'<table class="figures">{title}<thead><tr>{columns}</tr></thead><tbody>{"".join(body)}</tbody></table>',
        caption or head[0],
    )


def facts(entries: Mapping[str, str]) -> Html:
    """A table of names, each with what is known of it."""
    return Html(f'<table class="facts"><tbody>{"".join(map(_row, entries.items()))}</tbody></table>')


def picture(png: bytes, alt: str, caption: str = "", shape: tuple[int, int] | None = None) -> Html:
    """A PNG, as wide as its place on the page. `alt` says what is to be seen.

    With `shape` (height, width), it is stretched to those proportions.
    """
    width, height = (int.from_bytes(png[at : at + 4]) for at in (16, 20))  # in the header that every PNG starts with
    proportions = f' style="aspect-ratio:{shape[1]}/{shape[0]}"' if shape else ""
    kind = ' class="small"' if max(width, height) <= SMALL else ""
    data = base64.b64encode(png).decode()
    image = (
        f'<img{kind} src="data:image/png;base64,{data}" alt="{text(alt)}" width="{width}" height="{height}"'
        f"{proportions}>"
    )
    return Html(f"<figure>{image}{_caption(caption)}</figure>")


def chart(figure: "Figure", name: str, alt: str, caption: str = "") -> Html:
    """A figure of matplotlib as SVG. `name`, of letters and digits, is the figure's own on the page.

    Draw it with a transparent background and in the colours of a white page: a dark page inverts their lightness. A
    width of 5.2 inches and text of 9 to 11 points can be read on telephones.
    """
    matplotlib = import_extra("matplotlib", "plots")
    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "path"}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style)\b.*?</\1>|<!--.*?-->", "", svg, flags=re.DOTALL)
    view = re.search(r'viewBox="[^"]*"', svg)
    assert view is not None  # matplotlib writes it
    # Identifiers are those of a file, and a page holds several.
    content = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg[svg.index(">") + 1 :])
    svg = f'<svg {view[0]} role="img" aria-label="{text(alt)}">{content.strip()}'
    return Html(f'<figure class="chart">{svg}{_caption(caption)}</figure>')


def grid(figures: Iterable[Html], narrowest: float = 10) -> Html:
    """Figures side by side, as many in a row as leave each a width of `narrowest` times the text's height."""
    columns = f"repeat(auto-fill, minmax(min({narrowest:g}rem, 100%), 1fr))"
    return Html(f'<div class="grid" style="grid-template-columns:{columns}">{"".join(figures)}</div>')


def page(title: str, summary: str, sections: Sequence[Section]) -> Html:
    """A whole page: its title, a sentence or two, links to the sections, and the sections."""
    links = "".join(f'<li><a href="#part-{i}">{text(s.heading)}</a></li>' for i, s in enumerate(sections, 1))
    parts = "".join(
        f'<section id="part-{i}">\n<h2>{text(s.heading)}</h2>\n{"".join(s.content)}\n</section>\n'
        for i, s in enumerate(sections, 1)
    )
    return Html(
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{text(title)}</title>\n'
        f"<style>\n{_STYLE}\n</style>\n</head>\n<body>\n<header>\n<h1>{text(title)}</h1>\n{paragraph(summary)}\n"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n</header>\n<main>\n{parts}</main>\n</body>\n</html>\n'
    )


def write_page(path: Path, whole: Html) -> None:
    """Write a page, whole or not at all."""
    write_text(path, whole)


def _row(cells: Sequence[str]) -> str:
    first, *others = cells
    return f'<tr><th scope="row">{text(first)}</th>{"".join(f"<td>{text(cell)}</td>" for cell in others)}</tr>'


def _caption(plain: str) -> str:
    return f"<figcaption>{text(plain)}</figcaption>" if plain else ""


def _scrolling(content: str, label: str) -> Html:
    """Content that is scrolled by itself where the page is too narrow for it, with the keyboard too."""
    return Html(f'<div class="scroll" role="region" tabindex="0" aria-label="{text(label)}">{content}</div>')
