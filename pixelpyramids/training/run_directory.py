"""The run directory: a model's parameters, a file of weights for each stage, logs, and the checkpoints of training.

    RUN/parameters.json             {"params": {…}}
    RUN/level_00.safetensors …      the kept weights of each stage; the last is the coarsest image's
    RUN/log/level_00.jsonl …        a line every ten steps and at each validation: step, nats per image, dimensions
    RUN/provenance.json             the software, device, data and settings of each training session
    RUN/trained_on.npy              a number for each image that was trained on
    RUN/training/level_00.safetensors …   weights, averages and optimiser of the last checkpoint
    RUN/training/seed               the seed of the run
    RUN/training/level_00.lock …    held by the process that trains the stage
    RUN/samples/                    pictures drawn while training

Each level has its own files, so that trainings of different levels can share a directory. Nothing here is pickled.
"""

import json
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from filelock import BaseFileLock, FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pixelpyramids.atomic import is_free, replace_file, write_text
from pixelpyramids.errors import CheckpointError, ParameterError
from pixelpyramids.model.models import AnyModel, new_model
from pixelpyramids.model.parameters import AnyParameters, load_parameters, parse_parameters, require_paper
from pixelpyramids.model.release_checkpoint import read_checkpoint
from pixelpyramids.training.provenance import PROVENANCE, TRAINED_ON

PARAMETERS = "parameters.json"
RUN_FILES = (
    "level_*.safetensors",
    "training/level_*.safetensors",
    "training/seed",
    "log/level_*.jsonl",
    PROVENANCE,
    TRAINED_ON,
)  # and its parameters
WEIGHTS_FORMAT = 1  # of weights and checkpoints: the names, the shapes and the metadata
LOCK_SECONDS = 10.0
KEYS_NAMED = 4  # of the parameters that differ
MAY_DIFFER = {"data_root", "epochs", "crop_size"}  # when a run is resumed


def load(path: str | Path, params: str | Path | None = None, likelihood: str | None = None) -> AnyModel:
    """The model of a run directory, or of the authors' `.pt` with the parameter file `params`; in evaluation mode.

    `likelihood`, "exact" or "authors", overrides the parameters. Raises CheckpointError if something is
    missing, damaged or of another model, ParameterError if the parameters are wrong.
    """
    path = Path(path)
    if path.suffix == ".pt" and not path.is_dir():
        if params is None:
            raise CheckpointError(f"{path}: expected the parameter file it was trained with (--params, or params=)")
        model: AnyModel = read_checkpoint(path, require_paper(load_parameters(params), str(params))).model
        return model if likelihood is None else with_likelihood(model, likelihood)
    if path.is_dir() and params is not None:
        raise CheckpointError(f"{path}: a run directory holds its own parameters; leave out {params}")
    if not path.is_dir():
        raise CheckpointError(
            f"{path}: expected compact, a run directory or a .pt checkpoint of the paper's authors, found none; check "
            "the name"
        )
    config = read_parameters(path)
    if likelihood is not None:
        config = parse_parameters(config.model_dump() | {"likelihood": likelihood}, str(path))
    require_levels(path, config)
    model = new_model(config)
    for index, stage in enumerate(model.stages):
        load_stage(path, index, stage)
    return model


def require_levels(run: Path, config: AnyParameters) -> None:
    """Raise CheckpointError, naming them, if levels of the run have no weights."""
    if missing := missing_levels(run, config):
        levels = ",".join(map(str, missing))
        raise CheckpointError(
            f"{run}: level(s) {levels} (of {config.n_stages}) have no weights yet; train them with --levels {levels}"
        )


def missing_levels(run: Path, config: AnyParameters) -> list[int]:
    """The levels of the run that have no weights yet."""
    return [index for index in range(config.n_stages) if not level_file(run, index).is_file()]


def with_likelihood(model: AnyModel, likelihood: str) -> AnyModel:
    """The same weights under another likelihood."""
    keys = model.config.model_dump() | {"likelihood": likelihood}
    other = new_model(parse_parameters(keys, "parameters"))
    other.load_state_dict(model.state_dict())
    return other.to(model.device)


