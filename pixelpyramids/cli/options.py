"""The options of commands that work on image files, and of all commands."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, but write nothing.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print only failures and warnings.")]
Effort = Annotated[
    Literal["fast", "default", "max"],
    typer.Option(
        help="How hard to try; the smallest result is kept. fast: the network, and context mixing if it saves 2 %; "
        "default: mixing if it saves 0.3 %, and PNG and lossless WebP if they look promising; max: all of them, and a "
        "slower WebP if it may win."
    ),
]
OutBeside = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder to write to; several source folders get a subfolder each (default: beside the sources).",
    ),
]
Jobs = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=1,
        help="Process N files at the same time. One file uses all processors too, so this helps only with many small "
        "images; memory grows with N.",
    ),
]
MaxPixels = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=1,
        show_default=False,
        help="Refuse images of more than N pixels (height x width) of four channels, which may not fit in memory "
        "(default: 268,435,456).",
    ),
]
ImagePaths = Annotated[list[Path], typer.Argument(metavar="PATH", help="Images, or folders of images.")]
Exclude = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="Skip files whose name or path matches, such as '*.jpg'; repeatable."),
]
CompressedFiles = Annotated[
    list[Path], typer.Argument(metavar="PATH", help=".ppyr files, folders of them, or - for standard input.")
]
