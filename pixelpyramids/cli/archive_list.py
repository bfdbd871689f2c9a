"""`archive list`: the images of an archive, one by one."""

import json as json_text
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pixelpyramids.cli import options
from pixelpyramids.cli.archive_opening import matches, open_archive
from pixelpyramids.cli.console import stdout

if TYPE_CHECKING:
    from pixelpyramids.archive.rows import Row


def archive_list(
    archive: options.Archive,
    patterns: options.Patterns = None,
    state: Annotated[
        Literal["done", "waiting", "failed", "skipped", "other"] | None,
        typer.Option(help="List only images in this state; other: files that are not recognised as images."),
    ] = None,
    json: options.Json = False,
) -> int:
    """List the images of an archive: state, bytes before and after, source, and result or error."""
    from pixelpyramids.archive.rows import HAS_FAILED

    condition, parameters = ("state = ?", [state]) if state else ("1", [])
    if state == "failed":
        condition, parameters = HAS_FAILED, []
    with open_archive(archive) as manifest:
        rows = (row for row in manifest.iterate(condition, parameters) if matches(row, patterns or []))
        if json:  # written piece by piece: there may be millions
            comma = ""
            print('{"images": [', end="")
            for row in rows:
                print(f"{comma}{json_text.dumps(_facts(row))}", end="")
                comma = ",\n"
            print("]}")
            return 0
        for row in rows:
            sizes = f"{row.size or 0:>13,} {row.result_size or 0:>13,}"
            result, error = (
                (f" -> {row.result}" if row.state == "done" else ""),
                (f" ({row.error})" if row.error else ""),
            )
            stdout.print(f"{row.state:<8}{sizes}  {row.source_path}{result}{error}")
    return 0


def _facts(row: "Row") -> dict[str, Any]:
    """The columns of a row that people need."""
    facts = row._asdict()
    for internal in ("id", "run", "todo"):
        del facts[internal]
    return facts | {"source": row.source_path}
