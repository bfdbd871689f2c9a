"""How a run was made: `RUN/provenance.json` has an entry for each time that the training of levels was started.

    {"format": 1, "sessions": [{"started": …, "package": …, "precision": …, "budget": {…}, "levels": {…}, …}, …]}

`RUN/trained_on.npy` has a number for each training image, so that the image is recognised when it is scored. Runs of
earlier versions have no such files, and are read as runs without sessions.
"""

import hashlib
import io
import json
import os
import platform
import subprocess
from collections.abc import Collection, Iterable, Mapping
from importlib.metadata import distribution
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from pixelpyramids.atomic import write_bytes, write_text
from pixelpyramids.data.batches import Batches
from pixelpyramids.data.crops import Crops
from pixelpyramids.data.identity import are_files, data_identity
from pixelpyramids.data.images import Images
from pixelpyramids.data.stream import Stream
from pixelpyramids.errors import CheckpointError
from pixelpyramids.model.parameters import AnyParameters
from pixelpyramids.training.optimisation import learning_rate
from pixelpyramids.training.progress import Budget

PROVENANCE = "provenance.json"
TRAINED_ON = "trained_on.npy"
_RECORD_FORMAT = 1

Session = dict[str, Any]


class _StrictModel(BaseModel):
    model_config = ConfigDict(strict=True)


class _TrainingData(_StrictModel):
    images: int | None
    sha256: str


class _ValidationData(_TrainingData):
    scored: int
    reserve: float


class _SessionFields(_StrictModel):
    """The keys of a session that are used; the others are only reported."""

    precision: str
    budget: Annotated[
        dict[Literal["steps", "minutes"], Annotated[float, Field(gt=0)]], Field(min_length=1, max_length=1)
    ]
    training_data: _TrainingData
    validation_data: _ValidationData | None
    levels: dict[str, Any]


def read_sessions(run: Path) -> list[Session]:
    """The sessions of a run, oldest first. Raises CheckpointError if the file is damaged or of another format."""
    path = run / PROVENANCE
    if not path.exists():
        return []
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["format"] != _RECORD_FORMAT:
            raise CheckpointError(
                f"{path}: expected format {_RECORD_FORMAT}, got {record['format']}; use the package version that "
                "wrote it"
            )
        sessions = record["sessions"]
        for session in sessions:
            _SessionFields.model_validate(session)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: damaged; remove it to continue without the history of the run") from error
    return list(sessions)


def write_sessions(run: Path, sessions: list[Session]) -> None:
    """Write the sessions of a run, whole or not at all."""
    write_text(run / PROVENANCE, json.dumps({"format": _RECORD_FORMAT, "sessions": sessions}, indent=2) + "\n")


def record_session(run: Path, session: Session, place: int | None) -> int:
    """Write a session at `place`, or append it; return its place. Other processes can write at the same time."""
    with FileLock(run / "training" / "provenance.lock"):
        sessions = read_sessions(run)
        if place is None or place >= len(sessions):
            place = len(sessions)
            sessions.append(session)
        sessions[place] = session
        write_sessions(run, sessions)
    return place


def read_trained_on(run: Path) -> NDArray[np.uint64]:
    """The numbers (see `data.identity`) of the images that a run was trained on, ascending; none if not recorded.

    Raises CheckpointError if the file is damaged.
    """
    path = run / TRAINED_ON
    if not path.exists():
        return np.empty(0, np.uint64)
    try:
        numbers = np.load(path, allow_pickle=False)
        if numbers.dtype != np.uint64 or numbers.ndim != 1:
            raise ValueError
    except (ValueError, EOFError, AttributeError) as error:
        raise CheckpointError(f"{path}: damaged; remove it to continue without a record of training images") from error
    return np.asarray(numbers)


def record_trained_on(run: Path, numbers: NDArray[np.uint64]) -> None:
    """Add to the numbers of the images that a run was trained on."""
    with FileLock(run / "training" / "provenance.lock"):
        content = io.BytesIO()
        np.save(content, np.union1d(read_trained_on(run), numbers))
        write_bytes(run / TRAINED_ON, content.getvalue())


