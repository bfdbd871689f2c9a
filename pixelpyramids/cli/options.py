"""The options of commands that work on image files, and of all commands."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and write nothing.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print only failures and warnings.")]
Effort = Annotated[
    Literal["fast", "default", "max"],
    typer.Option(
        help="How much time to spend on smaller files; the smallest result is kept. fast: the network, and context "
        "mixing if it saves 2 %; default: mixing if it saves 0.3 %, and PNG and lossless WebP if they may be smaller; "
        "max: always all of them, and a slower WebP if it may be smaller."
    ),
]
OutBeside = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder to write to (default: beside the sources). If you give several folders, each gets a subfolder.",
    ),
]
Jobs = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=1,
        help="Work on N files at the same time. A single file already uses all processors, so this helps only with "
        "many small images. Memory grows with N.",
    ),
]
ArchiveJobs = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Work on N images at the same time (default: the number of processors)."),
]
Archive = Annotated[
    str, typer.Argument(metavar="ARCHIVE", help="Folder or remote address that `compress --out` has written.")
]
Patterns = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PATTERN",
        help="Only images whose source or result matches by name or path, such as '*.png' (default: all).",
    ),
]
MaxPixels = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=1,
        show_default=False,
        help="Refuse images of more than N pixels (height x width), which may not fit in memory. With more than four "
        "channels, the limit is lower (default: 268,435,456).",
    ),
]
ImagePaths = Annotated[list[Path], typer.Argument(metavar="PATH", help="Images, or folders of images.")]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATTERN", help="Leave out files and folders whose name or path matches, such as '*.jpg'; repeatable."
    ),
]
CompressedFiles = Annotated[
    list[Path], typer.Argument(metavar="PATH", help=".ppyr files, folders of them, or - for standard input.")
]
