"""The world's tests use the assets that ship with the package, so that they need no download."""

from __future__ import annotations

import pytest

from ergo.photo_world.assets import BUNDLE, Assets


@pytest.fixture(scope="session")
def train_assets() -> Assets:
    return Assets("train", BUNDLE)


@pytest.fixture(scope="session")
def test_assets() -> Assets:
    return Assets("test", BUNDLE)
