"""Figures in tables: how numbers are written, and tables with a column of names and columns of numbers."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from pixelpyramids.terminal import printable

NOTHING = "–"


def new_table(first: str, *others: str, title: str | None = None) -> Table:
    """An empty table, its columns after the first one for numbers."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(Text(name), justify="right", no_wrap=True)
    return table


def ratio(part: float, whole: float) -> float:
    """Part / whole, or NaN if `whole` is 0."""
    return float(part) / float(whole) if whole else math.nan


def format_figure(figure: float, decimals: int) -> str:
    """The figure as text: a dash if it is not finite."""
    return f"{figure:.{decimals}f}" if math.isfinite(figure) else NOTHING


def best_in_bold(figures: Sequence[float]) -> list[Text]:
    """Figures with three decimals, the smallest one bold."""
    best = min(filter(math.isfinite, figures), default=None)
    return [Text(format_figure(figure, 3), style="bold" if figure == best else "") for figure in figures]


def names_in_common_folder(files: Sequence[str | Path]) -> list[Text]:
    """The paths of files below the deepest folder that holds them all."""
    paths = [os.path.abspath(file) for file in files]
    shared = os.path.commonpath([os.path.dirname(path) for path in paths])
    return [Text(printable(os.path.relpath(path, shared))) for path in paths]
