"""One sound bundle for all tests that damage copies of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ship.bundles import sound_bundle


@pytest.fixture(scope="session")
def sound(tmp_path_factory) -> Path:
    """A bundle that must not be changed."""
    return sound_bundle(tmp_path_factory.mktemp("sound"))
