"""The bundled photographs: four to train on, two held out. Sources and licences: assets/photographs/SOURCES.md."""

from pathlib import Path


def photographs() -> Path:
    """The folder of the bundled photographs, with sub-folders `train` and `test`."""
    return Path(__file__).parent.parent / "assets" / "photographs"
