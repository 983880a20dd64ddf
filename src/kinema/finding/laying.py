"""Pictures of two videos laid on each other, where one is cropped: stretched, moved, not turned."""

from __future__ import annotations

import cv2
import numpy as np

from kinema.finding.footage import HEIGHT, WIDTH


def laid_on(
    first: np.ndarray, second: np.ndarray, start: int, offset: float, width: int
) -> np.ndarray | None:
    """(192, 192): pictures of the second times this lie as those of the first do, if it is found.

    See Note [Pictures that lie otherwise] of `alignment`.

    Args:
        first, second: (n, 192) and (m, 192) pictures.
        start: a bin of the first, where a window begins.
        offset: from there to the second.
        width: bins of the window.
    """
    other = start + round(offset)
    if other < 0:
        return None
    pictures = [
        cv2.resize(
            side[at : at + width].mean(axis=0).reshape(HEIGHT, WIDTH),
            (4 * WIDTH, 4 * HEIGHT),
            interpolation=cv2.INTER_CUBIC,
        )
        for side, at in ((first, start), (second, other))
    ]
    place = fitted(pictures[0], pictures[1])
    if place is None:
        return None
    # What was found on pictures four times as large; a cell's middle is at 4 x + 1.5 there.
    place = place.copy()
    place[:, 2] = (place[:, 2] + 1.5 * np.array([place[0, 0] - 1, place[1, 1] - 1])) / 4
    units = np.eye(HEIGHT * WIDTH, dtype=np.float32).reshape(-1, HEIGHT, WIDTH)
    return np.stack([warped(unit, place).ravel() for unit in units])


def fitted(first: np.ndarray, second: np.ndarray) -> np.ndarray | None:
    """How the second picture lies on the first: (2, 3) as for `warped`; None if it does not.

    Args:
        first, second: (h, w) float32 grey.
    """
    place: np.ndarray = np.eye(2, 3, dtype=np.float32)
    ends = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-4)
    try:
        _, found = cv2.findTransformECC(first, second, place, cv2.MOTION_AFFINE, ends)
    except cv2.error:  # it does not converge
        return None
    turned = max(abs(found[0, 1]), abs(found[1, 0]))
    if turned > 0.1 or not all(0.7 < found[axis, axis] < 1.4 for axis in (0, 1)):
        return None
    found[0, 1] = found[1, 0] = 0.0
    return np.asarray(found)


def warped(picture: np.ndarray, place: np.ndarray) -> np.ndarray:
    """A picture as `fitted` lays it; the edge is repeated where it shows less than the other."""
    height, width = picture.shape
    return cv2.warpAffine(
        picture,
        place,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
