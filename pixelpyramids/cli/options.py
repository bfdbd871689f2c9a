"""The options of commands that work on image files, and of all commands."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Effort(StrEnum):
    """Which formats compete for the smallest file."""

    FAST = "fast"
    DEFAULT = "default"
    MAX = "max"


Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, but write nothing.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print only failures and warnings.")]
EffortOption = Annotated[
    Effort, typer.Option(help="Also try PNG and lossless WebP: max always, default if they may be smaller, fast never.")
]
OutBeside = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder to write to; several source folders get a subfolder each (default: beside the sources).",
    ),
]
Jobs = Annotated[int, typer.Option(min=1, help="Files to process at once. Even a single file uses all processors.")]
MaxPixels = Annotated[
    int, typer.Option(min=1, show_default=False, help="Refuse images with more pixels than this (default: 2**28).")
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="Skip files whose name or path matches, such as '*.jpg'; repeatable."),
]
CompressedFiles = Annotated[
    list[Path], typer.Argument(metavar="PATH…", help=".ppyr files, folders of them, or - for standard input.")
]
