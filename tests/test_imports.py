"""Imports point one way and without cycles: the contracts in pyproject.toml, read by import-linter."""

import os
import shutil
import subprocess
import sys

import pytest
from command_line import ROOT


def check_contracts(folder):
    """Run import-linter on the package in `folder`."""
    code = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    environment = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, text=True, stdout=subprocess.PIPE)


def test_imports_keep_the_contracts():
    result = check_contracts(ROOT)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("module", "statement", "contract"),
    [
        ("codec/fields.py", "import pixelpyramids.image_files.saving", "Imports point down"),
        (
            "pyramid/splitting.py",
            "import pixelpyramids.pyramid.levels, pixelpyramids.pyramid.rate",
            "No folder has a cycle",
        ),
        ("data/images.py", "import torch", "Torch stays out of the codec, files and data"),
        ("model/networks/unet.py", "import pathlib", "Networks know tensors, and no files"),
    ],
)
def test_a_forbidden_import_is_found(module, statement, contract, tmp_path):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "pixelpyramids", tmp_path / "pixelpyramids", ignore=shutil.ignore_patterns("*.safetensors"))
    with (tmp_path / "pixelpyramids" / module).open("a", encoding="utf-8") as file:
        file.write(f"\n{statement}\n")
    result = check_contracts(tmp_path)
    assert result.returncode == 1
    assert f"{contract} BROKEN" in result.stdout
