"""What stands in deploy/ is of one piece with the server: flags that exist, time-outs that fit, a unit that parses."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from ergo.cli.main import parser
from ergo.serve.settings import Limits

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def flags(words: list[str]) -> None:
    parser("serve").parse_args(["serve", *words])


def test_every_command_in_deploy_is_one_that_the_server_takes() -> None:
    unit = (DEPLOY / "ergo.service").read_text()
    [command] = re.findall(r"^ExecStart=\S+ serve (.*)$", unit, re.MULTILINE)
    flags(command.split())
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    flags(compose["services"]["ergo"]["command"].replace("${ERGO_HOST:-localhost}", "localhost").split())
    deployment, _ = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    flags(deployment["spec"]["template"]["spec"]["containers"][0]["args"])


def test_whoever_stops_the_server_waits_longer_than_it_takes() -> None:
    least = Limits().shutdown_seconds
    unit = (DEPLOY / "ergo.service").read_text()
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    deployment, _ = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    pod = deployment["spec"]["template"]["spec"]
    waits = [
        int(re.findall(r"^TimeoutStopSec=(\d+)", unit, re.MULTILINE)[0]),
        int(compose["services"]["ergo"]["stop_grace_period"].removesuffix("s")),
        pod["terminationGracePeriodSeconds"] - pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"],
    ]
    assert min(waits) > least


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_the_unit_is_one_that_systemd_takes_and_exposes_little(tmp_path: Path) -> None:
    unit = tmp_path / "ergo.service"
    text = (DEPLOY / "ergo.service").read_text().replace("/opt/ergo/bin/ergo", shutil.which("true") or "/bin/true")
    unit.write_text(text.replace("EnvironmentFile=/etc/ergo.env\n", ""))
    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", unit],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    [exposure] = re.findall(r"exposure level for \S+: ([\d.]+)", judged.stdout)
    assert float(exposure) <= 2.0
