"""Which parts of a frame a network is shown of each clip: the centre, corners, mirrored ones.

Note [Crops]
    One crop is the centre, as the original tests. Five are the centre and the four corners, ten
    these and their mirrors (Krizhevsky et al. 2012, section 4.1). All frames of a clip are cropped
    and mirrored alike. The mean is subtracted at the crop's own place before it is mirrored, so the
    mean volume is mirrored with it (C3D v1.0, `video_data_layer.cpp`).

        +----+---+----+
        |    |   |    |     five of 112x112 in 171x128: rows 8, 0, 0, 16, 16 and
        +---+-----+---+     columns 29, 0, 59, 0, 59
        |   |  c  |   |
        +---+-----+---+
        |    |   |    |
        +----+---+----+
"""

from __future__ import annotations

from dataclasses import dataclass

CROPS = (1, 5, 10)
"""How many crops of a clip there can be."""


@dataclass(frozen=True)
class Crop:
    """One of them.

    Attributes:
        offset: (top, left).
        mirrored: whether left and right are swapped after it was cut out.
    """

    offset: tuple[int, int]
    mirrored: bool = False


def check_crops(crops: int) -> None:
    """Refuse what is not one of `CROPS`."""
    if crops not in CROPS or isinstance(crops, bool):
        raise ValueError(f"`crops` must be one of {', '.join(map(str, CROPS))}; got {crops!r}.")


def crops_of(crops: int, size: tuple[int, int], crop: tuple[int, int]) -> list[Crop]:
    """The crops of a frame, (height, width) `crop` of `size`. See Note [Crops].

    Raises:
        ValueError: there can be no such number of crops.
    """
    check_crops(crops)
    down, right = size[0] - crop[0], size[1] - crop[1]
    corners = [(0, 0), (0, right), (down, 0), (down, right)]
    offsets = [(down // 2, right // 2), *(corners if crops > 1 else [])]
    return [
        Crop(offset, mirrored)
        for offset in offsets
        for mirrored in ([False, True] if crops == 10 else [False])
    ]
