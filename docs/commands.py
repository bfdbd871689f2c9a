"""The page of all commands, from the help that the command line itself prints."""

import inspect
from collections.abc import Iterator
from typing import Any

import typer

from pixelpyramids.cli import main


def option_rows(command: Any) -> Iterator[str]:
    """A row of the table for each argument and option."""
    context = typer.Context(command)
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is None:
            continue
        names, text = (" ".join(inspect.cleandoc(part).split()).replace("|", "\\|") for part in record)
        yield f"| `{names}` | {text} |"


def command_as_markdown(command: Any, name: str) -> str:
    """Heading, help, usage and options of a command."""
    usage = " ".join(command.collect_usage_pieces(typer.Context(command)))
    table = "\n".join(("| argument or option | meaning |", "|---|---|", *option_rows(command)))
    return f"### {name}\n\n{command.help}\n\n```text\npixelpyramids {name} {usage}\n```\n\n{table}\n"


def commands_as_markdown() -> str:
    """All commands, by the headings of the help."""
    root = typer.main.get_command(main.app)
    parts = []
    for heading, names in main.SECTIONS.items():
        parts.append(f"\n## {heading}\n")
        for name in names:
            command = root.get_command(None, name)
            subcommands = getattr(command, "commands", None) or {"": command}
            parts += [command_as_markdown(each, f"{name} {part}".strip()) for part, each in subcommands.items()]
    return "\n".join(parts)
