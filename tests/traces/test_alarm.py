"""A run in the wrong frame says so after the first twenty regions, and only then."""

from __future__ import annotations

import logging

import pytest
from PIL import Image

from ergo.backends.scripted import ScriptedBackend
from ergo.core.flows import LookConfig, Question, coarse_to_fine
from ergo.core.geometry import TokenBudget
from ergo.families import QWEN2_5_VL
from ergo.images.picture import Picture
from ergo.traces.alarm import AFTER, FrameAlarm
from ergo.traces.run import run

CONFIG = LookConfig(QWEN2_5_VL, TokenBudget(16), TokenBudget(16))


def warnings_of(regions: list[str], caplog: pytest.LogCaptureFixture, parallel: bool) -> list[str]:
    replies = [reply for region in regions for reply in (f"<zoom>{region}</zoom>", "x")]
    jobs = (
        (n, lambda: coarse_to_fine(Picture(Image.new("RGB", (300, 200))), Question("q"), CONFIG))
        for n in range(len(regions))
    )
    with caplog.at_level(logging.WARNING):
        assert len(list(run(jobs, ScriptedBackend(replies, parallel=parallel)))) == len(regions)
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("parallel", [True, False])
def test_most_regions_outside_are_told_once(parallel: bool, caplog: pytest.LogCaptureFixture) -> None:
    regions = ["[5, 5, 60, 60]"] * 9 + ["[400, 500, 600, 700]"] * 40
    [said] = warnings_of(regions, caplog, parallel)
    assert said.startswith("11 of the first 20 regions lie outside the picture or had to be cut")
    assert "`ergo probe`" in said
    assert "--family" in said


def test_half_of_them_are_not_most(caplog: pytest.LogCaptureFixture) -> None:
    assert warnings_of(["[5, 5, 60, 60]", "[5, 5, 600, 700]"] * 20, caplog, True) == []


def test_nineteen_are_too_few(caplog: pytest.LogCaptureFixture) -> None:
    assert warnings_of(["[5000, 5, 6000, 70]"] * (AFTER - 1), caplog, True) == []


def test_flows_without_a_region_are_not_counted() -> None:
    alarm = FrameAlarm()
    assert [alarm.due(None) for _ in range(40)] == [None] * 40
    assert alarm.regions == 0


@pytest.mark.parametrize("reading", ["exact", "repaired_tag", "repaired_order", "not_numbers", "none_given", "empty"])
def test_other_slips_say_nothing_of_the_frame(reading: str) -> None:
    alarm = FrameAlarm()
    assert [alarm.due(reading) for _ in range(40)] == [None] * 40
