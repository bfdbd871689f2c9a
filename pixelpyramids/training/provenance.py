"""How a run was made: `RUN/provenance.json` has an entry for each time that the training of levels was started.

    {"format": 1, "sessions": [{"started": …, "package": …, "precision": …, "budget": {…}, "levels": {…}, …}, …]}

`RUN/trained_on.npy` has a number for each training image, so that the image is recognised when it is scored. Runs of
earlier versions have no such files, and are read as runs without sessions.
"""

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from pixelpyramids.atomic import write_bytes, write_text
from pixelpyramids.errors import CheckpointError

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


def without_paths(sessions: Iterable[Session]) -> list[Session]:
    """The sessions without the folders of this machine, for publication."""
    return [
        {
            key: {k: v for k, v in value.items() if k != "root"} if isinstance(value, dict) else value
            for key, value in session.items()
        }
        for session in sessions
    ]
