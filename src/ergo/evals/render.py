"""Tables as text for a terminal, Markdown, LaTeX (booktabs) and CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator

from ergo.evals.report import Report
from ergo.evals.summary import Figures, Score
from ergo.evals.tables import Table, caption, comparisons_table, figures_table, model_of, remarks, tables

SCORED = ("samples", "answers", "accuracy", "low", "high", "interval_method")
COST = ("failed", "vision_tokens", "seconds")

_LATEX = {character: rf"\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}


def as_text(report: Report) -> str:
    """What a terminal shows: the caption, the figures, remarks, and comparisons where there are several conditions."""
    parts = [caption(report), columns(figures_table(report.figures)), *remarks(report)]
    if report.comparisons:
        parts += ["", columns(comparisons_table(report.comparisons))]
    return "\n".join(parts)


def columns(table: Table) -> str:
    """Aligned columns: words to the left, figures to the right."""
    lines = (table.head, *table.rows)
    widths = [max(len(row[place]) for row in lines) for place in range(len(table.head))]
    aligned = (
        "  ".join(
            cell.ljust(width) if place < table.words else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in lines
    )
    return "\n".join(line.rstrip() for line in aligned)


def as_markdown(report: Report) -> str:
    """Every table, each under its caption."""
    parts = [f"{caption(report)}.", *(f"* {line}" for line in remarks(report))]
    for table in tables(report):
        rule = " | ".join("---" if place < table.words else "---:" for place in range(len(table.head)))
        rows = [" | ".join(_markdown(cell) for cell in row) for row in (table.head, *table.rows)]
        body = "\n".join(f"| {line} |" for line in (rows[0], rule, *rows[1:]))
        parts.append(f"**{table.title}**" + (f" ({table.note})" if table.note else "") + f"\n\n{body}")
    return "\n\n".join(parts) + "\n"


def _markdown(cell: str) -> str:
    """A cell as plain text: nothing in it is markup, and nothing ends the cell."""
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", " ".join(cell.split()))


def as_latex(report: Report) -> str:
    """Every table for `\\usepackage{booktabs,graphicx}`, with captions that stand alone; too wide for the page: made smaller."""
    parts = ["% \\usepackage{booktabs,graphicx}"]
    for table in tables(report):
        text = f"{table.title}. {caption(report)}." + (f" {table.note}." if table.note else "")
        rows = [" & ".join(_latex(cell) for cell in row) + r" \\" for row in table.rows]
        head = " & ".join(_latex(cell) for cell in table.head) + r" \\"
        label = re.sub(r"\W+", "-", table.title.lower())
        parts.append(
            "\n".join(
                (
                    r"\begin{table}",
                    r"\centering",
                    rf"\caption{{{_latex(text)}}}",
                    rf"\label{{tab:{label}}}",
                    r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
                    rf"\begin{{tabular}}{{{'l' * table.words}{'r' * (len(table.head) - table.words)}}}",
                    r"\toprule",
                    head,
                    r"\midrule",
                    *rows,
                    r"\bottomrule",
                    r"\end{tabular}}",
                    r"\end{table}",
                )
            )
        )
    return "\n\n".join(parts) + "\n"


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def as_csv(report: Report) -> str:
    """One line a condition and category (empty: all of them; `Perception, all`: a benchmark's subtotal), shares of 1, for a spreadsheet or pandas."""
    config, made_with = report.run.config, report.run.made_with
    run = {
        "model": model_of(config),
        **{name: config[name] for name in ("benchmark", "split", "preset")},
        "commit": made_with.get("commit") or "",
    }
    out = io.StringIO()
    writer = csv.DictWriter(out, (*run, "condition", "category", *SCORED, *COST), lineterminator="\n")
    writer.writeheader()
    for figures in report.figures:
        cost = {name: getattr(figures, name) for name in COST}
        for category, score in _scores(figures):
            values = {name: getattr(score, name) for name in SCORED if name not in ("low", "high")}
            values["low"], values["high"] = score.accuracy_interval
            row = run | {"condition": figures.condition, "category": category} | values
            writer.writerow(row | (cost if not category else {}))
    return out.getvalue()


def _scores(figures: Figures) -> Iterator[tuple[str, Figures | Score]]:
    yield "", figures
    yield from figures.parts()
