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


OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
EffortOption = Annotated[
    Effort,
    typer.Option(
        "--effort",
        help="max also tries PNG and lossless WebP for every image, default only if they may be smaller, fast never.",
    ),
]
OutBesideOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Folder to write to; several source folders get a subfolder each (default: beside each file).",
    ),
]
JobsOption = Annotated[
    int,
    typer.Option(
        "--jobs",
        min=1,
        help="Number of files to process at once, each in its own process. A single file uses all processors too.",
    ),
]
MaxPixelsOption = Annotated[
    int,
    typer.Option(
        "--max-pixels", min=1, show_default=False, help="Refuse images with more pixels than this (default: 2**28)."
    ),
]
ExcludeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude", metavar="PATTERN", help="Skip files whose name or path matches, such as '*.jpg'; repeatable."
    ),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and write nothing.")]
QuietOption = Annotated[bool, typer.Option("-q", "--quiet", help="Print only failures and warnings.")]
CompressedArgument = Annotated[
    list[Path], typer.Argument(metavar="PATH…", help=".ppyr files, folders of them, or - to read standard input.")
]
