"""How numbers are said."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinema.words import from_here, share_below


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0.0, "0.0 %"),
        (0.12345, "12.3 %"),
        (0.9959, "99.5 %"),  # never up
        (0.99896, "99.8 %"),
        (0.999, "99.900 %"),
        (0.9999999, "99.999 %"),  # not all of them
        (1.0, "100.000 %"),
    ],
)
def test_a_share_is_never_said_to_be_more_than_it_is(share: float, said: str):
    assert share_below(share) == said


def test_paths_below_the_current_folder_are_shown_from_it(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert from_here(str(tmp_path / "a" / "v.mp4")) == str(Path("a") / "v.mp4")
    assert from_here("/elsewhere/v.mp4") == "/elsewhere/v.mp4"
    assert from_here("v.mp4") == "v.mp4"
