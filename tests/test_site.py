"""The site of the documentation: it builds without a warning, and what is drawn and computed in it is up to date."""

import contextlib
import io
import json
import os
import runpy
import subprocess
import sys

import pytest
from command_line import ROOT

import pixelpyramids as pp
from pixelpyramids.cli import main
from pixelpyramids.pyramid.octaves import count_slices

DOCS = ROOT / "docs"
NOTEBOOK = DOCS / "explained" / "likelihood.ipynb"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site. A link that leads nowhere and a page in no table of contents are warnings, so the build fails."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going", DOCS, folder],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_in_the_site_and_in_the_table_of_contents(site):
    index = (site / "index.html").read_text(encoding="utf-8")
    pages = {path.relative_to(DOCS).with_suffix(".html").as_posix() for path in (*DOCS.rglob("*.md"), NOTEBOOK)}
    pages -= {"index.html"}
    assert len(pages) > 20
    assert {page for page in pages if f'href="{page}"' not in index or not (site / page).exists()} == set()


def test_nothing_is_loaded_from_the_network(site):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert 'src="http' not in text and 'rel="stylesheet" href="http' not in text, page


def test_every_command_and_public_name_is_in_the_reference(site):
    commands = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    for name in main.HEADINGS:
        parts = [f"{name} {part}" for part in main.GROUPS[name][1]] if name in main.GROUPS else [name]
        assert all(f"<h3>{part}<" in commands for part in parts)
    text = (DOCS / "reference" / "api.md").read_text(encoding="utf-8")
    assert {name for name in pp.__all__ if f":: pixelpyramids.{name}" not in text} == {"__version__"}


def test_the_figures_are_up_to_date():
    figures = runpy.run_path(str(DOCS / "explained" / "draw.py"))["FIGURES"]
    assert set(figures) == {path.name for path in (DOCS / "explained").glob("*.svg")}
    for name, draw in figures.items():
        assert (DOCS / "explained" / name).read_text(encoding="utf-8") == draw()


def test_the_page_on_the_codec_counts_the_steps():
    assert count_slices(1024, 1024) == 1 + 45
    assert "45 for an image of 1,024 x 1,024 pixels" in (DOCS / "explained" / "codec.md").read_text(encoding="utf-8")


def test_the_notebook_prints_what_it_shows():
    names = {}
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec("".join(cell["source"]), names)
            assert printed.getvalue() == "".join("".join(output["text"]) for output in cell["outputs"])
