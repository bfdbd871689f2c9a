"""The page that `report` writes about a run: its training, its samples and its parameters."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pixelpyramids.cli.report.curves import LEVEL, Series, curve_figure, finite_series
from pixelpyramids.cli.report.figures import NOTHING
from pixelpyramids.cli.report.growth import MOST_SIDE, growth_pictures
from pixelpyramids.cli.report.page import Html, Section, chart, facts, grid, page, paragraph, picture, table
from pixelpyramids.cli.report.pictures import encode_png
from pixelpyramids.image_files.bit_depth import Pixels
from pixelpyramids.model.parameters import AnyParameters, Parameters, TrainingParameters
from pixelpyramids.terminal import count_of
from pixelpyramids.training.provenance import Session

SESSIONS_HEAD = ("started (UTC)", "steps", "minutes", "images", "precision", "seed", "device", "torch", "pixelpyramids")


def run_page(run: Path, config: AnyParameters, result: str, sections: Sequence[Section]) -> Html:
    """The page of a run; `result` is a sentence about its bits/dim, or empty."""
    height, width = config.image_size
    levels = f"{count_of(config.n_stages - 1, 'level')} and a coarsest image"
    what = levels if isinstance(config, Parameters) else "one network for all octaves"
    kind = f"{count_of(config.image_channels, 'channel')} of {count_of(config.n_bits, 'bit')}"
    summary = f"A model with {what}, trained on crops of {height} x {width} pixels (height x width), {kind}. {result}"
    return page(f"{config.dataset_name}: report of {run.resolve().name}", summary.strip(), sections)


def training_section(series: dict[str, Series], sessions: Sequence[Session]) -> Section:
    """Learning curves, and a table of the sessions in which the run was trained."""
    series, content = finite_series(series), []
    overall = {name: each for name, each in series.items() if not name.startswith(LEVEL)}
    levels = {name: each for name, each in series.items() if name.startswith(LEVEL)}
    charts = []
    if overall:
        text = "All levels together. Training: the mean of the latest batches; validation: images not trained on"
        charts.append(chart(curve_figure(overall), "curve", _alt("all levels", overall), text))
    if len(levels) > 1 or not overall:
        text = "Each level on the training batches; level 0 is the finest, and the last one the coarsest image"
        if levels:
            charts.append(chart(curve_figure(levels), "levels", _alt("each level", levels), text))
    if charts:
        content = [
            paragraph(
                "Bits/dim over the steps of the training: the bits that each value of an image takes. Lower is better. "
                "A curve that still falls at its end says that a longer training would help; a validation that rises "
                "while the training falls says that the model has begun to learn its images by heart. The legends "
                "give the last values."
            ),
            grid(charts, narrowest=20),
        ]
    else:
        content = [paragraph("There is no curve, because the run has no log: its weights were imported or copied.")]
    if sessions:
        content.append(table(SESSIONS_HEAD, map(_session_cells, sessions), "Each time that the run was trained"))
    return Section("Training", content)


def nothing_scored_section() -> Section:
    """What a page says if no images were scored."""
    text = (
        "No images were scored. `pixelpyramids report RUN --data DIR` adds the bits/dim and calibration of each level."
    )
    return Section("Likelihood", [paragraph(text)])


def samples_section(samples: Pixels, n_bits: int, seed: int, remarks: Sequence[str]) -> Section:
    """Samples (N, C, H, W) as pictures, and what is to be said of how many there are."""
    content = []
    if len(samples):
        content = [
            paragraph(
                f"{count_of(len(samples), 'image')} that the model drew with seed {seed}, none of them selected. The "
                "more they look like the training images, the more the model has learned."
            ),
            _sample_grid(samples, n_bits),
        ]
    return Section("Samples", [*map(paragraph, remarks), *content])


def growth_section(config: AnyParameters, sample: Pixels) -> Section:
    """One sample (C, H, W) from the coarsest image to the whole one."""
    doubled = "adds every second row or column" if isinstance(config, Parameters) else "doubles both sides"
    text = (
        f"The first sample as the model drew it, from coarse to fine. Each step {doubled} to the picture before it, "
        "whose pixels stay as they are. All are stretched to one size; captions give height x width in pixels."
    )
    return Section("One sample, level by level", [paragraph(text), growth_pictures(config, sample)])


def parameters_section(config: AnyParameters) -> Section:
    """All keys of the run's parameters."""
    entries = {key: _plain(value) for key, value in config.model_dump(mode="json").items()}
    shared = TrainingParameters.model_fields
    training, network = ({k: v for k, v in entries.items() if (k in shared) is which} for which in (True, False))
    text = (
        "The keys of the run's parameter file, with the defaults of those that it leaves out: left the data and the "
        "training, right (on narrow screens, below) the network."
    )
    return Section("Parameters", [paragraph(text), grid([facts(training), facts(network)], narrowest=20)])


def _sample_grid(samples: Pixels, n_bits: int) -> Html:
    shown = (
        picture(encode_png(sample, n_bits, MOST_SIDE), f"Sample {number} of the model", f"sample {number}")
        for number, sample in enumerate(samples)
    )
    return grid(shown, narrowest=8)


def _alt(what: str, series: dict[str, Series]) -> str:
    last = ", ".join(f"{name} ends at {bits[-1]:.2f}" for name, (_, bits) in series.items())
    return f"Bits/dim of {what} over the steps: {last}"


def _session_cells(session: Session) -> list[str]:
    levels = session["levels"].values()
    steps = f"{min(at['first_step'] for at in levels):,} to {max(at['step'] for at in levels):,}" if levels else NOTHING
    minutes = f"{max(at['minutes'] for at in levels):.1f}" if levels else NOTHING
    images, started = session["training_data"]["images"], str(session.get("started", NOTHING))
    software = [str(session.get(key, NOTHING)) for key in ("device", "torch", "package")]
    return [
        started[:16].replace("T", " "),
        steps,
        minutes,
        NOTHING if images is None else f"{images:,}",
        session["precision"],
        str(session.get("seed", NOTHING)),
        *software,
    ]


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "none" if value is None else str(value)
