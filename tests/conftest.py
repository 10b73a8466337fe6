"""What several tests share."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of data that a stranger does not have."""
    folder = os.environ.get("YAQIN_SHARED")
    if not folder:
        pytest.skip("YAQIN_SHARED is not set: the twin of this test runs on our own data")
    return Path(folder)
