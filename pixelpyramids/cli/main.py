"""The command line: `pixelpyramids COMMAND`.

Each command is a function in the module of its name: its parameters are the options, and it returns the exit status.
A module is imported when its command or help is needed. What is slow to import (torch, the codec) is imported by
the functions that use it, so that help is quick and needs no extra.

Exit status: 0 all well, 1 some files failed, 2 bad usage or input, 130 interrupted.
"""

import sys
from importlib import import_module
from typing import Annotated, Any, ClassVar

import typer
from typer.core import TyperGroup

from pixelpyramids.cli.exit_status import run

FILES, MODELS, DATA = "Compress images", "Train and use models", "Prepare a training"


class LazyGroup(TyperGroup):
    """A group that imports `pixelpyramids.cli.NAME` when the command NAME is needed."""

    panels: ClassVar[dict[str, str]]
    prefix = ""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        loaded: dict[str, Any] = {name: self.commands.get(name) for name in self.panels}
        self.commands = loaded

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, or None."""
        if cmd_name in self.commands and self.commands[cmd_name] is None:
            name = self.prefix + cmd_name.replace("-", "_")
            module = import_module(f"pixelpyramids.cli.{name}")
            function = getattr(module, name)
            text = "\n\n".join(" ".join(paragraph.split()) for paragraph in function.__doc__.split("\n\n"))
            command = typer.Typer(add_completion=False)
            command.command(cmd_name, help=text, rich_help_panel=self.panels[cmd_name])(function)
            self.commands[cmd_name] = typer.main.get_command(command)
        return self.commands.get(cmd_name)


class Commands(LazyGroup):
    """All commands, in the order of the help."""

    panels: ClassVar = {
        "compress": FILES,
        "decompress": FILES,
        "info": FILES,
        "verify": FILES,
        "bench": FILES,
        "demo": MODELS,
        "train": MODELS,
        "evaluate": MODELS,
        "score": MODELS,
        "sample": MODELS,
        "complete": MODELS,
        "curve": MODELS,
        "import-checkpoint": MODELS,
        "export": MODELS,
        "plan": DATA,
        "data": DATA,
    }


class DataCommands(LazyGroup):
    """`pixelpyramids data COMMAND`."""

    panels: ClassVar = {"check": DATA}
    prefix = "data_"


def _exit(status: int | None, **_: object) -> None:
    raise typer.Exit(status or 0)


app = typer.Typer(
    name="pixelpyramids",
    cls=Commands,
    help="Compress images without loss, and train and use the models that make it possible.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    result_callback=_exit,
)
data_app = typer.Typer(name="data", cls=DataCommands, help="Check data before training on it.", no_args_is_help=True)
app.add_typer(data_app, rich_help_panel=DATA)


@data_app.callback()
def _data() -> None:
    """Check data before training on it."""


def _print_version(requested: bool) -> None:
    if requested:
        from pixelpyramids import __version__

        print(f"pixelpyramids {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Compress images without loss, and train and use the models that make it possible."""


def main() -> None:
    """The entry point of `pixelpyramids`."""
    sys.exit(run(app))
