"""`export`: a trained compact model as the integers that the codec runs."""

from pathlib import Path

from pixelpyramids.atomic import refuse_existing
from pixelpyramids.checkpoint import load
from pixelpyramids.commands.console import out
from pixelpyramids.export import exported


def export(run: Path, file: Path, *, overwrite: bool) -> None:
    """Write the integers of the run's model, once all bounds are proven, and say what files would call it."""
    refuse_existing(file, overwrite)
    network = exported(load(run), file)
    out.print(f"{file}: model {network.name.hex()}", soft_wrap=True)