def save(model: AnyModel, run: Path) -> None:
    """Write a model as a run directory. An existing run's weights, checkpoints and logs are replaced.

    The old files are removed after the new ones are on the disk; other files stay. Raises CheckpointError if another
    process trains the run.
    """
    run.mkdir(parents=True, exist_ok=True)
    locks = _lock_all(run, model.config.n_stages) if (run / "training").is_dir() else []
    for leftover in run.glob(".new.*.part"):
        shutil.rmtree(leftover, ignore_errors=True)
    new = Path(tempfile.mkdtemp(dir=run, prefix=".new.", suffix=".part"))
    try:
        for index, stage in enumerate(model.stages):
            save_stage(new, index, stage)
        write_parameters(new, model.config)
        (run / PARAMETERS).unlink(missing_ok=True)
        for pattern in RUN_FILES:
            for old in run.glob(pattern):
                old.unlink()
        for index in range(model.config.n_stages):
            os.replace(level_file(new, index), level_file(run, index))
        os.replace(new / PARAMETERS, run / PARAMETERS)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        for lock in locks:
            lock.release()


def _lock_all(run: Path, n_stages: int) -> list[BaseFileLock]:
    """Lock the first `n_stages` stages, and any others that an existing run has."""
    there = {int(path.stem[-2:]) for path in (run / "training").glob("level_[0-9][0-9].lock")}
    return [lock_level(run, index) for index in sorted(there | set(range(n_stages)))]


def is_replaceable(run: Path) -> bool:
    """Whether `run` is free, a run directory, or what an interrupted `save` left of one."""
    if is_free(run) or (run / PARAMETERS).is_file():
        return True
    return run.is_dir() and all(
        path.match("level_*.safetensors")
        or path.name in ("training", "log", "samples", PROVENANCE, TRAINED_ON)
        or path.suffix == ".part"
        for path in run.iterdir()
    )


def save_stage(run: Path, index: int, stage: torch.nn.Module) -> None:
    """Write the weights of stage `index`."""
    save_tensors(level_file(run, index), stage.state_dict(), {"level": index})


def level_file(run: Path, index: int) -> Path:
    """The file of the weights of stage `index`."""
    return run / f"level_{index:02d}.safetensors"


def training_file(run: Path, index: int) -> Path:
    """The checkpoint that the training of stage `index` resumes from."""
    return run / "training" / f"level_{index:02d}.safetensors"


def lock_level(run: Path, index: int) -> BaseFileLock:
    """Keep other processes from training stage `index` while the returned lock lives.

    Raises CheckpointError if another process holds the lock for longer than a killed training takes to end.
    """
    path = run / "training" / f"level_{index:02d}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, is_singleton=True)
    try:
        lock.acquire(timeout=LOCK_SECONDS)
    except Timeout as error:
        raise CheckpointError(
            f"{run}: another process trains level {index}; wait until it has ended, or train other --levels"
        ) from error
    return lock


def log_file(run: Path, index: int) -> Path:
    """The log of stage `index`."""
    return run / "log" / f"level_{index:02d}.jsonl"


def read_log(run: Path, index: int) -> list[dict[str, int | float]]:
    """The entries of a stage's log, none if there is no log. A line that a kill cut short is skipped."""
    entries: list[dict[str, int | float]] = []
    path = log_file(run, index)
    for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("step"), int):
            entries.append(entry)
    return entries


def claim(run: Path, config: AnyParameters) -> None:
    """Start a run with these parameters, or check that an existing run has them. Raises CheckpointError if not."""
    if not (run / PARAMETERS).exists():
        if not is_free(run) and not (run / PARAMETERS).exists():
            raise CheckpointError(f"{run}: expected a new or empty folder, or a run directory to resume")
        with suppress(FileExistsError):  # another process may start it at this moment
            write_parameters(run, config, new=True)
    require_parameters(run, config)


