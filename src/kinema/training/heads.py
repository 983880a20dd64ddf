"""What a model learns to tell: heads, each with a layer, a target and a loss, as values."""

from __future__ import annotations

from dataclasses import dataclass

LOSSES = ("cross-entropy", "mse", "cosine")


@dataclass(frozen=True)
class Head:
    """One thing that a model learns to tell, from the output of one of its layers.

    Attributes:
        target: "labels", the classes of the clips; or the name of a file of vectors, see `Targets`
            and the keyword `targets` of `train`.
        layer: whose output is taken, before its dropout; None for the class scores.
        loss: "cross-entropy" on labels; of vectors "mse", the mean squared difference of their
            numbers, or "cosine", 1 less the cosine of the angle between them.
        weight: what its loss is multiplied by in the sum of all.

    A linear layer of its own brings the output to the vector's length. It is learned with the
    model, kept in checkpoints, and left out of the weights.

    Raises:
        ValueError: a loss that the target does not have, or a weight that is not positive.
    """

    target: str = "labels"
    layer: str | None = None
    loss: str = "cross-entropy"
    weight: float = 1.0

    def __post_init__(self) -> None:
        known = LOSSES[:1] if self.target == "labels" else LOSSES[1:]
        if self.loss not in known:
            raise ValueError(
                f"`loss` of a head on {self.target} must be {' or '.join(known)}, "
                f"got {self.loss!r}."
            )
        if self.target == "labels" and self.layer is not None:
            raise ValueError(
                f"`layer` of a head on labels must be None, the class scores; got {self.layer!r}."
            )
        if self.target != "labels" and self.layer is None:
            raise ValueError(
                f"`layer` of the head on {self.target} must be named: whose output shall give "
                "the vectors, as fc6."
            )
        if not 0 < self.weight < float("inf"):
            raise ValueError(f"`weight` of a head must be more than 0, got {self.weight}.")
