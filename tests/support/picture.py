"""The picture of a real run in README, `flows/cli/run.svg`.

`python -m tests.support.picture` makes it anew.
"""

import re
import tempfile
from io import StringIO
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from tests.support.program import ROOT, ceramic_order, run

PICTURE = ROOT / "flows" / "cli" / "run.svg"
SAMPLE = "--streams 1000 --length 10 --forks 0.1 --missing 0.001 --order shuffled"
COMMANDS = ("status node.db", "run node.db --dry-run", "run node.db")
WIDTH = 72

FONT = re.compile(r"@font-face \{\{.*?\}\}\s*", re.DOTALL)
"""Rich names a place in the network for its font; without it the reader's own is used."""

TIMES = re.compile(r"(seconds|events a second) │ [\d,.]+")
PLAN = re.compile(r"(a run [\d,]+ undelivered events).*?disk free", re.DOTALL)
WIDTHS = re.compile("[─━]+|(&#160;)+")
"""What differs from run to run and between machines: times, memory, disk and widths of tables."""


def picture() -> str:
    """What the commands print on a terminal, one after another, as SVG."""
    console = Console(record=True, width=WIDTH, file=StringIO())
    with tempfile.TemporaryDirectory() as folder:
        run(ceramic_order("synth", "node.db", *SAMPLE.split(), "-q"), cwd=Path(folder))
        for command in COMMANDS:
            ended = run(
                ceramic_order(*command.split(), "-q"),
                cwd=Path(folder),
                environment={"FORCE_COLOR": "1", "COLUMNS": str(WIDTH)},
            )
            console.print(f"[bold]$ ceramic-order {command}[/]", highlight=False)
            console.print(Text.from_ansi(ended.out))
    drawn = console.export_svg(
        title="ceramic-order", code_format=FONT.sub("", CONSOLE_SVG_FORMAT), unique_id="run"
    )
    drawn = re.sub("<!--.*?-->", "", drawn)
    return "\n".join(line.rstrip() for line in drawn.splitlines()) + "\n"


def without_times(drawn: str) -> str:
    """A picture without what differs from run to run: the text alone, without measured numbers."""
    text = "\n".join(re.findall(r"<text [^>]*>(.*?)</text>", drawn))
    return TIMES.sub(r"\1", PLAN.sub(r"\1", WIDTHS.sub(" ", text)))


if __name__ == "__main__":
    PICTURE.write_text(picture())
