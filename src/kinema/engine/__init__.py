"""Networks at work: our own kernels, PyTorch, and the formula that both are held to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kinema.lazy import lazily

if TYPE_CHECKING:
    from kinema.engine.engine import Engine

__all__ = ["Engine"]

__getattr__ = lazily(__name__, {"Engine": "engine"})
