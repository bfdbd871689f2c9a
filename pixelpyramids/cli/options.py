"""What several commands share: options, and how their modules are imported."""

from typing import Annotated, Any

import typer

from pixelpyramids.extras import imported

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def load_commands(name: str) -> Any:
    """A module of `commands`, imported when it is needed: most are slow to import."""
    return imported(f"pixelpyramids.cli.{name}")
