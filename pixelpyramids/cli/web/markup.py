"""Pieces of the page as HTML: messages, the bar of progress, and the table of sizes."""

from collections.abc import Sequence
from html import escape

from pixelpyramids.cli.console import format_duration
from pixelpyramids.cli.report.rivals import OURS


def message(text: str) -> str:
    """A line, which screen readers read out."""
    return f'<p role="status">{escape(text)}</p>'


def failure(text: str) -> str:
    """What went wrong, which screen readers read out at once."""
    return f'<p role="alert">{escape(text)}</p>'


def bar(text: str, done: int, of: int, seconds: float) -> str:
    """The step that is under way, the time since the first, and how many steps are done."""
    return (
        f'<label role="status">{escape(text)}, {format_duration(seconds)}'
        f'<progress value="{done}" max="{of}">{done} of {of}</progress></label>'
    )


def size_table(sizes: Sequence[tuple[str, int | None]], original: int) -> str:
    """Bytes by format, ours among them, and of the original file. None if a format cannot hold the image."""
    ours = dict(sizes)[OURS] or 1
    largest = max(original, *(count for _, count in sizes if count))
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{_cells(count, ours, largest)}</tr>'
        for name, count in (*sizes, ("this file", original))
    )
    head = "".join(f'<th scope="col">{name}</th>' for name in ("format", "bytes", "times .ppyr"))
    return (
        "<table><caption>Without loss; PNG, WebP and JPEG XL (JXL) without metadata</caption>"
        f"<thead><tr>{head}<td></td></tr></thead><tbody>{lines}</tbody></table>"
    )


def _cells(count: int | None, ours: int, largest: int) -> str:
    if count is None:
        return '<td colspan="3">cannot hold this image</td>'
    return f'<td>{count:,}</td><td>{count / ours:.2f}</td><td><span style="width: {count / largest:.1%}"></span></td>'
