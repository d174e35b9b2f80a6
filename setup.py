"""Everything stands in pyproject.toml; this writes the commit that a wheel is built from into the wheel."""

import runpy
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithCommit(build_py):
    """build_py, and a file beside traces/provenance.py, which reads it."""

    def run(self) -> None:
        super().run()
        provenance = runpy.run_path("src/ergo/traces/provenance.py")
        commit = provenance["commit"]()
        if commit and not self.editable_mode:
            Path(self.build_lib, "ergo", "traces", provenance["BUILT_FROM"]).write_text(commit + "\n", encoding="ascii")


setup(cmdclass={"build_py": BuildWithCommit})
