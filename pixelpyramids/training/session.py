"""The session of a training: its software, data and settings, changes since earlier sessions, and its progress."""

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import torch

from pixelpyramids.data.batches import Batches
from pixelpyramids.data.crops import Crops
from pixelpyramids.data.identity import are_files, data_identity, image_numbers
from pixelpyramids.data.images import Images
from pixelpyramids.data.stream import Stream
from pixelpyramids.training.level import LevelTraining
from pixelpyramids.training.optimisation import learning_rate
from pixelpyramids.training.progress import Budget
from pixelpyramids.training.provenance import Session, read_sessions, record_session, record_trained_on


class SessionRecord:
    """The entry of a session in its run's provenance.

    `before` is the last session that trained one of the levels, if any; `session` is this one. `settings` are copied
    into it.
    """

    def __init__(
        self,
        run: Path,
        levels: Sequence[LevelTraining],
        crops: Batches,
        held_out: Images | None,
        budget: Budget,
        *,
        device: torch.device,
        **settings: Any,
    ) -> None:
        self.run, self.levels, self.crops, self.budget = run, levels, crops, budget
        self.indices = [level.index for level in levels]
        sessions, every = read_sessions(run), range(levels[0].config.n_stages)
        self._last = {level: session for session in sessions for level in every if str(level) in session["levels"]}
        trained = {str(index) for index in self.indices}
        self.before = next((session for session in reversed(sessions) if trained & session["levels"].keys()), None)
        self.session: Session = {
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            **_describe_machine(device),
            **settings,
            "seed": levels[0].seed,
            "batch_size": crops.batch_size,
            "budget": budget.as_dict,
            "training_data": describe_batches(crops),
            "validation_data": None if held_out is None else _describe_images(held_out, self.before),
        }
        self._first_steps = [level.step for level in levels]
        self._place: int | None = None
        self._recorded = False

    def describe_changes(self) -> list[str]:
        """The differences from the last session of each level, one line each.

        Data are compared for all levels, since all levels of a model need the same images; precision for those trained
        now. The last line says if a longer budget raises the learning rate by more than a twentieth.
        """
        lines: list[str] = []
        changes: dict[str, list[int]] = {}
        now = self.session
        if any(level.step and level.index not in self._last for level in self.levels):
            lines.append(
                "this run was started by an earlier version, which did not record its data, precision and budget"
            )
        for index, session in sorted(self._last.items()):
            before, after = session["training_data"], now["training_data"]
            if before["sha256"] != after["sha256"] and before["sha256"] not in training_hashes(self.crops):
                data = f"the training images have changed: before {_name_images(before)}, now {_name_images(after)}"
                changes.setdefault(data, []).append(index)
            if index in self.indices and session["precision"] != now["precision"]:
                precision = f"the precision has changed: before {session['precision']}, now {now['precision']}"
                changes.setdefault(precision, []).append(index)
        for change, indices in changes.items():
            of_all = len(indices) == len(self._last)
            lines.append(change if of_all else f"level(s) {','.join(map(str, indices))}: {change}")
        return lines + self._describe_schedule()

    def _describe_schedule(self) -> list[str]:
        for level in self.levels:
            if level.step and level.index in self._last:
                before = Budget(**self._last[level.index]["budget"])
                old, new = (
                    learning_rate(level.config, level.step, budget.progress(level.step, level.seconds))
                    for budget in (before, self.budget)
                )
                if new > 1.05 * old:
                    return [
                        f"the learning rate was scheduled for {before}; with {self.budget}, it rises from {old:.2g} to "
                        f"{new:.2g} at step {level.step}; a new run with the whole budget from the start gives better "
                        "results"
                    ]
        return []

    def write_trained_on(self) -> None:
        """Write which images the levels were trained on, after the first step; the images of a stream are not known."""
        steps = [level.step for level in self.levels]
        if steps != self._first_steps and not self._recorded and isinstance(self.crops, Crops):
            record_trained_on(self.run, image_numbers(self.crops.folder)[:, 0])
            self._recorded = True

    def write(self, reserve: float | None) -> None:
        """Write the progress of the levels, and the seconds that are reserved for validation, if there is one."""
        self.session["levels"] = {
            str(level.index): {
                "first_step": first_step,
                "step": level.step,
                "epochs": self._count_epochs(level, first_step),
                "minutes": level.seconds / 60,
            }
            for level, first_step in zip(self.levels, self._first_steps, strict=True)
        }
        if reserve is not None:
            self.session["validation_data"]["reserve"] = reserve
        self._place = record_session(self.run, self.session, self._place)

    def _count_epochs(self, level: LevelTraining, first_step: int) -> float | None:
        """The sum over all sessions, whose images may differ; None if the images of one were not counted."""
        items, before = self.crops.items_per_epoch, {"step": 0, "epochs": 0}
        if first_step and level.index in self._last:
            before = self._last[level.index]["levels"][str(level.index)]
        if items is None or before["epochs"] is None:
            return None
        return float(before["epochs"] + (level.step - before["step"]) * self.crops.batch_size / items)


def _describe_machine(device: torch.device) -> dict[str, Any]:
    """The versions of this package, with the commit if it is known, of Python and of torch, and the device."""
    package = distribution("pixelpyramids")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "package": package.version,
        "commit": _find_commit(package.read_text("direct_url.json")),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": f"{device.type} ({name})",
        "threads": torch.get_num_threads(),
    }


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


def _describe_images(images: Images, before: Session | None = None) -> dict[str, Any]:
    """The images' folder, their count, the hash that `data check` prints, and whether they are files.

    If an earlier version recorded the same images as the validation data of the session `before`, the hash is its hash.
    """
    root = os.path.commonpath([images.files[0].parent, images.files[len(images) - 1].parent])
    identity, recorded = data_identity(images), (before or {}).get("validation_data") or {}
    sha256 = identity.earlier if recorded.get("sha256") == identity.earlier else identity.sha256
    described = {"root": os.path.abspath(root), "images": identity.images, "sha256": sha256}
    return described | {"files": are_files(images)}


def describe_batches(batches: Batches) -> dict[str, Any]:
    """Like `_describe_images`; for a stream, the hash is of the names and counts of its shards."""
    if isinstance(batches, Crops):
        return _describe_images(batches.folder)
    assert isinstance(batches, Stream)
    shards = [Path(name) for name in batches.shards.names]
    named = repr(([shard.name for shard in shards], batches.shards.counts))
    root = os.path.abspath(shards[0].parent)
    return {"root": root, "images": batches.count, "sha256": hashlib.sha256(named.encode()).hexdigest()}


def training_hashes(batches: Batches) -> set[str]:
    """The hashes by which sessions of this version and of earlier ones record these training images."""
    if isinstance(batches, Crops):
        identity = data_identity(batches.folder)
        return {identity.sha256, identity.earlier}
    return {describe_batches(batches)["sha256"]}


def _name_images(images: Mapping[str, Any]) -> str:
    return f"{images['images']} in {images.get('root', 'an unknown folder')} (SHA-256 {images['sha256'][:12]}…)"
