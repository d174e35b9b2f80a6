"""Write what the docs say of the code from the code: flags of all verbs, model families.

python tools/commands.py          writes docs/commands.md, and the table in docs/models.md
python tools/commands.py --check  writes nothing; status 1 where they differ (tests/packaging/test_docs.py)
"""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from pathlib import Path

WIDEST = 98
DOCS = Path(__file__).resolve().parents[1] / "docs"
MARKS = ("<!-- generated: families -->\n\n", "\n<!-- end -->\n")


def commands() -> str:
    """Every verb with its flags, as argparse knows them."""
    from ergo.cli.main import VERBS, parser

    lines = [
        "# Commands",
        "",
        "Made from the parsers by `python tools/commands.py`: change the help texts there.",
        "",
    ]
    lines += [
        "| | |",
        "|---|---|",
        *(f"| [`ergo {verb}`](#ergo-{verb}) | {summary} |" for verb, summary in VERBS.items()),
    ]
    for verb in VERBS:
        [verbs] = [one for one in parser(verb)._actions if isinstance(one, argparse._SubParsersAction)]
        own = verbs.choices[verb]
        lines += [
            "",
            f"## ergo {verb}",
            "",
            *textwrap.wrap(own.description or "", WIDEST),
            "",
            "| flag | |",
            "|---|---|",
        ]
        lines += [
            f"| `{_name(action)}` | {_cell(action)} |" for action in own._actions if action.help != argparse.SUPPRESS
        ]
        if own.epilog:
            examples = own.epilog.removeprefix("examples:").strip("\n")
            lines += ["", "```sh", *(_narrow(line.strip()) for line in examples.splitlines() if line.strip()), "```"]
    about = (parser().epilog or "").partition("examples:")[0].strip("\n")
    lines += ["", "## Environment and exit status", "", "```text", *about.splitlines(), "```"]
    return "\n".join(lines) + "\n"


def _narrow(command: str) -> str:
    """A long command on two lines, broken before a flag."""
    place = command.rfind(" --", 0, WIDEST) if len(command) > WIDEST else -1
    return command if place < 0 else f"{command[:place]} \\\n {command[place:]}"


def _name(action: argparse.Action) -> str:
    value = action.metavar or ("{" + ",".join(map(str, action.choices)) + "}" if action.choices else "")
    value = " ".join(value) if isinstance(value, tuple) else value
    if not action.option_strings:
        return value or action.dest
    if action.nargs == 0:
        return ", ".join(action.option_strings)
    return ", ".join(action.option_strings) + f" {value or action.dest.upper()}"


def _cell(action: argparse.Action) -> str:
    shown = {"prog": "ergo", "default": action.default, "dest": action.dest}
    return ((action.help or "") % shown).replace("|", "\\|").replace("<", "&lt;")


def families() -> str:
    """The table of model families."""
    from ergo.families import FAMILIES

    rows = [f"| `{one.name}` | {one.frame} | {one.patch} | {one.budget} |" for _, one in sorted(FAMILIES.items())]
    head = "| `--family` | coordinates count | pixels a token sees, per side | default budget |"
    return "\n".join([head, "|---|---|---|---|", *rows]) + "\n"


def main() -> int:
    """Write, or with --check compare."""
    os.environ["COLUMNS"] = "100"
    models = (DOCS / "models.md").read_text(encoding="utf-8")
    before, rest = models.split(MARKS[0])
    wanted = {
        DOCS / "commands.md": commands(),
        DOCS / "models.md": before + MARKS[0] + families() + MARKS[1] + rest.split(MARKS[1])[1],
    }
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv:
        for path in stale:
            print(f"{path.name} is not what the code says: run python tools/commands.py")
        return 1 if stale else 0
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
