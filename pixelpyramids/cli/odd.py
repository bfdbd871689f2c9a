"""`odd`: rank images by how unlikely they are for a folder of reference images."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pixelpyramids.cli import options
from pixelpyramids.cli.console import print_json, progress_bar, stderr, stdout
from pixelpyramids.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pixelpyramids.loading import Model


def odd(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of the images to rank.")],
    reference: Annotated[
        Path, typer.Option(metavar="FOLDER", help="A folder of ordinary images, at least 10; better, 100 or more.")
    ],
    top: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Print only the N oddest images (default: all).")
    ] = None,
    json: options.Json = False,
) -> int:
    """Rank images by how unlikely they are for the reference images, the oddest first.

    It compares the bits/dim of the four finest octaves under the bundled network, and of a PNG as a measure of
    complexity, with those of the reference images. The score is a Mahalanobis distance; beside it are the standard
    deviations (z) of the logarithm of each octave's bits, of the differences from one octave to the next, and of the
    PNG's bits; the finest octave comes first. Of an image larger than 256 x 256 pixels, only the centre counts. Status
    1 if an image could not be read.
    """
    import numpy as np

    from pixelpyramids import oddness
    from pixelpyramids.data.splits import find_images
    from pixelpyramids.loading import load

    known, ranked = find_images(reference), find_images(folder)
    model = load("compact")
    failed: list[str] = []
    with progress_bar("images") as advance:

        def report(done: int) -> None:
            advance(done, len(known) + len(ranked))

        of_known = _describe(model, known, failed, report)
        try:
            fitted = oddness.fit(np.array(list(of_known.values())))
        except DataError as error:
            raise DataError(f"{reference}: {error}") from error
        of_ranked = _describe(model, ranked, failed, lambda done: report(len(known) + done))
    distances = fitted.oddness(np.array(list(of_known.values())))
    summary = {"images": len(of_known), "median": float(np.median(distances)), "largest": float(distances.max())}
    images: list[dict[str, Any]] = []
    if of_ranked:
        described = np.array(list(of_ranked.values()))
        images = [
            {"file": str(file), "score": float(score), "z": dict(zip(oddness.NAMES, map(float, z), strict=True))}
            for file, score, z in zip(of_ranked, fitted.oddness(described), fitted.z(described), strict=True)
        ]
    images = sorted(images, key=lambda image: -image["score"])[:top]
    if json:
        print_json({"images": images, "reference": summary, "failed": failed})
        return 1 if failed else 0
    for image in images:
        z = [f"{each:+.1f}" for each in image["z"].values()]
        octaves, differences = " ".join(z[: oddness.OCTAVES]), " ".join(z[oddness.OCTAVES : -1])
        of_all = f"octaves {octaves}  differences {differences}  png {z[-1]}"
        stdout.print(f"{image['score']:.2f}  {of_all}  {image['file']}")
    stderr.inform(
        f"the {summary['images']} reference images: median {summary['median']:.2f}, largest {summary['largest']:.2f}"
    )
    return 1 if failed else 0


def _describe(
    model: "Model", files: Sequence[Path], failed: list[str], report: Callable[[int], None]
) -> "dict[Path, NDArray[Any]]":
    """The features of each image. Failures are printed, and added to `failed`."""
    from pixelpyramids import oddness
    from pixelpyramids.cli.model_opening import read_for

    described = {}
    for number, file in enumerate(files):
        report(number)
        image = None
        try:
            image = read_for(model.config, file).pixels
            cropped = oddness.centre(image)
        except DataError as error:
            failed.append(str(error) if image is None else f"{file}: {error}")
            stderr.print(failed[-1])
            continue
        described[file] = oddness.features(model.rate(cropped[None]), oddness.png_bits_per_dim(cropped))
    return described
