"""Rows of improved dense trajectories (Wang and Schmid 2013): alone, and beside C3D.

What the paper calls "iDT with Fisher vectors" (87.9 %) is of a larger encoding (Peng et al.); here
are plain Fisher vectors of 256 Gaussians. It does not say how C3D and iDT are joined: here each is
brought to length 1, they stand side by side, and C is chosen for both together.
"""

from __future__ import annotations

from collections.abc import Sequence

from kinema.features.trajectory_store import TrajectoryStore
from kinema.methods import c3d
from kinema.methods.encoded import EncodedSVM
from kinema.methods.encoding import TrajectoryEncoder
from kinema.methods.fisher import FisherVectors
from kinema.methods.options import Options
from kinema.methods.svm import SUFFIX
from kinema.methods.words import Words
from kinema.weights.file import Weights

WORDS = Words()
FISHER = FisherVectors()
STACKED = FisherVectors(positions=True)

SKIPS = (1, 3, 6)
"""Frame steps of multi-skip feature stacking, as its authors' own pipeline takes them."""

BOW_TITLE, FISHER_TITLE = "iDT + bag of words", "iDT + Fisher vectors"
STANDS_IN = "SIFT for SURF in the camera's motion"
PLAIN = f"{STANDS_IN}; plain Fisher vectors of 256 Gaussians for higher-dimensional encodings"


def words(options: Options) -> EncodedSVM:
    """The paper's own row: 5,000 words a channel, 25,000-D."""
    return _row(options, WORDS, BOW_TITLE, STANDS_IN)


def fisher(options: Options) -> EncodedSVM:
    """Fisher vectors, 109,056-D."""
    return _row(options, FISHER, FISHER_TITLE, PLAIN)


def stacked(options: Options) -> EncodedSVM:
    """Multi-skip feature stacking (Lan et al. 2015): several frame steps and x, y, t, 116,736-D."""
    title = "multi-skip feature stacking (iDT at steps 1, 3, 6; Fisher vectors)"
    return _row(options, STACKED, title, STANDS_IN, steps=SKIPS)


def words_with_net(options: Options) -> EncodedSVM:
    """Bag of words beside the first net."""
    return _row(options, WORDS, BOW_TITLE, STANDS_IN, nets=options.weights[:1])


def fisher_with_net(options: Options) -> EncodedSVM:
    """Fisher vectors beside the first net."""
    return _row(options, FISHER, FISHER_TITLE, PLAIN, nets=options.weights[:1])


def words_with_nets(options: Options) -> EncodedSVM:
    """Bag of words beside all nets."""
    return _row(options, WORDS, BOW_TITLE, STANDS_IN, nets=options.weights)


def fisher_with_nets(options: Options) -> EncodedSVM:
    """Fisher vectors beside all nets."""
    return _row(options, FISHER, FISHER_TITLE, PLAIN, nets=options.weights)


def _row(
    options: Options,
    kind: FisherVectors | Words,
    title: str,
    stands_in: str,
    *,
    steps: Sequence[int] = (1,),
    nets: Sequence[Weights] = (),
) -> EncodedSVM:
    stores = [
        TrajectoryStore(
            step,
            options.cache,
            threads=options.threads,
            colours=options.reading.colours,
            video_seconds=options.reading.video_seconds,
        )
        for step in steps
    ]
    encoder = TrajectoryEncoder(kind, stores, cache=options.cache, progress=options.progress)
    if nets:
        title = f"{c3d.nets_title(nets)} + {title}"
    return EncodedSVM(
        encoder,
        [c3d.features(options, net) for net in nets],
        options.cost,
        l2=options.l2,
        cache=options.cache,
        progress=options.progress,
        title=title + SUFFIX,
        stands_in=stands_in,
    )
