"""`curve`: the training curve of a run, as a picture."""

from pathlib import Path

from pixelpyramids.atomic import refuse_existing
from pixelpyramids.cli.console import out
from pixelpyramids.cli.report.curves import read_curve, save_curve
from pixelpyramids.training.run_directory import read_parameters


def curve(run: Path, picture: Path | None, overwrite: bool) -> None:
    """Draw bits/dim over steps, from the run's log, to `picture` or to RUN/curve.png, and print its path.

    Raises CheckpointError if `run` is not a run directory, and PixelPyramidsError if it has logged nothing yet, or if
    the picture exists and `overwrite` is false.
    """
    config = read_parameters(run)
    picture = run / "curve.png" if picture is None else picture
    refuse_existing(picture, overwrite)
    save_curve(picture, read_curve(run, config.L), f"{config.dataset_name}, bits/dim over steps")
    out.print(f"the training curve of {run} is in {picture}", soft_wrap=True)
