"""The command line: `pixelpyramids COMMAND`.

Each command is a function in the module of its name: its parameters are the options, and it returns the exit status.
A module is imported when its command or its help is needed. What is slow to import (torch, the codec) is imported by
the functions that use it, so that help is quick and needs no extra.

Exit status: 0 all well, 1 some files failed, 2 bad usage or input, 130 interrupted.
"""

import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from pixelpyramids.cli.console import manners
from pixelpyramids.cli.exit_status import run

SECTIONS = {
    "Compress images": ("compress", "decompress", "archive", "info", "verify", "bench", "serve"),
    "Train and use models": ("demo", "train", "evaluate", "score", "odd", "sample", "complete", "curve", "report"),
    "Prepare a training": ("plan", "data"),
    "Convert models": ("import-checkpoint", "export"),
    "Find problems": ("doctor",),
}
"""The commands, by the headings of the help."""

GROUPS = {
    "archive": ("Look into an archive, verify it, and restore images.", ("status", "list", "verify", "restore")),
    "data": ("Check data before training on it.", ("check",)),
}
"""The commands that are groups: their help, and their own commands."""

MODULES = {"report": "report_run"}  # cli/report is a folder
"""The modules and functions of commands that do not have the command's name."""

HEADINGS = {name: heading for heading, names in SECTIONS.items() for name in names}


class _FlagsWithoutType:
    """A command whose help shows no type after flags."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The options and arguments."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for flag in (param for param in params if getattr(param, "is_flag", False)):
            flag.metavar = ""
        return params


class _Command(_FlagsWithoutType, TyperCommand):
    """A command with `--quiet` and `--verbose`."""

    def __init__(self, *arguments: Any, params: list[Any], **options: Any) -> None:
        if not any(param.name == "quiet" for param in params):
            params.append(_flag("-q", "quiet", "Print only results, failures and warnings."))
        params.append(_flag("-v", "verbose", "Also print the time and memory taken, and where an error arose."))
        super().__init__(*arguments, params=params, **options)


def _flag(letter: str, name: str, help: str) -> TyperOption:
    """A flag of all commands, which sets the manners of that name."""

    def note(ctx: Any, param: Any, value: bool) -> None:
        setattr(manners, name, value)

    return TyperOption(param_decls=[letter, f"--{name}"], is_flag=True, expose_value=False, callback=note, help=help)


class _Group(_FlagsWithoutType, TyperGroup):
    pass


class Commands(_Group):
    """All commands; each is imported when it is needed."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands: dict[str, Any] = dict.fromkeys(HEADINGS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, or None."""
        if cmd_name in self.commands and self.commands[cmd_name] is None:
            self.commands[cmd_name] = _load(cmd_name)
        return self.commands.get(cmd_name)


def _load(name: str) -> Any:
    """Import a command, or a group with all its commands."""
    group = typer.Typer(name=name, cls=_Group, add_completion=False)
    text, commands = GROUPS.get(name, ("", (name,)))
    if text:
        group.callback(help=text, no_args_is_help=True)(lambda: None)
    for each in commands:
        module = f"{name}_{each}" if text else MODULES.get(name, name.replace("-", "_"))
        function = getattr(import_module(f"pixelpyramids.cli.{module}"), module)
        paragraphs = (function.__doc__ or "").split("\n\n")
        help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
        group.command(each, cls=_Command, help=help)(function)
    command: Any = typer.main.get_command(group)
    command.rich_help_panel = HEADINGS[name]
    return command


def _exit(status: int | None, **_: object) -> None:
    raise typer.Exit(status or 0)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    result_callback=_exit,
)


def _print_version(requested: bool) -> None:
    if requested:
        from pixelpyramids import __version__

        print(f"pixelpyramids {__version__}")
        raise typer.Exit


@app.callback(
    help="Compress images without loss, and train and use the models that make this possible.\n\n"
    "Figures in bits/dim say how many bits each value of an image takes (a pixel in colour has three values): 8 "
    "without compression. Fewer means a smaller file, or a likelier image. Sizes are height x width."
)
def _pixelpyramids(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """The entry point of `pixelpyramids`."""
    sys.exit(run(app))
