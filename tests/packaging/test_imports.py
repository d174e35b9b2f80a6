"""Nothing of the core needs a POSIX system: what Windows lacks is made unimportable, then the core is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

WITHOUT = (
    "fcntl grp pwd resource termios tty pty posix_ipc readline syslog torch transformers pyarrow fastapi ray trl pyvips"
    " simplejpeg cykooz_resizer isal pybase64"
)
CODE = f"""
import sys
from pathlib import Path
for name in {WITHOUT.split()!r}: sys.modules[name] = None
import ergo
from ergo.cli.main import VERBS, main, parser
for verb in VERBS:
    try: parser(verb)
    except ergo.ErgoError as error: assert "needs an extra" in str(error)
import ergo.evals.run, ergo.evals.report, ergo.world.dataset, ergo.samples.sample, ergo.recipes
from ergo.traces.folder import RunFolder
with RunFolder(Path("run"), {{"model": "m"}}) as run:
    run.write({{"key": "a", "error": None}})
    try: RunFolder(Path("run"), {{"model": "m"}})
    except ergo.ErgoError as error: assert "another process" in str(error)
    else: raise AssertionError("opened twice")
assert RunFolder(Path("run"), {{"model": "m"}}).done() == {{"a"}}
trace = ergo.ask(Path(ergo.__file__).parent / "demo" / "plate.jpg", "q?", model="scripted:<answer>x</answer>")
assert trace.answer.text == "x", trace
print("used")
"""


def test_the_core_works_without_posix_modules_and_without_extras(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == "used\n", done.stderr
