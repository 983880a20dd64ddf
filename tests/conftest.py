"""What several test files need."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import servers


@pytest.fixture(scope="session")
def kinema_data() -> Path:
    """The folder with real videos and goldens."""
    folder = os.environ.get("KINEMA_DATA")
    if not folder:
        pytest.skip("KINEMA_DATA is not set: no real videos here")
    return Path(folder)


@pytest.fixture(scope="session")
def ucf101(kinema_data: Path) -> list[Path]:
    """All real UCF101 videos at hand, sorted."""
    videos = sorted((kinema_data / "ucf101-3" / "UCF-101").rglob("*.avi"))
    if not videos:
        pytest.skip("no UCF101 videos in KINEMA_DATA")
    return videos


@pytest.fixture
def serve(monkeypatch):
    """See `servers.running`; what is tried again is tried at once."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr("kinema.download.FIRST_WAIT_SECONDS", 0.001)
    with servers.running() as start:
        yield start
