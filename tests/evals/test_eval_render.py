"""The report for a paper: Markdown, LaTeX, CSV and the plot say the same, whatever stands in a name."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from evaluating import ONE_LOOK, TWO_LOOKS, knowing, model, number_of, run_folder, samples
from hypothesis import given
from hypothesis import strategies as st

from ergo.core.messages import Request
from ergo.evals.files import write_report
from ergo.evals.plot import ticks
from ergo.evals.report import Report
from ergo.samples.sample import Sample

ODD = "50 % & <b>|# $x_1$ {~^\\}"


def half(request: Request) -> str:
    return knowing(request) if number_of(request) % 2 else "<answer>none</answer>"


def odd_samples() -> list[Sample]:
    return [replace(sample, category=ODD if sample.category == "odd" else "even") for sample in samples(8)]


@pytest.fixture
def report(tmp_path: Path) -> Report:
    run_folder(tmp_path, odd_samples, model(half), [TWO_LOOKS, ONE_LOOK])
    return write_report(tmp_path)


def test_every_form_is_written_beside_the_run(report: Report) -> None:
    names = {path.name for path in report.run.path.glob("report.*")}
    assert names == {f"report.{suffix}" for suffix in ("json", "html", "md", "tex", "csv", "svg")}


def test_csv_has_a_line_for_each_condition_and_category(report: Report) -> None:
    rows = list(csv.DictReader(io.StringIO((report.run.path / "report.csv").read_text())))
    assert [(row["condition"], row["category"]) for row in rows] == [
        (condition.name, category) for condition in (TWO_LOOKS, ONE_LOOK) for category in ("", ODD, "even")
    ]
    by_category = {row["category"]: float(row["accuracy"]) for row in rows[:3]}
    assert by_category == {"": 0.5, ODD: 1.0, "even": 0.0}
    assert float(rows[0]["low"]) < 0.5 < float(rows[0]["high"])


@pytest.mark.parametrize(
    ("categories", "names"),
    [
        (("Perception/Remote Sensing", "Perception/Monitoring", "Reasoning/Monitoring"), {"Perception, all": 0.25, "Reasoning, all": 1.0}),
        (("single", "single", "cross"), {"FSP": 0.25, "FCP": 1.0}),
    ],
)  # fmt: skip
def test_subtotals_are_those_of_the_benchmark_in_every_form(
    tmp_path: Path, categories: tuple[str, ...], names: dict[str, float]
) -> None:
    """Over samples, not over categories: of 4 samples in two categories 1 is right."""
    placed = [categories[0], categories[1], categories[1], categories[1], categories[2], categories[2]]

    def said(request: Request) -> str:
        return knowing(request) if number_of(request) in (1, 4, 5) else "<answer>none</answer>"

    run_folder(tmp_path, lambda: [replace(s, category=c) for s, c in zip(samples(6), placed, strict=True)], model(said))
    report = write_report(tmp_path)
    assert {name: score.accuracy for name, score in report.figures[0].parts() if name in names} == names
    rows = csv.DictReader(io.StringIO((tmp_path / "report.csv").read_text()))
    assert {row["category"]: float(row["accuracy"]) for row in rows if row["category"] in names} == names
    for suffix in ("html", "md", "tex"):
        text = (tmp_path / f"report.{suffix}").read_text().replace("\\%", "%")
        for name, accuracy in names.items():
            assert re.search(rf"{name}\b.{{0,200}}?{accuracy:.1%}", text, re.DOTALL), (suffix, name)
    subtotals = json.loads((tmp_path / "report.json").read_text())["subtotals"]
    assert {name.removesuffix(", all") for name in names} == set(subtotals)


def test_markdown_cells_hold_no_markup(report: Report) -> None:
    text = (report.run.path / "report.md").read_text()
    tables = [block.splitlines() for block in re.split(r"\n\n", text) if block.startswith("|")]
    assert len(tables) >= 4
    for lines in tables:
        columns = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
        assert len(columns) == 1, f"every row has as many cells: {lines}"
    assert r"\<b\>" in text


def test_captions_stand_alone(report: Report) -> None:
    for name in ("report.md", "report.tex"):
        text = (report.run.path / name).read_text()
        for fact in ("8 samples", "scored as ours", "wilson", "commit"):
            assert fact in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed (Debian: texlive-latex-base)")
def test_latex_compiles(report: Report, tmp_path: Path) -> None:
    body = (report.run.path / "report.tex").read_text()
    source = tmp_path / "paper.tex"
    source.write_text(
        "\\documentclass{article}\\usepackage{booktabs,graphicx}\\begin{document}\n" + body + "\\end{document}\n"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", source.name], cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
    assert b"Overfull" not in done.stdout


def test_every_latex_special_character_is_escaped(report: Report) -> None:
    tex = (report.run.path / "report.tex").read_text()
    row = next(line for line in tex.splitlines() if "textless" in line)
    assert row.count("&") - row.count(r"\&") == 3  # four columns, and the one of the name is text
    assert r"50 \% \& \textless{}b\textgreater{}\textbar{}\# \$x\_1\$ \{\textasciitilde{}\textasciicircum{}" in row


def test_the_plot_is_xml_with_numbers_on_both_axes(report: Report) -> None:
    svg = ElementTree.fromstring((report.run.path / "report.svg").read_text())
    texts = [element.text or "" for element in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert {"accuracy", "vision tokens per sample", "coarse_to_fine", "one_look", "80 %"} <= set(texts)
    assert sum(text.replace(",", "").isdecimal() for text in texts) >= 2


@given(st.floats(1, 20_000), st.floats(1.3, 300))
def test_there_are_round_ticks_on_every_axis(low: float, factor: float) -> None:
    high = low * factor
    found = ticks(low, high)
    assert all(low <= tick <= high for tick in found)
    assert len(found) <= 20
    assert len(found) >= 2 or high - low < 2
