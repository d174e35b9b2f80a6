"""The graders of lmms-eval and VLMEvalKit and ours on the same 2,000 replies: docs/other-graders.md.

    python tools/other_graders.py replies FOLDER          ours, in this package's environment
    LMMS/bin/python tools/other_graders.py lmms-eval FOLDER     theirs, each in an environment of its own:
    KIT/bin/python tools/other_graders.py vlmevalkit FOLDER     pip install lmms-eval==0.7.3; ms-vlmeval==0.0.20
    python tools/other_graders.py table FOLDER            agreement, and every kind of disagreement, as Markdown

Replies are written by kind, each with the option that a person reads in it (none, where no one answer is given). In half
of them that option is the right one. Theirs run as they are imported, without a judge model (no key, no network): where
theirs would ask one, the verdict is `judge`. Only the packages' models and API clients are not loaded.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

BENCHMARKS = ("V*", "HR-Bench", "MME-RealWorld")
EACH = 2000
QUESTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("What is the material of the glove?", ("rubber", "cotton", "kevlar", "leather")),
    ("What is the color of the tissue box?", ("gray", "white", "black", "blue")),
    ("Which number is on the tower?", ("A5", "B5", "5", "15")),
    ("Where is the dog?", ("left of the car", "right of the car", "behind the car", "in the car")),
    ("What does the sign say?", ("Exit", "No exit", "Emergency exit", "Entrance")),
    ("What is the phone number on the van?", ("1-800-356-9377", "1-800-356-9477", "1-800-365-9377", "none")),
)
UNSEEN = "This image doesn't feature the content."
# kind -> (reply, what is read): {L} {T} letter and text of the option meant, {O} {U} of another one, {ALL} the listing.
KINDS: dict[str, tuple[str, bool]] = {
    "letter": ("{L}", True),
    "letter in brackets": ("({L})", True),
    "letter with a full stop": ("{L}.", True),
    "small letter": ("{l}", True),
    "letter and text": ("{L}. {T}", True),
    "bracketed letter and text": ("({L}) {T}", True),
    "letter, colon, text": ("{L}: {T}", True),
    "text": ("{T}", True),
    "text in capitals": ("{TT}", True),
    "answer: letter": ("Answer: {L}", True),
    "the answer is": ("The answer is {L}.", True),
    "the correct answer is": ("The correct answer is ({L}) {T}.", True),
    "the best answer is": ("The best answer is: {L}", True),
    "bold": ("**{L}**", True),
    "bold answer": ("**Answer: {L}. {T}**", True),
    "boxed": ("\\boxed{{{L}}}", True),
    "boxed in a sentence": ("Therefore, the final answer is $\\boxed{{\\text{{{L}}}}}$.", True),
    "tags": ("<answer>{L}</answer>", True),
    "tags with text": ("<answer>{L}. {T}</answer>", True),
    "thought and tags": ("<think>At first it looks like {U}. Looking closer, I am sure.</think><answer>{L}</answer>", True),
    "thought names another letter": ("<think>Option {O} seems likely at first.</think>\n<answer>{L}</answer>", True),
    "unclosed thought": ("<think>I look at the region closely.\nThe answer is {L}.", True),
    "JSON": ('{{"answer": "{L}"}}', True),
    "reason behind the letter": ("{L}\n\nBecause a closer look shows exactly this.", True),
    "reason before": ("Based on the image, this can be read clearly. So the answer is {L}.", True),
    "reason that begins with a capital": ("Dark pixels in the crop show it: {L}", True),
    "I choose": ("After comparing A, B, C and D, I choose {L}.", True),
    "listing, then answer": ("{ALL}\n\nAnswer: {L}", True),
    "statement of the text": ("From the enlarged picture one can see it well: it is {T}.", True),
    "letter is correct": ("{L} is correct.", True),
    "option letter": ("Option {L} describes it.\nFinal answer: {L}", True),
    "answer, then another option spoken of": ("Answer: {L}\nOption {O} is what the background shows.", True),
    "correction": ("The answer is {O}. Wait, that is wrong. The answer is {L}.", True),
    "denied, then answered": ("It is not {O}. The answer is {L}.", True),
    "Chinese": ("正确答案是{L}。", True),
    "Chinese with brackets": ("答案：（{L}）{T}", True),
    "Russian": ("Правильный ответ: {L}", True),
    "Spanish": ("La respuesta correcta es {L}.", True),
    "two letters": ("{L} or {O}", False),
    "two texts": ("{T}, {U}", False),
    "contradiction": ("{L}. The answer is {O}.", False),
    "denied": ("The answer is not {L}.", False),
    "refused": ("I'm sorry, but I can't determine this.", False),
    "empty": ("", False),
    "cut off": ("A close look at the picture shows that the", False),
    "letter that was not shown": ("H", False),
    "prose without an answer": ("Both could be meant; Details are not visible.", False),
}  # fmt: skip


def replies(folder: Path) -> None:
    """replies.jsonl: who asked, options, right letter, the reply, the letter read by a person, our verdict."""
    from ergo.families import family_named
    from ergo.grading import Truth, grade

    family = family_named("qwen2_5_vl")
    draw = random.Random(7)
    rows = []
    for number in range(EACH):
        kind = list(KINDS)[number % len(KINDS)]
        template, read = KINDS[kind]
        benchmark = BENCHMARKS[number // len(KINDS) % len(BENCHMARKS)]
        question, options = draw.choice(QUESTIONS)
        options = (*options, UNSEEN) if benchmark == "MME-RealWorld" else options
        letters = "ABCDE"[: len(options)]
        meant, other = draw.sample(range(len(options)), 2)
        right = (
            meant if draw.random() < 0.5 else draw.choice([place for place in range(len(options)) if place != meant])
        )
        text, instead = options[meant], options[other]
        words = {"L": letters[meant], "l": letters[meant].lower(), "T": text, "TT": text.upper(), "O": letters[other]}
        listing = "\n".join(f"{letter}. {option}" for letter, option in zip(letters, options, strict=True))
        reply = template.format(**words, U=instead, ALL=listing)
        verdict = grade("ours", reply, family.read_answer(reply)[0], Truth((options[right],), options, right))
        rows.append(
            {
                "benchmark": benchmark,
                "kind": kind,
                "question": question,
                "options": options,
                "right": letters[right],
                "reply": reply,
                "person": read and meant == right,
                "ours": verdict.right,
                "reason": verdict.reason,
            }
        )
    _write(folder / "replies.jsonl", rows)


Grader = Callable[[dict[str, Any]], bool | str]


def lmms_eval() -> dict[str, Grader]:
    """Their `process_results`, as their tasks call it."""
    from lmms_eval.tasks.hrbench.hrbench_evals import HRBenchEval  # type: ignore[import-not-found, unused-ignore]
    from lmms_eval.tasks.mme_realworld.utils import (  # type: ignore[import-not-found, unused-ignore]
        mme_realworld_process_results,
    )
    from lmms_eval.tasks.vstar_bench.utils import (  # type: ignore[import-not-found, unused-ignore]
        vstar_process_results,
    )

    judge = HRBenchEval(api_key="")

    def vstar(row: dict[str, Any]) -> bool:
        doc = {"label": row["right"], "category": "all", "text": row["question"], "question_id": 0}
        return vstar_process_results(doc, [row["reply"]])["vstar_overall_acc"]["score"] == 1.0

    def hrbench(row: dict[str, Any]) -> bool | str:
        found = judge.can_infer(row["reply"].strip(), dict(zip("ABCDE", row["options"], strict=False)))
        return found.lower() == row["right"].lower() if found else "judge"

    def mme(row: dict[str, Any]) -> bool:
        doc = {
            "category": "Perception/OCR with Complex Context",
            "l2-category": "x",
            "index": 0,
            "answer": row["right"],
        }
        result = mme_realworld_process_results(doc, [row["reply"]])["mme_realworld_score"]
        return result["answer"].lower() in result["pred_answer"].lower()  # as their aggregate counts it

    return dict(zip(BENCHMARKS, (vstar, hrbench, mme), strict=True))


def vlmevalkit() -> dict[str, Grader]:
    """`exact_matching` for V* and HR-Bench; MME-RealWorld's own."""
    _without_models()
    from vlmeval.dataset.utils.multiple_choice import (  # type: ignore[import-not-found, unused-ignore]
        extract_answer_from_item,
        extract_characters_regex,
    )

    def choice(row: dict[str, Any]) -> bool | str:
        item = {
            "question": row["question"],
            "prediction": row["reply"],
            **dict(zip("ABCDE", row["options"], strict=False)),
        }
        found = extract_answer_from_item(None, item)
        return "judge" if found["log"].startswith("Failed in Prefetch") else found["opt"] == row["right"]

    def mme(row: dict[str, Any]) -> bool:
        return bool(extract_characters_regex(row["reply"]) == row["right"])

    return dict(zip(BENCHMARKS, (choice, choice, mme), strict=True))


