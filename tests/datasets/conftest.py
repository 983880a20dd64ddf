"""What several tests of datasets need."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def official(kinema_data: Path) -> Path:
    folder = kinema_data.parent / "lists"
    if not (folder / "ucf101").is_dir():
        pytest.skip(f"the official lists are not in {folder}")
    return folder
