"""Push run directories to the Hugging Face hub, and pull them.

    PublishedRun("RUN").push_to_hub("name/model")          PublishedRun.from_pretrained("name/model").model()
    PublishedRun("RUN").save_pretrained("FOLDER")          PublishedRun.from_pretrained("FOLDER").model()

Parameters, weights and provenance are published, but not the folders of this machine or the checkpoints of training.
"""

import shutil
from pathlib import Path
from typing import Any

from huggingface_hub import ModelHubMixin, snapshot_download

from pixelpyramids.model.models import AnyModel
from pixelpyramids.training import provenance, run_directory

WEIGHTS = "level_*.safetensors"
PUBLISHED = (run_directory.PARAMETERS, provenance.PROVENANCE, provenance.TRAINED_ON, WEIGHTS)


class PublishedRun(ModelHubMixin, library_name="pixelpyramids", tags=["pixelpyramids"]):
    """A run directory as a model of the hub. Raises CheckpointError if `run` is not one, or lacks a level."""

    def __init__(self, run: str | Path) -> None:
        self.run = Path(run)
        self._hub_mixin_config = None  # the mixin would publish the constructor's argument, a path of this machine
        run_directory.require_levels(self.run, run_directory.read_parameters(self.run))

    def model(self) -> AnyModel:
        """Load the model, in evaluation mode."""
        return run_directory.load(self.run)

    def _save_pretrained(self, save_directory: Path) -> None:
        config = run_directory.read_parameters(self.run).model_copy(update={"data_root": ""})
        run_directory.write_parameters(save_directory, config)
        for record in (provenance.PROVENANCE, provenance.TRAINED_ON):
            if not (self.run / record).exists():  # that of a run that was published there before
                (save_directory / record).unlink(missing_ok=True)
        if sessions := provenance.read_sessions(self.run):
            provenance.write_sessions(save_directory, provenance.without_paths(sessions))
        for file in sorted([*self.run.glob(WEIGHTS), *self.run.glob(provenance.TRAINED_ON)]):
            shutil.copyfile(file, save_directory / file.name)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> "PublishedRun":
        if Path(model_id).is_dir():
            return cls(model_id)
        known = ("revision", "cache_dir", "force_download", "local_files_only", "token")
        arguments = {key: options[key] for key in known if key in options}
        return cls(snapshot_download(model_id, allow_patterns=list(PUBLISHED), **arguments))