def last_session(sessions: Iterable[Session], levels: Iterable[int]) -> Session | None:
    """The last session that trained any of the levels."""
    wanted = {str(level) for level in levels}
    return next((session for session in reversed(list(sessions)) if wanted & session["levels"].keys()), None)


def last_sessions(sessions: Iterable[Session], levels: Iterable[int]) -> dict[int, Session]:
    """The last session that trained each level; levels that were never trained are missing."""
    ordered = list(sessions)
    found = {level: last_session(ordered, [level]) for level in levels}
    return {level: session for level, session in found.items() if session is not None}


def describe_changes(last: Mapping[int, Session], now: Session, trained_now: Collection[int]) -> list[str]:
    """Differences from the `last` session of each level, one line each.

    Data are compared for all levels, since all levels of a model need the same images; precision for those trained now.
    """
    changes: dict[str, list[int]] = {}
    new = now["training_data"]
    for level, session in last.items():
        if (old := session["training_data"])["sha256"] != new["sha256"]:
            data = f"the training images have changed: before {_describe(old)}, now {_describe(new)}"
            changes.setdefault(data, []).append(level)
        if level in trained_now and session["precision"] != now["precision"]:
            precision = f"the precision has changed: before {session['precision']}, now {now['precision']}"
            changes.setdefault(precision, []).append(level)
    return [
        change if len(levels) == len(last) else f"level(s) {','.join(map(str, levels))}: {change}"
        for change, levels in changes.items()
    ]


def _describe(images: Mapping[str, Any]) -> str:
    return f"{images['images']} in {images.get('root', 'an unknown folder')} (SHA-256 {images['sha256'][:12]}…)"


def describe_schedule(config: AnyParameters, places: Iterable[tuple[int, float, Budget]], now: Budget) -> list[str]:
    """A line if a longer budget raises the learning rate by more than a twentieth.

    `places` are steps and seconds of levels, and the budget that each had before.
    """
    for step, seconds, before in places:
        old, new = (learning_rate(config, step, budget.progress(step, seconds)) for budget in (before, now))
        if step and new > 1.05 * old:
            return [
                f"the learning rate was scheduled for {before}; with {now}, it rises from {old:.2g} to {new:.2g} at "
                f"step {step}; a new run with the whole budget from the start gives better results"
            ]
    return []


def without_paths(sessions: Iterable[Session]) -> list[Session]:
    """The sessions without the folders of this machine, for publication."""
    return [
        {key: _without_root(value) if isinstance(value, dict) else value for key, value in session.items()}
        for session in sessions
    ]


def describe_software() -> dict[str, str | None]:
    """The versions of this package, with the commit if it is known, of Python and of torch."""
    package = distribution("pixelpyramids")
    return {
        "package": package.version,
        "commit": _find_commit(package.read_text("direct_url.json")),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def describe_device(device: torch.device) -> dict[str, Any]:
    """The device's name, and the threads of the processor."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {"device": f"{device.type} ({name})", "threads": torch.get_num_threads()}


def describe_images(images: Images) -> dict[str, Any]:
    """The images' folder, their count, the hash that `data check` prints, and whether they are files."""
    root = os.path.commonpath([images.files[0].parent, images.files[len(images) - 1].parent])
    identity = data_identity(images)
    described = {"root": os.path.abspath(root), "images": identity.images, "sha256": identity.sha256}
    return described | {"files": are_files(images)}


def describe_batches(batches: Batches) -> dict[str, Any]:
    """Like `describe_images`; for a stream, the hash is of the names and counts of its shards."""
    if isinstance(batches, Crops):
        return describe_images(batches.folder)
    assert isinstance(batches, Stream)
    shards = [Path(name) for name in batches.shards.names]
    named = repr(([shard.name for shard in shards], batches.shards.counts))
    root = os.path.abspath(shards[0].parent)
    return {"root": root, "images": batches.count, "sha256": hashlib.sha256(named.encode()).hexdigest()}


def _without_root(value: dict[str, Any]) -> dict[str, Any]:
    return {key: inner for key, inner in value.items() if key != "root"}


def _find_commit(direct_url: str | None) -> str | None:
    """The commit that pip installed, or that of the checkout ("-dirty" if files were changed); None if unknown."""
    commit = json.loads(direct_url or "{}").get("vcs_info", {}).get("commit_id")
    if commit is not None:
        return str(commit)
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
