"""Pieces of the page as HTML: messages, the bar of progress, the time, and the table of sizes."""

from collections.abc import Sequence
from html import escape

from pixelpyramids.cli.console import format_duration
from pixelpyramids.cli.report.rivals import OURS


def message(text: str) -> str:
    """A line. Screen readers read it out."""
    return f'<p role="status">{escape(text)}</p>'


def failure(text: str) -> str:
    """What went wrong. Screen readers read it out at once."""
    return f'<p role="alert">{escape(text)}</p>'


def plain(text: str) -> str:
    """A paragraph."""
    return f"<p>{escape(text)}</p>"


def bar(text: str, done: int, of: int) -> str:
    """The step that is under way, and how many steps are done."""
    return f'{message(text)}<progress aria-label="steps" value="{done}" max="{of}">{done} of {of}</progress>'


def duration(seconds: float) -> str:
    """The time that the work has taken, which screen readers leave out, because it changes all the time."""
    return f'<span aria-hidden="true">{format_duration(seconds)}</span>'


def size_table(sizes: Sequence[tuple[str, int | None]], original: int) -> str:
    """Bytes by format, ours among them, and of the original file. None if a format cannot hold the image."""
    ours = dict(sizes)[OURS] or 1
    largest = max(original, *(count for _, count in sizes if count))
    lines = "".join(
        f'<tr><th scope="row">{escape(format_name(name))}</th>{_cells(count, ours, largest)}</tr>'
        for name, count in (*sizes, ("your file", original))
    )
    head = "".join(f'<th scope="col">{name}</th>' for name in ("format", "bytes", "beside .ppyr"))
    return (
        "<table><caption>Lossless, except for your file if it is a JPEG or the like. PNG, WebP and JPEG XL without "
        f"metadata.</caption><thead><tr>{head}<td></td></tr></thead><tbody>{lines}</tbody></table>"
    )


def format_name(codec: str) -> str:
    """The name of a codec in words."""
    return codec.replace("JXL -e", "JPEG XL, effort")


def _cells(count: int | None, ours: int, largest: int) -> str:
    if count is None:
        return '<td colspan="3">cannot hold this image</td>'
    share = f'<span style="width: {count / largest:.1%}"></span>'
    return f"<td>{count:,}</td><td>x {count / ours:.2f}</td><td>{share}</td>"
