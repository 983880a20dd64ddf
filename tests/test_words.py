"""How numbers are said."""

from __future__ import annotations

import pytest

from kinema.words import share_below


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
