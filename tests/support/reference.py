"""The tables of options in `flows/cli/README.md`, made from the commands themselves.

`python -m tests.support.reference` writes them anew.
"""

import re
from importlib import import_module

import click

from flows.cli.main import COMMANDS
from tests.support.program import ROOT

REFERENCE = ROOT / "flows" / "cli" / "README.md"
TABLE = "<!-- options of {name} -->\n{rows}<!-- end -->"
EVERYWHERE = ("quiet", "as_json")
"""Options that every command has; they have a table of their own."""


def command(name: str) -> click.Command:
    """The command of this name."""
    found: click.Command = import_module(f"flows.cli.{name}").command
    return found


def tables() -> dict[str, str]:
    """The table of each command's options by the name of the command, and that of all commands."""
    found = {
        name: _table(name, [p for p in command(name).params if p.name not in EVERYWHERE])
        for name in COMMANDS
    }
    common = [p for p in command("run").params if p.name in EVERYWHERE]
    return {**found, "every command": _table("every command", common)}


def with_tables(text: str) -> str:
    """The text with every table as it has to be."""
    for name, table in tables().items():
        marked = TABLE.format(name=re.escape(name), rows=".*?")
        text = table.join(re.split(marked, text, flags=re.DOTALL))
    return text


def _table(name: str, parameters: list[click.Parameter]) -> str:
    context = click.Context(command("run"))
    rows = []
    for option in parameters:
        if isinstance(option, click.Option) and (record := option.get_help_record(context)):
            names, text = (part.replace("|", "\\|") for part in record)
            rows.append(f"| `{names}` | {text} |\n")
    head = "| option | |\n| --- | --- |\n"
    return TABLE.format(name=name, rows=head + "".join(rows) if rows else "")


if __name__ == "__main__":
    REFERENCE.write_text(with_tables(REFERENCE.read_text()))
