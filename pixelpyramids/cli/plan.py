"""`plan`: measure what each level of a training costs, and print commands that share the levels among devices."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pixelpyramids.cli import model_options, options
from pixelpyramids.cli.console import print_json, progress_bar, stdout
from pixelpyramids.cli.report.figures import new_table

if TYPE_CHECKING:
    from pixelpyramids.training.planning import Share

GIB = 2**30
UNKNOWN = "DIR"  # in the commands, if no folder of images was given


def plan(
    params: Annotated[str, typer.Argument(metavar="PARAMS", help=model_options.PARAMETERS_HELP)],
    devices: Annotated[int, typer.Option(min=1, help="Number of devices that share the levels.")] = 1,
    memory: Annotated[
        float | None, typer.Option(min=0, help="GiB of memory of each device (default: as here).")
    ] = None,
    data: model_options.Data = None,
    out: Annotated[Path, typer.Option(metavar="RUN", help="Run directory to put into the commands.")] = Path("RUN"),
    device: model_options.Device = None,
    json: options.Json = False,
) -> None:
    """Measure what each level costs here, and print the commands that share the training among devices."""
    from pixelpyramids.model.device import choose_device, memory_of
    from pixelpyramids.model.parameters import load_parameters
    from pixelpyramids.training.planning import images_that_fit, measure_levels, share_levels

    config = load_parameters(params)
    chosen = choose_device(device)
    batch_size, here = config.batch_size, memory_of(chosen)
    limit = here if memory is None else int(memory * GIB)
    with progress_bar("levels measured") as report:
        costs = measure_levels(config, chosen, min(limit, here), report)
    levels = [
        {
            "level": cost.index,
            "parameters": cost.parameters,
            "seconds_an_image": cost.seconds,
            "peak_bytes": cost.peak(batch_size),
            "images_that_fit": images_that_fit([cost], batch_size, limit),
        }
        for cost in costs
    ]
    folder = data or config.data_root or UNKNOWN
    command = ["pixelpyramids", "train", params, "--data", folder, "--out", str(out)]
    command += [] if device is None else ["--device", device]
    shares = [
        asdict(share) | {"command": shlex.join([*command, *_share_options(share)])}
        for share in share_levels(costs, devices, batch_size, limit)
    ]
    if json:
        whole = {"params": params, "batch_size": batch_size, "device": str(chosen), "levels": levels, "shares": shares}
        print_json(whole)
        return
    seconds = sum(cost.seconds for cost in costs)
    memory_of_each = f"{limit / GIB:.1f}".removesuffix(".0")
    table = new_table("level", "params", "s an image", "share", f"GiB at {batch_size}", f"fit {memory_of_each} GiB")
    for cost, level in zip(costs, levels, strict=True):
        fit, peak = level["images_that_fit"], cost.peak(batch_size) / GIB
        figures = f"{cost.seconds:.3f}", f"{cost.seconds / seconds:.1%}", f"{peak:.2f}"
        fitting = f"all {fit}" if fit == batch_size else f"{fit} at once"
        table.add_row(str(cost.index), str(cost.parameters), *figures, fitting)
    stdout.print(table)
    slowest = max(share["seconds_of_step"] for share in shares)
    stdout.print(
        f"a step of all levels on {batch_size} images: {batch_size * seconds:.1f} s on one {chosen.type}; with "
        f"{len(shares)} devices {slowest:.1f} s, {batch_size * seconds / slowest:.2f} times as fast"
    )
    if len(shares) > 1 and slowest == batch_size * max(cost.seconds for cost in costs):
        stdout.print(
            "the most expensive level fills a device by itself: more devices help only if they share its batches "
            "(torchrun, docs/howto/cluster.md)"
        )
    for share in shares:
        stdout.print()
        stdout.print(f"# {share['seconds_of_step']:.1f} s a step, {share['peak_bytes'] / GIB:.1f} GiB")
        stdout.print(share["command"])
    if folder == UNKNOWN:
        stdout.print()
        stdout.print(f"replace {UNKNOWN} with the folder of your images, or pass --data to `plan`")


def _share_options(share: "Share") -> list[str]:
    micro_batch = [] if share.micro_batch is None else ["--micro-batch", str(share.micro_batch)]
    return ["--levels", ",".join(map(str, share.levels)), *micro_batch]
