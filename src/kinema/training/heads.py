"""What a model learns to tell: heads, each with a layer, a target and a loss, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

LOSSES = ("cross-entropy", "mse", "cosine", "similarity")

PLAYED: Mapping[str, int] = MappingProxyType({"reversed": 2, "speed": 2})
"""Targets that every clip has by itself, and their classes: whether it is played backwards, and
whether at double speed; see `Recipe.reversed` and `Recipe.fast`."""

CLIPS = "clips"
"""The target of a model that learns from clips without labels, by a `loss` of its own."""


@dataclass(frozen=True)
class Head:
    """One thing that a model learns to tell, from the output of one of its layers.

    Attributes:
        target: "labels", the classes of the clips; "clips" of a model whose own `loss` needs no
            labels; "reversed" or "speed", see `PLAYED`; or the name of a file of vectors, see
            `Targets` and the keyword `targets` of `train`.
        layer: whose output is taken, before its dropout; None for the class scores.
        loss: "cross-entropy" on classes; of vectors "mse", the mean squared difference of their
            numbers, "cosine", 1 less the cosine of the angle between them, or "similarity", see
            Note [Similarity]; of clips "own".
        weight: what its loss is multiplied by in the sum of all.

    A linear layer of its own brings the output to the vector's length or to the classes that are
    not the model's own. It is learned with the model, kept in checkpoints, and left out of the
    weights. The loss "similarity" has none.

    Note [Similarity]
        The angles between the clips of a batch shall be those that the vectors have: outputs and
        vectors are centred over the batch and brought to length 1, and the mean squared difference
        of their products is taken, over all pairs of two clips (after Tung and Mori, ICCV 2019).
        A linear classifier of outputs of length 1 sees these angles and nothing else.

    Raises:
        ValueError: a loss that the target does not have, or a weight that is not positive.
    """

    target: str = "labels"
    layer: str | None = None
    loss: str = "cross-entropy"
    weight: float = 1.0

    def __post_init__(self) -> None:
        known = LOSSES[:1] if self.tells_classes else LOSSES[1:]
        if self.target == CLIPS:
            known = ("own",)
        if self.loss not in known:
            raise ValueError(
                f"`loss` of a head on {self.target} must be {' or '.join(known)}, "
                f"got {self.loss!r}."
            )
        if self.target in ("labels", CLIPS) and self.layer is not None:
            raise ValueError(
                f"`layer` of a head on {self.target} must be None, the model's own output; got "
                f"{self.layer!r}."
            )
        if self.target not in ("labels", CLIPS) and self.layer is None:
            raise ValueError(
                f"`layer` of the head on {self.target} must be named: whose output shall tell "
                "them, as fc6."
            )
        if not 0 < self.weight < float("inf"):
            raise ValueError(f"`weight` of a head must be more than 0, got {self.weight}.")

    @property
    def tells_classes(self) -> bool:
        """Whether its target is a class, not a vector."""
        return self.target == "labels" or self.target in PLAYED

    @property
    def is_vector(self) -> bool:
        """Whether its target is a file of vectors."""
        return not self.tells_classes and self.target != CLIPS

    @property
    def is_linear(self) -> bool:
        """Whether it has a linear layer of its own."""
        return self.target not in ("labels", CLIPS) and self.loss != "similarity"

    def size(self, sizes: Mapping[str, int]) -> int:
        """Outputs of its own layer, of the lengths of vectors by target."""
        return PLAYED[self.target] if self.target in PLAYED else sizes[self.target]
