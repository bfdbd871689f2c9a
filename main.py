"""The command of the authors' release: `python main.py --params_file ./params/celeba_256.json [--gen_samples]`.

Trains in the run directory ckpts/{dataset_name}_{batch_size}_{n_bits}/, or resumes it. With --gen_samples it draws
pictures to samples/{dataset_name}_{batch_size}_{n_bits}/; with --evaluate it prints bits/dim on the test split. Without
a run directory, both read a checkpoint of the authors, ckpts/{dataset_name}_{batch_size}_{n_bits}.pt. For the files
{dataset_name}_authors.json, both folders are named {dataset_name}_authors_{batch_size}_{n_bits}/.
"""

import argparse
import sys
from pathlib import Path

from pixelpyramids.cli.evaluate import evaluate
from pixelpyramids.cli.exit_status import run
from pixelpyramids.cli.sample import sample
from pixelpyramids.cli.train import train
from pixelpyramids.errors import CheckpointError
from pixelpyramids.extras import import_extra
from pixelpyramids.model.parameters import AnyParameters, load_parameters, parse_parameters


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line: the authors' flags and defaults, and ours."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params_file", default="./params/lsun_bedroom.json", help="default: %(default)s")
    parser.add_argument("--gen_samples", action="store_true", help="draw samples instead of training")
    parser.add_argument("--num_samples", type=positive, default=4, help="default: %(default)s")
    parser.add_argument("--sampling_batch_size", type=positive, default=4, help="default: %(default)s")
    parser.add_argument("--evaluate", action="store_true", help="bits/dim on the test split, instead of training")
    parser.add_argument(
        "--data_root", help="the images, as --data of pixelpyramids train; default: the data_root of the parameters"
    )
    parser.add_argument("--epochs", type=int, help="default: that of the parameters")
    parser.add_argument("--steps", type=int, help="train this many steps instead")
    parser.add_argument("--batch_size", type=int, help="override the batch size of the parameters")
    parser.add_argument(
        "--micro_batch", type=int, help="images to process at once; a batch's gradient is summed over them"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: a GPU if there is one")
    return parser.parse_args(arguments)


def positive(text: str) -> int:
    """A whole number of at least 1. Raises ValueError for other text."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def main(arguments: argparse.Namespace) -> int:
    """Train, evaluate or sample, as the flags say. Returns the exit status."""
    config = load_parameters(arguments.params_file)
    if arguments.batch_size is not None:
        config = parse_parameters(config.model_dump() | {"batch_size": arguments.batch_size}, "--batch_size")
    published = Path(arguments.params_file).stem == f"{config.dataset_name}_authors"
    checkpoint, name = (
        f"{config.dataset_name}{recipe}_{config.batch_size}_{config.n_bits}"
        for recipe in ("", "_authors" if published else "")
    )
    if arguments.gen_samples or arguments.evaluate:
        path = find_trained(name, checkpoint, config)
        params = arguments.params_file if path.is_file() else None
        status = 0
        if arguments.evaluate:
            data, batch_size = arguments.data_root, config.batch_size
            status = evaluate(path, data, params=params, batch_size=batch_size, device=arguments.device)
        if arguments.gen_samples:
            sample(
                path,
                Path("samples") / name,
                arguments.num_samples,
                batch_size=arguments.sampling_batch_size,
                no_grid=True,
                params=params,
                device=arguments.device,
                overwrite=True,
            )
        return status
    return train(
        config,
        Path("ckpts") / name,
        data=arguments.data_root,
        epochs=arguments.epochs,
        steps=arguments.steps,
        micro_batch=arguments.micro_batch,
        device=arguments.device,
    )


def find_trained(name: str, checkpoint: str, config: AnyParameters) -> Path:
    """The run directory of that name, else the authors' checkpoint.

    Raises CheckpointError if there is neither, or if the run directory has other parameters.
    """
    run_directory, file = Path("ckpts") / name, Path("ckpts") / f"{checkpoint}.pt"
    if run_directory.is_dir():
        import_extra("pixelpyramids.training.run_directory").require_parameters(run_directory, config)
        return run_directory
    if file.is_file():
        return file
    raise CheckpointError(
        f"expected {run_directory}/ or {file}, found neither; train first, or put the authors' checkpoint for "
        f"{config.dataset_name} there"
    )


if __name__ == "__main__":
    parsed = parse()
    sys.exit(run(lambda: sys.exit(main(parsed))))