def _without_models() -> None:
    """Their model classes and API clients want other people's CUDA builds; the graders use none of them."""
    import importlib.abc
    import importlib.machinery
    import types
    from unittest.mock import MagicMock

    class Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
        def find_spec(self, name: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
            absent = ("vlmeval.vlm", "vlmeval.api", "vlmeval.config", "vlmeval.tools", "torchvision")
            return importlib.machinery.ModuleSpec(name, self, is_package=True) if name.startswith(absent) else None

        def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
            module = types.ModuleType(spec.name)

            def missing(name: str) -> MagicMock:
                if name.startswith("__"):
                    raise AttributeError(name)
                return MagicMock()

            module.__dict__.update(__path__=[], __getattr__=missing)
            return module

        def exec_module(self, module: types.ModuleType) -> None:
            pass

    sys.meta_path.insert(0, Absent())


def graded(folder: Path, name: str, graders: dict[str, Grader]) -> None:
    """NAME.jsonl: one verdict a reply."""
    _write(folder / f"{name}.jsonl", [graders[row["benchmark"]](row) for row in _read(folder / "replies.jsonl")])


def table(folder: Path) -> None:
    """Agreement by benchmark; then every kind of reply on which two disagree, and who reads it as a person does."""
    rows, names = _read(folder / "replies.jsonl"), ("lmms-eval", "vlmevalkit")
    theirs = {name: _read(folder / f"{name}.jsonl") for name in names}
    print(
        "| benchmark | grader | reads as a person does | otherwise | leaves to a judge | agrees with ours where it decides |"
    )
    print("|---|---|---:|---:|---:|---:|")
    for benchmark in BENCHMARKS:
        mine = [place for place, row in enumerate(rows) if row["benchmark"] == benchmark]
        for name in ("ours", *names):
            verdicts = [(rows[place]["ours"] if name == "ours" else theirs[name][place], rows[place]) for place in mine]
            decided = [(verdict, row) for verdict, row in verdicts if verdict != "judge"]
            right = sum(verdict is row["person"] for verdict, row in decided)
            same = sum(verdict is row["ours"] for verdict, row in decided)
            share = "" if name == "ours" else f"{100 * same / len(decided):.1f} %"
            asked = len(verdicts) - len(decided)
            print(f"| {benchmark} | {name} | {right} | {len(decided) - right} | {asked} | {share} |")
    print("\n| kind of reply | for example | disagree with ours: lmms-eval | VLMEvalKit | a person sides with |")
    print("|---|---|---|---|---|")
    for kind in KINDS:
        places = [place for place, row in enumerate(rows) if row["kind"] == kind]
        cells, sides = [], Counter[str]()
        for name in names:
            found: dict[str, int] = defaultdict(int)
            for place in places:
                row, verdict = rows[place], theirs[name][place]
                if verdict is not row["ours"]:
                    found[
                        f"{row['benchmark']} {'judge' if verdict == 'judge' else 'right' if verdict else 'wrong'}"
                    ] += 1
                    sides["ours" if row["ours"] == row["person"] else name] += (
                        verdict != "judge" or row["ours"] != row["person"]
                    )
            cells.append(", ".join(f"{count} {what}" for what, count in sorted(found.items())) or "-")
        if cells != ["-", "-"] or any(rows[place]["ours"] != rows[place]["person"] for place in places):
            example = " ".join(rows[places[0]]["reply"].split()) or "(nothing)"
            print(
                f"| {kind} | `{example.replace('|', '/')}` | {' | '.join(cells)} | {', '.join(name for name, n in sides.items() if n) or '-'} |"
            )


def _write(path: Path, rows: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _read(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    step, place = sys.argv[1], Path(sys.argv[2])
    if step == "replies":
        replies(place)
    elif step == "table":
        table(place)
    else:
        graded(place, step, {"lmms-eval": lmms_eval, "vlmevalkit": vlmevalkit}[step]())
