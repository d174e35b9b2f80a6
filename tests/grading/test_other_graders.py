"""The replies that ours is compared with other graders on: each is read as a person reads it."""

import json
import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).resolve().parents[2] / "tools" / "other_graders.py"


def test_every_kind_of_reply_is_read_as_a_person_reads_it(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(TOOL), "replies", str(tmp_path)], check=True)
    rows = [json.loads(line) for line in (tmp_path / "replies.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 2000
    assert {row["kind"]: row["reply"] for row in rows if row["ours"] != row["person"]} == {}
