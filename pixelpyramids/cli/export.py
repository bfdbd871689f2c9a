"""`export`: a trained compact model as the integers that the codec runs."""

from pathlib import Path

from pixelpyramids.atomic import refuse_existing
from pixelpyramids.cli.console import out
from pixelpyramids.training.export import exported
from pixelpyramids.training.run_directory import load


def export(run: Path, file: Path, *, overwrite: bool) -> None:
    """Write the integers of the run's model, once all bounds are proven, and say what files would call it."""
    refuse_existing(file, overwrite)
    network = exported(load(run), file)
    out.print(f"{file}: model {network.name.hex()}", soft_wrap=True)
