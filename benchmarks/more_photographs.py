"""Make the further training photographs from clones of the public repositories that hold them.

    git clone https://github.com/OWNER/NAME CLONES/NAME      # the eight repositories that the model's card lists
    python -m benchmarks.more_photographs CLONES FOLDER
    python -m benchmarks.photographs DIR --more FOLDER

more_photographs.jsonl, next to this file, says for each photograph which blob of which repository it is made of. The
JPEG is decoded, scaled down, which removes its traces, and cut to a box.
"""

import argparse
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from PIL import Image

MANIFEST = Path(__file__).with_suffix(".jsonl")


def read_manifest() -> list[dict[str, Any]]:
    """Of each photograph: file, repository, blob, path, licence, scale, box (x, y, width, height)."""
    return [json.loads(line) for line in MANIFEST.read_text(encoding="utf-8").splitlines()]


def run_git(clone: Path, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    """Run git in a clone."""
    return subprocess.run(["git", "-C", str(clone), *arguments], capture_output=True, check=False)


def make_photograph(data: bytes, scale: float, box: tuple[int, int, int, int]) -> Image.Image:
    """The photograph that a JPEG gives: scaled by Lanczos, and cut."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    image = image.resize((round(scale * image.width), round(scale * image.height)), Image.Resampling.LANCZOS)
    left, top, width, height = box
    return image.crop((left, top, left + width, top + height))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clones", type=Path, metavar="CLONES", help="a folder with the clones, by their names")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a folder that does not exist yet")
    arguments = parser.parse_args()
    if arguments.folder.exists():
        parser.error(f"{arguments.folder} exists already; name another folder, or remove it")
    photographs = read_manifest()
    clones = {one["repository"]: arguments.clones / one["repository"].partition("/")[2] for one in photographs}
    missing = [repository for repository, clone in clones.items() if not clone.is_dir()]
    if missing:
        parser.error(f"expected clones of all repositories in {arguments.clones}, got none of {', '.join(missing)}")
    for one in photographs:
        clone = clones[one["repository"]]
        if run_git(clone, "cat-file", "-e", one["blob"]).returncode:
            parser.error(f"{clone} has no blob {one['blob']} ({one['path']}); clone its whole history")
    arguments.folder.mkdir(parents=True)
    for number, one in enumerate(photographs, 1):
        print(f"{number} of {len(photographs)}: {one['repository']} {one['path']}", file=sys.stderr)
        data = run_git(clones[one["repository"]], "cat-file", "blob", one["blob"]).stdout
        make_photograph(data, one["scale"], one["box"]).save(arguments.folder / one["file"], lossless=True)


if __name__ == "__main__":
    main()
