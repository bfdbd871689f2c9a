"""The site of the documentation, built by `make docs`: offline, and every warning is an error."""

import json
import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent), str(DOCS)]  # before an installed package

from commands import commands_as_markdown  # noqa: E402

project = "PixelPyramids"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown", ".ipynb": "markdown"}
smartquotes = False  # "--out" keeps its hyphens
highlight_language = "text"
html_theme = "furo"
html_title = project
html_show_sphinx = False
html_copy_source = False
html_show_copyright = False

# Single backticks in docstrings are code, as in Markdown.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "none"

# The anchors that GitHub gives to headings.
myst_heading_anchors = 4


def notebook_as_markdown(text: str) -> str:
    """The cells of a notebook, one after the other, with what they print."""
    parts = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        else:
            printed = "".join("".join(output["text"]) for output in cell["outputs"])
            parts.append(
                f"```python\n{source}\n```\n\n```text\n{printed.rstrip()}\n```"
                if printed
                else f"```python\n{source}\n```"
            )
    return "\n\n".join(parts) + "\n"


def offer_outside_files(text: str, folder: Path) -> str:
    """Let readers download a file that a link names outside `docs`; links to folders there become plain text."""

    def replace(link: re.Match[str]) -> str:
        target = (folder / link["path"]).resolve()
        if not target.exists() or target.is_relative_to(DOCS):
            return link[0]
        name = link["text"].replace("`", "")
        return f"{{download}}`{name} <{link['path']}>`" if target.is_file() else link["text"]

    return re.sub(r"\[(?P<text>[^][]+)\]\((?P<path>\.\./[^)#]+)(?:#[^)]*)?\)", replace, text)


def read_source(app: Sphinx, page: str, source: list[str]) -> None:
    """Replace a notebook by Markdown, and add the help of all commands to their page."""
    path = Path(app.env.doc2path(page))
    if path.suffix == ".ipynb":
        source[0] = notebook_as_markdown(source[0])
    elif page == "reference/commands":
        source[0] += commands_as_markdown()
    source[0] = offer_outside_files(source[0], path.parent)


def setup(app: Sphinx) -> None:
    """Connect the pages that are made from code."""
    app.connect("source-read", read_source)
