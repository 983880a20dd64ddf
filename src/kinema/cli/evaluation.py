"""What features are worth: `kinema transfer`, `compare`, `embed`, `compactness`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from kinema.cli import options
from kinema.cli.end import Done
from kinema.cli.options import (
    DatasetPath,
    Features,
    Labels,
    MaxSkipped,
    OutFolder,
    Reading,
    Splits,
    Svm,
    Switch,
    Threads,
    names,
)

if TYPE_CHECKING:
    from kinema.evaluation.compare import Result
    from kinema.skipped import Skipped

Methods = Annotated[
    str,
    Parameter(
        help="Whose features, with commas between: c3d, imagenet, c3d-random, depth-1, ...",
        group=options.FEATURES,
    ),
]
Force = Annotated[
    Switch,
    Parameter(
        help="Go on with weights that saw test videos, and mark their rows.",
        group=options.PROTOCOL,
    ),
]


def transfer(
    dataset: DatasetPath,
    *,
    out: OutFolder,
    features: Features = Features(),
    svm: Svm = Svm(),
    splits: Splits = Splits(),
    force: Force = False,
    labels: Labels = Labels(),
    threads: Threads = None,
    reading: Reading = Reading(),
    max_skipped: MaxSkipped = 0,
) -> Done:
    """Tell what features are worth on labelled videos: a linear SVM on each split.

    Writes result.md, result.json, report.html, the features, and the classifier for `kinema
    predict`.

    Args:
        features.weights: Name or file; several nets' features are put side by side.
        features.layer: Whose output is the feature: fc6, fc7, pool5, prob.
    """
    skipped, warnings = _transfer(
        dataset,
        out,
        vars(splits) | {"force": force},
        threads=threads,
        **vars(features),
        **vars(svm),
        **vars(labels),
        **vars(reading),
    )
    return Done(skipped=skipped, max_skipped=max_skipped, lines=warnings)


def compare(
    dataset: DatasetPath,
    *,
    out: OutFolder,
    methods: Methods = "c3d,c3d-random,one-frame,chance",
    features: Features = Features(),
    svm: Svm = Svm(),
    splits: Splits = Splits(),
    force: Force = False,
    labels: Labels = Labels(),
    threads: Threads = None,
    reading: Reading = Reading(),
    max_skipped: MaxSkipped = 0,
) -> Done:
    """Compare methods on labelled videos: the paper's table for data of one's own.

    Args:
        methods: Some of c3d, c3d-nets, imagenet, c3d+imagenet, c3d-random, depth-1, one-frame,
            chance, with commas between; differences are to the first.
    """
    result = _compare(
        dataset,
        out=out,
        methods=names(methods),
        force=force,
        threads=threads,
        **vars(features),
        **vars(svm),
        **vars(splits),
        **vars(labels),
        **vars(reading),
    )
    return Done(skipped=result.skipped, max_skipped=max_skipped, lines=result.warnings)


def embed(
    dataset: DatasetPath,
    *,
    out: OutFolder,
    methods: Methods = "c3d",
    features: Features = Features(),
    perplexity: float = 30.0,
    seed: int = 0,
    labels: Labels = Labels(),
    threads: Threads = None,
    reading: Reading = Reading(),
    max_skipped: MaxSkipped = 0,
) -> Done:
    """Draw features of videos in two dimensions, coloured by class: t-SNE, as PNG and SVG.

    Args:
        perplexity: Of t-SNE.
        seed: Of t-SNE.
    """
    from kinema.evaluation.embedding import embed, purity_text

    made = embed(
        dataset,
        out=out,
        methods=names(methods),
        perplexity=perplexity,
        seed=seed,
        threads=threads,
        progress=True,
        **vars(features),
        **vars(labels),
        **vars(reading),
    )
    for one in made:
        print(f"{one.title}: {purity_text(one.purity, one.purity_2d)}")
    if made[0].purity_note:
        print(made[0].purity_note)
    print(f"{out / 'embedding.png'} and .svg: perplexity {made[0].perplexity:g}, seed {seed}")
    return Done(skipped=made[0].skipped, max_skipped=max_skipped)


def compactness(
    dataset: DatasetPath,
    *,
    out: OutFolder,
    methods: Methods = "c3d",
    features: Features = Features(),
    cost: Annotated[options.Cost, Parameter(help="Cost of the SVM.")] = 1.0,
    splits: Splits = Splits(),
    labels: Labels = Labels(),
    threads: Threads = None,
    reading: Reading = Reading(),
    max_skipped: MaxSkipped = 0,
) -> Done:
    """Tell how much accuracy features keep in 10, 50, 100, 500 dimensions: PCA, then the SVM."""
    from kinema.evaluation.compactness import compactness

    made = compactness(
        dataset,
        out=out,
        methods=names(methods),
        cost=cost,
        threads=threads,
        progress=True,
        **vars(features),
        **vars(splits),
        **vars(labels),
        **vars(reading),
    )
    for one in made:
        values = ", ".join(f"{count}: {100 * value:.1f} %" for count, value in one.accuracy.items())
        print(f"{one.title}: {values}")
    for why in dict.fromkeys(one.why_left_out() for one in made if one.left_out):
        print(why)
    print(out / "compactness.png")
    notes, warnings = made[0].notes, made[0].warnings
    return Done(
        skipped=made[0].skipped,
        max_skipped=max_skipped,
        notes=[note for note in notes if note not in warnings],
        lines=warnings,
    )


# What follows is work that moves to `evaluation`; each becomes one call of it.


def _transfer(
    dataset: Path, out: Path, testing: dict[str, Any], *, weights: Sequence[str], **how: Any
) -> tuple[Sequence[Skipped], Sequence[str]]:
    """Test on each split, then keep a classifier of all videos.

    Args:
        testing: keywords of `compare` that a classifier of all videos does not know.
        how: those that it does.

    Returns:
        what was skipped, and the last lines to print.
    """
    from kinema.evaluation.compare import fit_classifier
    from kinema.evaluation.protocol import NothingToTest, check_same_clips
    from kinema.weights.file import resolve

    if len(weights) > 1:
        check_same_clips([resolve(net) for net in weights])
    methods = ["c3d" if len(weights) == 1 else "c3d-nets"]
    try:
        result = _compare(dataset, out=out, methods=methods, weights=weights, **testing, **how)
        skipped, last = result.skipped, [*result.warnings]
    except NothingToTest as error:
        skipped = error.skipped
        last = [f"{error.summary()}; the classifier of all videos was trained."]
    classifier = fit_classifier(
        dataset, weights=weights, cache=out / "features", progress=True, **how
    )
    classifier.save(out / "classifier.safetensors")
    print(f"classifier of all these videos: {out / 'classifier.safetensors'}")
    return skipped, last


def _compare(dataset: Path, *, out: Path, **how: Any) -> Result:
    """Compare methods and write the report."""
    from kinema.evaluation.compare import compare
    from kinema.files import check_out
    from kinema.views import page, report

    check_out(out)
    cache = out / "features"
    result = compare(dataset, cache=cache, pictures=True, progress=True, **how)
    report.write(result, out)
    page.write(result, out / "report.html", cache=cache, progress=True)
    print(report.as_markdown(result))
    print(f"with filmstrips and maps: {out / 'report.html'}")
    return result
