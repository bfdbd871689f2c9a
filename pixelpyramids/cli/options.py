"""What several commands share: options, and how their modules are imported."""

from typing import Annotated, Any

import typer

from pixelpyramids.extras import import_extra

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def load_commands(name: str) -> Any:
    """A module of `commands`, imported when it is needed: most are slow to import."""
    return import_extra(f"pixelpyramids.cli.{name}")
