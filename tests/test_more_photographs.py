"""The further training photographs are made from clones as the manifest says."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from benchmarks import more_photographs


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A clone with one JPEG, and a manifest of a photograph that is made of it."""
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    data = io.BytesIO()
    Image.fromarray(noise).save(data, "JPEG", quality=95)
    folder = tmp_path / "clones" / "NAME"
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_bytes(data.getvalue())
    subprocess.run(["git", "init", "-q", folder], check=True)
    command = ["git", "-C", folder, "hash-object", "-w", "a.jpg"]
    blob = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    one = {
        "file": "000.webp",
        "repository": "OWNER/NAME",
        "blob": blob,
        "path": "a.jpg",
        "scale": 0.5,
        "box": [2, 3, 9, 8],
    }
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text(json.dumps(one) + "\n")
    monkeypatch.setattr(more_photographs, "MANIFEST", manifest)
    monkeypatch.setattr(sys, "argv", ["", str(tmp_path / "clones"), str(tmp_path / "made")])
    return one, data


def test_a_photograph_is_scaled_and_cut(clone, tmp_path):
    more_photographs.main()
    found = np.asarray(Image.open(tmp_path / "made" / "000.webp"))
    whole = Image.open(clone[1]).resize((20, 15), Image.Resampling.LANCZOS)
    assert np.array_equal(found, np.asarray(whole)[3:11, 2:11])


def test_what_is_missing_is_named_before_anything_is_written(clone, tmp_path, capsys):
    one, _ = clone
    for wrong, message in ({"blob": "0" * 40}, "has no blob 000"), ({"repository": "OWNER/OTHER"}, "OWNER/OTHER"):
        more_photographs.MANIFEST.write_text(json.dumps(one | wrong) + "\n")
        with pytest.raises(SystemExit, match="2"):
            more_photographs.main()
        assert message in capsys.readouterr().err and not (tmp_path / "made").exists()


def test_the_manifest_names_each_photograph_once():
    photographs = more_photographs.read_manifest()
    assert len({one["file"] for one in photographs}) == len(photographs) == 520
    assert all(0 < one["scale"] <= 0.5 and max(one["box"][2:]) <= 640 and one["licence"] for one in photographs)
