"""Push and pull of a run directory, offline: a local folder stands for the hub."""

import os
from types import SimpleNamespace

import pytest
import torch
from command_line import KEYS
from test_run_directory import save_run

from pixelpyramids.errors import CheckpointError
from pixelpyramids.training import run_directory
from pixelpyramids.training.publishing import PublishedRun


@pytest.fixture
def run(tmp_path):
    run = save_run(tmp_path / "run", KEYS | {"L": 2}, seed=5)
    (run / "training").mkdir()
    (run / "training" / "level_00.safetensors").write_bytes(b"not for the hub")
    return run


def test_a_pulled_run_is_the_one_that_was_pushed(run, tmp_path):
    PublishedRun(run).save_pretrained(tmp_path / "hub")
    pulled = PublishedRun.from_pretrained(str(tmp_path / "hub")).model()
    images = torch.randint(0, 256, (2, 3, 8, 4))
    assert torch.equal(pulled.rate(images).nats, run_directory.load(run).rate(images).nats)
    names = {path.name for path in (tmp_path / "hub").iterdir()}
    assert {"parameters.json", "level_00.safetensors", "level_01.safetensors"} <= names
    assert "training" not in names


def test_records_of_a_run_that_was_published_there_before_do_not_stay(run, tmp_path):
    records = [tmp_path / "hub" / name for name in ("provenance.json", "trained_on.npy")]
    records[0].parent.mkdir()
    for record in records:
        record.write_bytes(b"of another run")
    PublishedRun(run).save_pretrained(tmp_path / "hub")
    assert not any(record.exists() for record in records)


def test_pushing_uploads_the_same_files(run, monkeypatch):
    uploaded = {}

    def upload(repo_id, folder_path, **_):
        uploaded[repo_id] = os.listdir(folder_path)

    api = SimpleNamespace(create_repo=lambda repo_id, **_: SimpleNamespace(repo_id=repo_id), upload_folder=upload)
    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", lambda **_: api)
    PublishedRun(run).push_to_hub("someone/model")
    assert {"parameters.json", "level_00.safetensors", "level_01.safetensors"} <= set(uploaded["someone/model"])


def test_an_incomplete_run_is_refused(run, tmp_path):
    with pytest.raises(CheckpointError, match="run directory"):
        PublishedRun(tmp_path / "nothing")
    run_directory.level_file(run, 1).unlink()
    with pytest.raises(CheckpointError, match=r"level\(s\) 1 \(of 2\) have no weights yet; train"):
        PublishedRun(run)
