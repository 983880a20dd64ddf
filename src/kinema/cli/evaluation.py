"""What features are worth: `kinema transfer`, `compare`, `embed`, `compactness`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from kinema.cli import options
from kinema.cli.end import Done
from kinema.cli.options import (
    ComputeFeatures,
    DatasetPath,
    Features,
    GivenFeatures,
    GuardedSplits,
    Labels,
    Learning,
    MaxSkipped,
    OutFolder,
    Reading,
    Several,
    Splits,
    Svm,
    Threads,
    names,
)

if TYPE_CHECKING:
    from kinema.evaluation.result import Result
    from kinema.evaluation.runtime import Runtime

Methods = Annotated[
    str,
    Parameter(
        help="Whose features, with commas between: c3d, imagenet, c3d-random, depth-1, ...",
        group=options.FEATURES,
    ),
]


def transfer(
    dataset: DatasetPath,
    *,
    out: OutFolder,
    features: GivenFeatures = GivenFeatures(),
    svm: Svm = Svm(),
    splits: GuardedSplits = GuardedSplits(),
    labels: Labels = Labels(),
    compute: ComputeFeatures = ComputeFeatures(),
    reading: Reading = Reading(),
    max_skipped: MaxSkipped = 0,
) -> Done:
    """Tell what features are worth on labelled videos: a linear SVM on each split.

    Writes result.md, result.json, report.html, the features, and the classifier for `kinema
    predict`.

    Args:
        features.weights: Name or file; several nets' features are put side by side, also those of
            A+B, as c3d-mini+imagenet.
        features.layer: Whose output is the feature: fc6, fc7, pool5, prob; fc6 by default.
    """
    from kinema.evaluation.transfer import transfer
    from kinema.files import check_out

    check_out(out)
    made = transfer(
        dataset,
        cache=out / "features",
        pictures=True,
        also=_filmstrips(out, reading),
        **vars(compute),
        progress=True,
        **features.given(),
        **vars(svm),
        **vars(splits),
        **vars(labels),
        **vars(reading),
    )
    if made.result is not None:
        _write(made.result, out)
    made.classifier.save(out / "classifier.safetensors")
    print(f"classifier of all these videos: {out / 'classifier.safetensors'}")
    return Done(skipped=made.skipped, max_skipped=max_skipped, lines=made.notes)


def compare(
    dataset: DatasetPath,
    *,
    out: OutFolder,
    methods: Annotated[str, Parameter(group=options.FEATURES)] = "c3d,c3d-random,one-frame,chance",
    method: Annotated[tuple[str, ...], Several, Parameter(group=options.FEATURES)] = (),
    features: GivenFeatures = GivenFeatures(),
    svm: Svm = Svm(),
    splits: GuardedSplits = GuardedSplits(),
    labels: Labels = Labels(),
    compute: ComputeFeatures = ComputeFeatures(),
    reading: Reading = Reading(),
    learning: Learning = Learning(),
    max_skipped: MaxSkipped = 0,
) -> Done:
    """Compare methods on labelled videos: the paper's table for data of one's own.

    What `kinema runtime` measured into the same folder before is a section of the page.

    Args:
        methods: Some of c3d, c3d-nets, imagenet, c3d+imagenet, c3d-random, depth-1, one-frame,
            idt-bow, idt-fisher, mifs, c3d+idt-bow, c3d+idt-fisher, c3d-nets+idt-bow,
            c3d-nets+idt-fisher, slow-fusion, spatial, temporal, two-stream, two-stream-svm, lrcn,
            lrcn-flow, lrcn-both, lstm-composite, lstm-composite-both, conv-pooling,
            conv-pooling-both, lstm-long, lstm-long-both, slowfast, chance, with commas between;
            "paper" is the paper's whole table. Differences are to the first. Those of iDT take a
            second for some ten frames when they first see a video; those from slow-fusion on learn
            a network for each split.
        method: Of your own, FILE.py:ClassName, may be named several times: a scikit-learn
            estimator over paths of videos, see examples/own_method.py.
    """
    from kinema.evaluation.compare import compare
    from kinema.evaluation.runtime import Runtime
    from kinema.files import check_out

    check_out(out)
    measured = out / "runtime.json"
    runtime = Runtime.load(measured) if measured.is_file() else None
    result = compare(
        dataset,
        methods=[*names(methods), *method],
        **vars(learning),
        cache=out / "features",
        pictures=True,
        also=_filmstrips(out, reading),
        **vars(compute),
        progress=True,
        **features.given(),
        **vars(svm),
        **vars(splits),
        **vars(labels),
        **vars(reading),
    )
    _write(result, out, runtime)
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
        **features.given(),
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
    cost: Annotated[
        float, Parameter(name="--C", help="Cost of the SVM.", group=options.PROTOCOL)
    ] = 1.0,
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
        **features.given(),
        **vars(splits),
        **vars(labels),
        **vars(reading),
    )
    for one in made:
        values = ", ".join(f"{count}: {100 * value:.1f} %" for count, value in one.accuracy.items())
        print(f"{one.title}, C {cost:g}: {values}")
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


def _filmstrips(out: Path, reading: Reading) -> Callable[[int], list[Any]]:
    """The pictures of the report, made of the videos while they are decoded for their features."""
    from kinema.video import loop
    from kinema.views import strips

    how = loop.Reading(**vars(reading))
    return lambda num: [strips.step(out / "features", strips.strip_height(num), reading=how)]


def _write(result: Result, out: Path, runtime: Runtime | None = None) -> None:
    """Write the report, and print its table."""
    from kinema.views import page, report

    report.write(result, out)
    page.write(result, out / "report.html", cache=out / "features", runtime=runtime, progress=True)
    print(report.as_markdown(result))
    print(f"with filmstrips and maps: {out / 'report.html'}")
