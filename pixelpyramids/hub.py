"""Run directories on the Hugging Face hub: push one, pull one.

    PublishedRun("RUN").push_to_hub("name/model")          PublishedRun.from_pretrained("name/model").model()
    PublishedRun("RUN").save_pretrained("FOLDER")          PublishedRun.from_pretrained("FOLDER").model()

What travels is parameters and weights, not the state of the training.
"""

import shutil
from pathlib import Path
from typing import Any

from huggingface_hub import ModelHubMixin, snapshot_download

from pixelpyramids import checkpoint
from pixelpyramids.model import PixelPyramid

PUBLISHED = (checkpoint.PARAMETERS, "level_*.safetensors")


class PublishedRun(ModelHubMixin, library_name="pixelpyramids", tags=["pixelpyramids"]):
    """A run directory as a model of the hub. Raises CheckpointError where `run` is none, or lacks a level."""

    def __init__(self, run: str | Path) -> None:
        self.run = Path(run)
        self._hub_mixin_config = None  # the mixin would publish the constructor's argument, a path of this machine
        checkpoint.require_levels(self.run, checkpoint.read_parameters(self.run))

    def model(self) -> PixelPyramid:
        """Load the model, in evaluation mode."""
        return checkpoint.load(self.run)

    def _save_pretrained(self, save_directory: Path) -> None:
        for pattern in PUBLISHED:
            for file in sorted(self.run.glob(pattern)):
                shutil.copyfile(file, save_directory / file.name)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> "PublishedRun":
        if Path(model_id).is_dir():
            return cls(model_id)
        known = ("revision", "cache_dir", "force_download", "local_files_only", "token")
        arguments = {key: options[key] for key in known if key in options}
        return cls(snapshot_download(model_id, allow_patterns=list(PUBLISHED), **arguments))