def require_parameters(run: Path, config: AnyParameters) -> None:
    """Raise CheckpointError if the run has other parameters, or if there is no run."""
    there, given = read_parameters(run).model_dump(), config.model_dump()
    keys = (there.keys() | given.keys()) - MAY_DIFFER
    differing = sorted((key for key in keys if there.get(key) != given.get(key)), key=lambda key: (key != "kind", key))
    if differing:
        rest = f" and {len(differing) - KEYS_NAMED} more" if len(differing) > KEYS_NAMED else ""
        named = ", ".join(differing[:KEYS_NAMED]) + rest
        raise CheckpointError(
            f"{run}: its {PARAMETERS} differs in {named}; use another run directory, or its parameters"
        )


def read_parameters(run: Path) -> AnyParameters:
    """The parameters of a run. Raises CheckpointError if it has none that can be read."""
    if not (run / PARAMETERS).is_file():
        raise CheckpointError(f"{run}: expected a run directory, but it holds no {PARAMETERS}")
    try:
        return load_parameters(run / PARAMETERS)
    except ParameterError as error:
        raise CheckpointError(str(error)) from error


def write_parameters(run: Path, config: AnyParameters, new: bool = False) -> None:
    """Write the parameters of a run, including defaults, which a later version may change.

    With `new`, raise FileExistsError if there are parameters.
    """
    content = {"params": config.model_dump(mode="json")}
    write_text(run / PARAMETERS, json.dumps(content, indent=2) + "\n", new)


def load_stage(run: Path, index: int, stage: torch.nn.Module) -> None:
    """Load the weights of stage `index`. Raises CheckpointError if they are damaged or of another level or model."""
    path = level_file(run, index)
    tensors, metadata = read_tensors(path)
    if metadata.get("level") != index:
        raise CheckpointError(f"{path}: expected the weights of level {index}, got those of {metadata.get('level')}")
    require_finite(tensors, path)
    try:
        stage.load_state_dict(tensors)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise CheckpointError(f"{path}: the weights are not those of this run's {PARAMETERS}: {first}") from error


def require_finite(tensors: dict[str, Tensor], path: Path) -> None:
    """Raise CheckpointError if a weight is not finite."""
    for key, value in tensors.items():
        if not value.isfinite().all():
            raise CheckpointError(f"{path}: {key} is not finite; remove the file to train the level again")


def claim_seed(run: Path, seed: int) -> None:
    """Record the seed of a new run, or check that of an existing one. Raises CheckpointError if they differ."""
    path = run / "training" / "seed"
    if not path.exists():
        with suppress(FileExistsError):  # a training of other levels may start at this moment
            write_text(path, f"{seed}\n", new=True)
    there = path.read_text(errors="replace").strip()
    if not there.isdecimal():
        raise CheckpointError(f"{path}: damaged; write the seed of the run into it, which {PROVENANCE} records")
    if there != str(seed):
        raise CheckpointError(
            f"{run}: the run has the seed {there}, got {seed}; resume it with its seed, or choose another run directory"
        )


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, Any] | None = None) -> None:
    """Write tensors, and metadata as JSON, whole or not at all."""
    plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    with replace_file(path) as temporary:
        try:
            save_file(plain, temporary, {"pixelpyramids": json.dumps({"format": WEIGHTS_FORMAT, **(metadata or {})})})
        except SafetensorError as error:
            raise CheckpointError(f"{path}: cannot be written: {error}") from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a file. Raises CheckpointError if it is missing, damaged or not ours."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise CheckpointError(f"{path}: expected a file of weights, got a folder, a pipe or a device")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {})["pixelpyramids"])
            if not isinstance(metadata, dict):
                raise KeyError("pixelpyramids")
            if metadata.get("format") != WEIGHTS_FORMAT:
                raise CheckpointError(
                    f"{path}: expected format {WEIGHTS_FORMAT}, got {metadata.get('format')}; use the package version "
                    "that wrote it"
                )
            keys = file.keys()
            # Copies, not maps of the file: once it is replaced, its space on the disk is free.
            return {key: file.get_tensor(key).clone() for key in keys}, metadata
    except OSError as error:
        reason = str(error).removesuffix(f": {path}")
        raise CheckpointError(f"{path}: expected a file that can be read, got: {reason}") from error
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: damaged, or not written by this package; remove it to start again") from error
