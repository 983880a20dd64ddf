"""The command line: one command is one public call, and its flags are that call's arguments.

Rooms are imported inside the commands, so that `--help` is quick.

Exit codes: 0 done; 1 done, but more videos were skipped than `--max-skipped` allows; 2 wrong use;
3 could not go on (a full disk, say, or an error of ours); 130 stopped by the user.
"""

from __future__ import annotations

import io
import json as json_module
import os
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter, validators

import kinema
from kinema.skipped import Skipped

if TYPE_CHECKING:
    from kinema.evaluation.compare import Result

app = App(
    name="kinema",
    help="Learn, extract and use spatiotemporal video features with 3-D convolutional networks.",
    version=kinema.__version__,
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # main() says what to do next
)
weights_app = App(name="weights", help="List, inspect, convert and fetch network weights.")
app.command(weights_app)
dataset_app = App(name="dataset", help="Look at labelled videos.")
app.command(dataset_app)

Device = Literal["auto", "cpu", "cuda"]
EngineKind = Literal["auto", "native", "torch"]
DatasetKind = Literal["auto", "folder", "ucf101", "hmdb51", "sports1m", "kinetics", "csv"]
Colours = Literal["file", "original"]
Recipe = Literal["sports1m", "ucf101-finetune", "ucf101-scratch", "kernel-depth", "mini"]
Flag = Parameter(negative=())
MaxSkipped = Annotated[int, Parameter(validator=validators.Number(gte=0))]


@app.command
def extract(
    *paths: Path,
    out: Path,
    list: Path | None = None,
    root: Path | None = None,
    weights: str = "c3d-mini",
    layer: str = "fc6",
    stride: int = 8,
    sampling_rate: int = 1,
    short: Literal["pad", "skip"] = "pad",
    mean: str | None = None,
    format: Literal["safetensors", "npy", "parquet", "hdf5", "c3d"] = "safetensors",
    device: Device = "auto",
    engine: EngineKind = "auto",
    threads: int | None = None,
    batch: int = 8,
    colours: Colours = "file",
    video_seconds: float | None = None,
    max_skipped: MaxSkipped = 0,
    keep_partial: Annotated[bool, Flag] = False,
    model: str | None = None,
) -> int:
    """Extract features of videos into a folder, one file a video.

    A stopped run goes on with the same command. A video that cannot be read costs one line in
    skipped.jsonl.

    Args:
        paths: Videos, folders of pictures (000001.jpg, ...), and folders to search for videos.
        out: Folder to write to.
        list: Text file with more videos: one path a line, or C3D's `path start label` lines.
        root: Folder that the names of the files start from, so that parts of a list give the same
            names as the whole; the deepest one that holds all videos by default.
        weights: Name (see `kinema weights list`) or file.
        layer: Whose output is the feature.
        stride: Frames from the start of one clip to the start of the next.
        sampling_rate: Every how many-th frame goes into a clip.
        short: What to do with a video that is shorter than a clip.
        mean: What to subtract, if the weights carry no mean: a file or B,G,R.
        format: Kind of file; c3d is the original's.
        device: Where to compute.
        engine: What to compute with.
        threads: CPU threads of the network; all by default.
        batch: Clips that go through the network at once.
        colours: How YUV becomes RGB: as the file says, or as the original's decoder did.
        video_seconds: Skip a video that takes longer; it is looked at between packets, so a call
            into FFmpeg that never returns is not cut short.
        max_skipped: Exit with 1 if more videos than this were skipped.
        keep_partial: Keep the rows before the frame at which a video breaks, marked as partial.
        model: FILE.py:CLASS, the PyTorch module of one's own that the weights are of.
    """
    from kinema.features.extraction import extract

    report = extract(
        paths,
        out=out,
        list=list,
        root=root,
        weights=_weights(weights, model),
        layer=layer,
        stride=stride,
        sampling_rate=sampling_rate,
        short=short,
        mean=mean,
        format=format,
        device=device,
        engine=engine,
        threads=threads,
        batch=batch,
        max_skipped=max_skipped,
        keep_partial=keep_partial,
        colours=colours,
        video_seconds=video_seconds,
        progress=True,
    )
    code = _tell_skipped(report.skipped, max_skipped)
    for note in report.notes:
        _say(note)
    for name in report.partial:
        _say(f"partial {name}: it broke, the rows before that were kept.")
    print(report.summary())
    if weights == "c3d-mini":
        _say("c3d-mini has seeded random weights, not trained ones; --weights takes others.")
    return code


@app.command
def predict(
    *videos: Path,
    weights: Annotated[list[str] | None, Flag] = None,
    classifier: Path | None = None,
    out: Path | None = None,
    list: Path | None = None,
    stride: int = 8,
    mean: str | None = None,
    top: int = 5,
    json: Annotated[bool, Flag] = False,
    device: Device = "auto",
    engine: EngineKind = "auto",
    threads: int | None = None,
    colours: Colours = "file",
    video_seconds: float | None = None,
    max_skipped: MaxSkipped = 0,
    model: str | None = None,
) -> int:
    """Tell the classes of videos, and when they are seen.

    Args:
        videos: Videos, folders of pictures (000001.jpg, ...), and folders to search for videos.
        weights: Trained weights, a name or a file. Beside a classifier those that it was trained
            on, if they lie elsewhere now; may be named several times.
        classifier: Linear SVM to use in place of the network's own classes (see `kinema transfer`).
        out: Folder to write predictions.csv (a line a video), clips.csv (a line a clip) and
            predictions.json to; a stopped run goes on from the features that it keeps there.
        list: Text file with more videos, one path a line.
        stride: Frames from clip to clip; a classifier brings its own.
        mean: What to subtract, if the weights carry no mean: a file or B,G,R.
        top: How many classes to show.
        json: Print one JSON object a line instead of a timeline.
        device: Where to compute.
        engine: What to compute with.
        threads: CPU threads of the network; all by default.
        colours: How YUV becomes RGB: as the file says, or as the original's decoder did; a
            classifier brings its own.
        video_seconds: Skip a video that takes longer; it is looked at between packets, so a call
            into FFmpeg that never returns is not cut short.
        max_skipped: Exit with 1 if more videos than this could not be used.
        model: FILE.py:CLASS, the PyTorch module of one's own that the weights are of.
    """
    from kinema.methods.predict import predict

    report = predict(
        videos,
        weights=weights and [_weights(each, model) for each in weights],
        classifier=classifier,
        out=out,
        list=list,
        stride=stride,
        mean=mean,
        top=top,
        device=device,
        engine=engine,
        threads=threads,
        colours=colours,
        video_seconds=video_seconds,
        tell=lambda prediction: print(
            json_module.dumps(prediction.as_mapping(top)) if json else prediction.timeline(top),
            flush=True,
        ),
    )
    code = _tell_skipped(report.skipped, max_skipped)
    for note in report.notes:
        _say(note)
    if out is not None:
        print(report.summary())
    return code


@app.command
def prepare(
    dataset: Path,
    *,
    out: Path,
    recipe: Recipe | None = None,
    clips: Literal["whole", "five"] | None = None,
    size: str | None = None,
    quality: int = 95,
    seed: int = 0,
    kind: DatasetKind = "auto",
    lists: Path | None = None,
    threads: int | None = None,
    colours: Colours = "file",
    video_seconds: float | None = None,
    max_skipped: MaxSkipped = 0,
) -> int:
    """Prepare the videos of a dataset for training, in one file of clips that are read at random.

    A stopped run goes on with the same command. A video that cannot be read is left out and named.

    Args:
        dataset: A folder or CSV file, see `kinema dataset info`.
        out: File to write.
        recipe: What the clips are for; it decides over the next two, if they are not named.
        clips: All frames of each video, or (Sports-1M's scheme) five times two seconds at random.
        size: Height x width of the frames, as the network wants them; 128x171, C3D's, by default.
        quality: Of the JPEG pictures.
        seed: Of the random clips.
        kind: What the dataset is.
        lists: Folder of its official lists.
        threads: Videos that are read at once; one on each core by default.
        colours: How YUV becomes RGB: as the file says, or as the original's decoder did.
        video_seconds: Skip a video that takes longer; it is looked at between packets, so a call
            into FFmpeg that never returns is not cut short.
        max_skipped: Exit with 1 if more videos than this could not be read.
    """
    from kinema.training.prepare import prepare

    numbers = None
    if size is not None:
        if not re.fullmatch(r"\d+x\d+", size):
            raise ValueError(f"--size must be height x width, as 128x171, got {size!r}.")
        height, width = map(int, size.split("x"))
        numbers = (height, width)
    report = prepare(
        dataset,
        out=out,
        recipe=recipe,
        clips=clips,
        size=numbers,
        quality=quality,
        seed=seed,
        kind=kind,
        lists=lists,
        threads=threads,
        colours=colours,
        video_seconds=video_seconds,
        progress=True,
    )
    code = _tell_skipped(report.skipped, max_skipped)
    for note in report.notes:
        _say(note)
    print(report.summary())
    return code


@app.command
def train(
    dataset: Path,
    *,
    out: Path,
    recipe: Recipe = "mini",
    weights: str | None = None,
    split: str | None = None,
    model: Annotated[str | None, Parameter(name=["--model", "--network"])] = None,
    crop: int | None = None,
    epochs: float | None = None,
    iterations: int | None = None,
    batch: int | None = None,
    learning_rate: float | None = None,
    carry: Literal["all", "conv"] | None = None,
    flip: bool | None = None,
    dropout: float | None = None,
    mean: str | None = None,
    seed: int = 0,
    kind: DatasetKind = "auto",
    lists: Path | None = None,
    device: Device = "auto",
    engine: EngineKind = "auto",
    threads: int | None = None,
    precision: Literal["fp32", "bf16"] = "fp32",
    compile: Annotated[bool, Flag] = False,
    accumulate: int = 1,
    evaluations: int = 10,
    resume: Annotated[bool, Flag] = False,
    video_seconds: float | None = None,
    max_skipped: MaxSkipped = 0,
) -> int:
    """Learn a network, from scratch or from weights.

    A stopped run goes on with the same command. On many GPUs or processes:
    `torchrun --nproc-per-node 8 -m kinema train ...`.

    Args:
        dataset: What `kinema prepare` wrote, or a dataset, which is then prepared first.
        out: Folder to write to: weights.safetensors, log.csv, curve.png, checkpoint.safetensors.
        recipe: Network and settings; the other flags change single ones of them.
        weights: Name or file of the weights that fine-tuning starts from; their network is learned.
        split: Official split, as 1; the first one by default, or a quarter of the videos for tests.
        model: c3d, c3d_mini, depth-1, depth-3, depth-5, depth-7, increasing or decreasing; or
            FILE.py:CLASS, a PyTorch module of one's own.
        crop: Height and width of the network's input in pixels.
        epochs: Length of the run; more than before makes a run that is there longer.
        iterations: Length of the run, in steps; likewise.
        batch: Clips of a step.
        learning_rate: Of weights; biases learn at twice this rate.
        carry: Layers that start from the weights: all that fit but fc8, or convolutions alone.
        flip: Mirror half of the clips; not where left and right tell classes apart.
        dropout: Probability that an output of fc6 or fc7 is dropped.
        mean: What to subtract: a file or B,G,R; the weights' own or the clips' mean by default.
        seed: Of weights, order, crops, flips and dropout.
        kind: What the dataset is, if it is not prepared yet.
        lists: Folder of its official lists, if it is not prepared yet.
        device: Where to compute.
        engine: What to compute convolutions with.
        threads: CPU threads; all by default.
        precision: bf16 is automatic mixed precision.
        compile: Let PyTorch compile the network.
        accumulate: Parts that a batch is computed in, for less memory.
        evaluations: How many times to evaluate on the test videos.
        resume: Insist on going on; without a checkpoint that is an error.
        video_seconds: Skip a video that takes longer to prepare; it is looked at between packets,
            so a call into FFmpeg that never returns is not cut short.
        max_skipped: Exit with 1 if more videos than this could not be read.
    """
    try:
        from kinema.training.train import TrainingError, train
    except ImportError as error:
        if error.name != "torch":
            raise
        raise ImportError("training needs PyTorch: pip install 'kinema[train]'.") from None
    is_first = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun starts
    name, models = _model(model)
    if models and weights is not None:
        name = None  # theirs is learned, the class is needed to read them
    try:
        report = train(
            dataset,
            out=out,
            recipe=recipe,
            weights=weights,
            split=split,
            model=name,
            models=models,
            crop=crop,
            epochs=epochs,
            iterations=iterations,
            batch=batch,
            learning_rate=learning_rate,
            carry=carry,
            flip=flip,
            dropout=dropout,
            mean=mean,
            seed=seed,
            kind=kind,
            lists=lists,
            device=device,
            engine=engine,
            threads=threads,
            precision=precision,
            compile=compile,
            accumulate=accumulate,
            evaluations=evaluations,
            resume=resume,
            video_seconds=video_seconds,
            max_skipped=max_skipped,
            progress=True,
        )
    except TrainingError as error:
        if is_first:
            _say(f"kinema: {error}")
        return 3
    if is_first:
        _tell_skipped(report.skipped, max_skipped)
        for note in report.notes:
            _say(note)
        print(report.summary())
    return 1 if len(report.skipped) > max_skipped else 0


@app.command
def transfer(
    dataset: Path,
    *,
    out: Path,
    weights: Annotated[list[str] | None, Flag] = None,
    layer: str = "fc6",
    stride: int = 8,
    c: Annotated[float | None, Parameter(name="--C")] = None,
    l2: bool = True,
    split: Annotated[list[str] | None, Flag] = None,
    folds: int = 5,
    kind: DatasetKind = "auto",
    lists: Path | None = None,
    threads: int | None = None,
    colours: Colours = "file",
    video_seconds: float | None = None,
    max_skipped: MaxSkipped = 0,
    force: Annotated[bool, Flag] = False,
) -> int:
    """Tell what features are worth on labelled videos: a linear SVM on each split.

    Writes result.md, result.json, report.html, the features, and the classifier for `kinema
    predict`.

    Args:
        dataset: A folder or CSV file, see `kinema dataset info`.
        out: Folder to write to.
        weights: Name or file; several nets' features are put side by side.
        layer: Whose output is the feature: fc6, fc7, pool5, prob.
        stride: Frames from clip to clip.
        c: Cost of the SVM; by cross-validation on the training videos without it.
        l2: Bring video vectors to length 1.
        split: Official split, may be named several times; all of them by default.
        folds: Grouped folds, where there is no official split.
        kind: What the dataset is.
        lists: Folder of its official lists.
        threads: CPU threads; all by default.
        colours: How YUV becomes RGB: as the file says, or as the original's decoder did.
        video_seconds: Skip a video that takes longer; it is looked at between packets, so a call
            into FFmpeg that never returns is not cut short.
        max_skipped: Exit with 1 if more videos than this could not be used.
        force: Go on with weights that saw test videos, and mark it.
    """
    from kinema.evaluation.compare import fit_classifier
    from kinema.evaluation.protocol import NothingToTest, check_same_clips
    from kinema.weights.file import resolve

    nets = weights or ["c3d-mini"]
    if len(nets) > 1:
        check_same_clips([resolve(net) for net in nets])
    code, last = 0, []
    try:
        result = _compare(
            dataset,
            out=out,
            methods=["c3d" if len(nets) == 1 else "c3d-nets"],
            weights=nets,
            layer=layer,
            stride=stride,
            cost=c,
            l2=l2,
            splits=split,
            folds=folds,
            kind=kind,
            lists=lists,
            threads=threads,
            force=force,
            colours=colours,
            video_seconds=video_seconds,
        )
        skipped, last = result.skipped, [*result.warnings]
    except NothingToTest as error:
        skipped = error.skipped
        last = [f"{error.summary()}; the classifier of all videos was trained."]
    classifier = fit_classifier(
        dataset,
        weights=nets,
        layer=layer,
        stride=stride,
        l2=l2,
        cost=c,
        kind=kind,
        lists=lists,
        cache=out / "features",
        threads=threads,
        colours=colours,
        video_seconds=video_seconds,
        progress=True,
    )
    classifier.save(out / "classifier.safetensors")
    print(f"classifier of all these videos: {out / 'classifier.safetensors'}")
    code = _tell_skipped(skipped, max_skipped)
    print(*last, sep="\n", end="\n" * bool(last))
    return code


@app.command
def compare(
    dataset: Path,
    *,
    out: Path,
    methods: str = "c3d,c3d-random,one-frame,chance",
    weights: Annotated[list[str] | None, Flag] = None,
    layer: str = "fc6",
    stride: int = 8,
    c: Annotated[float | None, Parameter(name="--C")] = None,
    l2: bool = True,
    split: Annotated[list[str] | None, Flag] = None,
    folds: int = 5,
    kind: DatasetKind = "auto",
    lists: Path | None = None,
    threads: int | None = None,
    colours: Colours = "file",
    video_seconds: float | None = None,
    max_skipped: MaxSkipped = 0,
    force: Annotated[bool, Flag] = False,
    model: str | None = None,
) -> int:
    """Compare methods on labelled videos: the paper's table for data of one's own.

    Args:
        dataset: A folder or CSV file, see `kinema dataset info`.
        out: Folder to write to.
        methods: Some of c3d, c3d-nets, imagenet, c3d+imagenet, c3d-random, depth-1, one-frame,
            chance, with commas between; differences are to the first.
        weights: Of C3D, a name or file; may be named several times.
        layer: Whose output is C3D's feature: fc6, fc7, pool5, prob.
        stride: Frames from clip to clip.
        c: Cost of the SVMs; by cross-validation on the training videos without it.
        l2: Bring video vectors to length 1.
        split: Official split, may be named several times; all of them by default.
        folds: Grouped folds, where there is no official split.
        kind: What the dataset is.
        lists: Folder of its official lists.
        threads: CPU threads; all by default.
        colours: How YUV becomes RGB: as the file says, or as the original's decoder did.
        video_seconds: Skip a video that takes longer; it is looked at between packets, so a call
            into FFmpeg that never returns is not cut short.
        max_skipped: Exit with 1 if more videos than this could not be used.
        force: Go on with weights that saw test videos, and mark their rows.
        model: FILE.py:CLASS, the PyTorch module of one's own that the weights are of.
    """
    result = _compare(
        dataset,
        out=out,
        methods=_names(methods),
        weights=[_weights(each, model) for each in weights or ["c3d-mini"]],
        layer=layer,
        stride=stride,
        cost=c,
        l2=l2,
        splits=split,
        folds=folds,
        kind=kind,
        lists=lists,
        threads=threads,
        force=force,
        colours=colours,
        video_seconds=video_seconds,
    )
    code = _tell_skipped(result.skipped, max_skipped)
    for warning in result.warnings:
        print(warning)
    return code


@app.command
def embed(
    dataset: Path,
    *,
    out: Path,
    methods: str = "c3d",
    weights: Annotated[list[str] | None, Flag] = None,
    layer: str = "fc6",
    stride: int = 8,
    perplexity: float = 30.0,
    seed: int = 0,
    kind: DatasetKind = "auto",
    lists: Path | None = None,
    threads: int | None = None,
    colours: Colours = "file",
    video_seconds: float | None = None,
    max_skipped: MaxSkipped = 0,
) -> int:
    """Draw features of videos in two dimensions, coloured by class: t-SNE, as PNG and SVG.

    Args:
        dataset: A folder or CSV file, see `kinema dataset info`.
        out: Folder to write to.
        methods: Whose features, with commas between: c3d, imagenet, c3d-random, depth-1, ...
        weights: Of C3D, a name or file; may be named several times.
        layer: Whose output is C3D's feature.
        stride: Frames from clip to clip.
        perplexity: Of t-SNE.
        seed: Of t-SNE.
        kind: What the dataset is.
        lists: Folder of its official lists.
        threads: CPU threads; all by default.
        colours: How YUV becomes RGB: as the file says, or as the original's decoder did.
        video_seconds: Skip a video that takes longer; it is looked at between packets, so a call
            into FFmpeg that never returns is not cut short.
        max_skipped: Exit with 1 if more videos than this could not be used.
    """
    from kinema.evaluation.embedding import embed, purity_text

    made = embed(
        dataset,
        out=out,
        methods=_names(methods),
        weights=weights or ["c3d-mini"],
        layer=layer,
        stride=stride,
        perplexity=perplexity,
        seed=seed,
        kind=kind,
        lists=lists,
        threads=threads,
        colours=colours,
        video_seconds=video_seconds,
        progress=True,
    )
    for one in made:
        print(f"{one.title}: {purity_text(one.purity, one.purity_2d)}")
    if made[0].purity_note:
        print(made[0].purity_note)
    print(f"{out / 'embedding.png'} and .svg: perplexity {made[0].perplexity:g}, seed {seed}")
    return _tell_skipped(made[0].skipped, max_skipped)


@app.command
def compactness(
    dataset: Path,
    *,
    out: Path,
    methods: str = "c3d",
    weights: Annotated[list[str] | None, Flag] = None,
    layer: str = "fc6",
    stride: int = 8,
    c: Annotated[float | None, Parameter(name="--C")] = 1.0,
    split: Annotated[list[str] | None, Flag] = None,
    folds: int = 5,
    kind: DatasetKind = "auto",
    lists: Path | None = None,
    threads: int | None = None,
    colours: Colours = "file",
    video_seconds: float | None = None,
    max_skipped: MaxSkipped = 0,
) -> int:
    """Tell how much accuracy features keep in 10, 50, 100, 500 dimensions: PCA, then the SVM.

    Args:
        dataset: A folder or CSV file, see `kinema dataset info`.
        out: Folder to write to.
        methods: Whose features, with commas between: c3d, imagenet, c3d-random, depth-1, ...
        weights: Of C3D, a name or file; may be named several times.
        layer: Whose output is C3D's feature.
        stride: Frames from clip to clip.
        c: Cost of the SVM.
        split: Official split, may be named several times; all of them by default.
        folds: Grouped folds, where there is no official split.
        kind: What the dataset is.
        lists: Folder of its official lists.
        threads: CPU threads; all by default.
        colours: How YUV becomes RGB: as the file says, or as the original's decoder did.
        video_seconds: Skip a video that takes longer; it is looked at between packets, so a call
            into FFmpeg that never returns is not cut short.
        max_skipped: Exit with 1 if more videos than this could not be used.
    """
    from kinema.evaluation.compactness import compactness

    made = compactness(
        dataset,
        out=out,
        methods=_names(methods),
        weights=weights or ["c3d-mini"],
        layer=layer,
        stride=stride,
        cost=c,
        splits=split,
        folds=folds,
        kind=kind,
        lists=lists,
        threads=threads,
        colours=colours,
        video_seconds=video_seconds,
        progress=True,
    )
    for one in made:
        values = ", ".join(f"{count}: {100 * value:.1f} %" for count, value in one.accuracy.items())
        print(f"{one.title}: {values}")
    for why in dict.fromkeys(one.why_left_out() for one in made if one.left_out):
        print(why)
    for note in made[0].notes:
        if note not in made[0].warnings:
            _say(note)
    print(out / "compactness.png")
    code = _tell_skipped(made[0].skipped, max_skipped)
    for warning in made[0].warnings:
        print(warning)
    return code


@app.command
def kernels(
    weights: str,
    *,
    out: Path,
    layer: str = "conv1a",
    count: int = 64,
    beside: str | None = None,
) -> int:
    """Draw the kernels of a layer as filmstrips, and tell how much of them changes over time.

    A strip is a kernel, its time steps from left to right; the strongest kernels come first. Grey
    is no weight. Deeper layers show each kernel on the one input map on which it is strongest.

    Args:
        weights: Name (see `kinema weights list`) or file.
        out: Folder to write to.
        layer: A convolution.
        count: The most kernels to draw.
        beside: Other weights to draw beside, or imagenet: first kernels of a 2-D network,
            EfficientNet-Lite0.
    """
    from kinema.views.filters import kernels

    for found in kernels(weights, out=out, layer=layer, count=count, beside=beside):
        print(found.summary())
    print(out / f"kernels-{layer}.png")
    return 0


@app.command
def excite(
    *paths: Path,
    out: Path,
    weights: str = "c3d-mini",
    layer: str = "conv5a",
    map: Annotated[list[int] | None, Flag] = None,
    count: int = 9,
    per_video: int = 1,
    stride: int = 16,
    mean: str | None = None,
    threads: int | None = None,
    colours: Colours = "file",
    video_seconds: float | None = None,
    max_skipped: MaxSkipped = 0,
) -> int:
    """Find the clips that excite maps of a layer most, and draw what in them does.

    What does is found by deconvolution (Zeiler and Fergus): the strongest activation alone is
    brought back to pixels, where grey is nothing. A video that cannot be read is left out.

    Args:
        paths: Videos, folders of pictures (000001.jpg, ...), and folders to search for videos.
        out: Folder to write to: LAYER-MAP.png, excite.json.
        weights: Name (see `kinema weights list`) or file.
        layer: A convolution, a pooling or a fully connected layer.
        map: Number of a map of the layer, from 0; may be named several times. Three that stand
            out among the videos by default.
        count: Clips of a map.
        per_video: At most so many of them from one video.
        stride: Frames from the start of one clip to the start of the next.
        mean: What to subtract, if the weights carry no mean: a file or B,G,R.
        threads: CPU threads; all by default.
        colours: How YUV becomes RGB: as the file says, or as the original's decoder did.
        video_seconds: Skip a video that takes longer; it is looked at between packets, so a call
            into FFmpeg that never returns is not cut short.
        max_skipped: Exit with 1 if more videos than this could not be used.
    """
    from kinema.views.excitation import excite

    report = excite(
        paths,
        out=out,
        weights=weights,
        layer=layer,
        maps=map or (),
        count=count,
        per_video=per_video,
        stride=stride,
        mean=mean,
        threads=threads,
        colours=colours,
        video_seconds=video_seconds,
        progress=True,
    )
    code = _tell_skipped(report.skipped, max_skipped)
    for note in report.notes:
        _say(note)
    print(report.summary())
    if weights == "c3d-mini":
        _say("c3d-mini has seeded random weights, not trained ones: its maps have learned nothing.")
    return code


def _model(text: str | None) -> tuple[str | None, dict[str, Any]]:
    """The name that --model gives, and the class of one's own behind FILE.py:CLASS."""
    if text is None or ":" not in text:
        return text, {}
    from kinema.model import load_class

    name, made = load_class(text)
    return name, {name: made}


def _weights(weights: str, model: str | None) -> Any:
    """Weights by name or file, or, of a class of one's own, themselves."""
    if model is None:
        return weights
    from kinema.weights.file import resolve

    return resolve(weights, _model(model)[1])


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _compare(dataset: Path, *, out: Path, **options: Any) -> Result:
    from kinema.evaluation.compare import compare
    from kinema.files import check_out
    from kinema.views import page, report

    check_out(out)
    cache = out / "features"
    result = compare(dataset, cache=cache, pictures=True, progress=True, **options)
    report.write(result, out)
    page.write(result, out / "report.html", cache=cache, progress=True)
    print(report.as_markdown(result))
    print(f"with filmstrips and maps: {out / 'report.html'}")
    return result


@app.command
def export(weights: str, target: Path, *, layer: Annotated[list[str] | None, Flag] = None) -> int:
    """Write weights as a file that other programs run: .onnx, or .pt2 of PyTorch.

    Its outputs are compared with the engine's before it is called done.

    Args:
        weights: Name or file.
        target: File to write.
        layer: Whose output the file gives; may be named several times. The last one's by default.
    """
    from kinema.engine.export import export

    report = export(weights, target, layers=layer)
    print(report.summary())
    return 0


@app.command
def demo(*, out: Path = Path("demo")) -> int:
    """Draw videos, extract features, train a classifier, compare it with two rivals.

    Needs no network and no data. Takes less than three minutes on two cores.

    Args:
        out: Folder for the videos, features, classifier and picture.
    """
    from kinema.cli.demo import demo

    demo(out)
    return 0


@weights_app.command(name="list")
def list_weights() -> int:
    """List the weights that are known by name."""
    from kinema.weights.file import BUILT_IN, KNOWN_FILES, cache_folder

    rows = [(name, "built in", built_in.what) for name, built_in in BUILT_IN.items()]
    for name, known in KNOWN_FILES.items():
        here = (cache_folder() / f"{name}.safetensors").is_file()
        rows.append((name, "here" if here else "to pull", known.what))
    width = max(len(name) for name, _, _ in rows)
    for name, state, what in rows:
        print(f"{name:<{width}}  {state:<8}  {what}")
    return 0


@weights_app.command
def info(file: str, *, json: Annotated[bool, Flag] = False, model: str | None = None) -> int:
    """Tell the story of weights: network, source, checksum, mean, labels.

    Args:
        file: Name or file.
        json: Print it as JSON.
        model: FILE.py:CLASS, the PyTorch module of one's own that the weights are of.
    """
    from kinema.weights.file import resolve

    weights = resolve(_weights(file, model))
    story = weights.story()
    story["mean"] = None if weights.mean is None else [*weights.mean.shape]
    story["num_parameters"] = weights.network.num_parameters
    if json:
        print(json_module.dumps(story))
        return 0
    mean = weights.mean
    print(f"name       {weights.name}")
    print(f"source     {weights.source}")
    print(f"trained    {'yes' if weights.trained else 'no, random'}")
    print(f"sha256     {story['sha256']}")
    if mean is None:
        print("mean       none: extraction needs --mean")
    elif mean.ndim == 1:
        print(f"mean       {', '.join(f'{v:g}' for v in mean)} (B, G, R)")
    else:
        print(f"mean       volume {'x'.join(map(str, mean.shape))}")
    print(f"labels     {len(weights.labels) if weights.labels else 'none'}")
    seen = weights.trained_on
    print(f"trained on {'not recorded' if seen is None else f'{len(seen)} videos'}")
    print(weights.network)
    return 0


@weights_app.command
def convert(
    source: Path,
    target: Path,
    *,
    mean: str | None = None,
    labels: Path | None = None,
    pool5: Literal["caffe", "symmetric"] | None = None,
    name: str | None = None,
) -> int:
    """Convert C3D weights of Caffe, PyTorch, Lasagne, Keras or any state dict to safetensors.

    Args:
        source: The file; its kind is recognised by its content.
        target: File to write, *.safetensors.
        mean: Mean to keep with the weights: a .binaryproto, .npy or .npz file, or B,G,R.
        labels: Text file with one class name a line, in the order of fc8.
        pool5: How the weights were trained, if it is not as is usual for such a file.
        name: What to call the weights.
    """
    from kinema.weights.convert import convert, load_labels
    from kinema.weights.means import load_mean

    if target.exists() and source.exists() and target.samefile(source):
        raise ValueError(f"{target} is the source itself; name another target.")
    weights = convert(
        source,
        mean=None if mean is None else load_mean(mean),
        labels=None if labels is None else load_labels(labels),
        pool5=pool5,
        name=name,
    )
    weights.save(target)
    print(f"{target}: {weights!r}")
    return 0


@weights_app.command
def pull(name: str) -> int:
    """Fetch published weights by name and convert them.

    Args:
        name: One of `kinema weights list`.
    """
    from kinema.weights.download import pull

    print(pull(name, progress=True))
    return 0


@weights_app.command
def mean(
    *videos: Path,
    out: Path,
    length: int = 16,
    colours: Colours = "file",
    video_seconds: float | None = None,
    max_skipped: MaxSkipped = 0,
) -> int:
    """Compute the mean volume of videos.

    Args:
        videos: Videos and folders to search for videos.
        out: File to write: *.npy, *.npz or *.binaryproto.
        length: Frames in a clip.
        colours: How YUV becomes RGB: as the file says, or as the original's decoder did.
        video_seconds: Skip a video that takes longer; it is looked at between packets, so a call
            into FFmpeg that never returns is not cut short.
        max_skipped: Exit with 1 if more videos than this could not be used, whole or in part.
    """
    from kinema.weights.means import check_mean_path, mean_volume, save_mean

    check_mean_path(out)
    report = mean_volume(
        videos, length=length, colours=colours, video_seconds=video_seconds, progress=True
    )
    for note in report.notes:
        _say(note)
    save_mean(out, report.mean)
    blue, green, red = report.mean.mean(axis=(1, 2, 3))
    print(f"{out}: mean of {report.num_clips} clips, B {blue:.2f}, G {green:.2f}, R {red:.2f}")
    return _tell_skipped(report.skipped, max_skipped)


@dataset_app.command(name="info")
def dataset_info(
    path: Path,
    *,
    lists: Path | None = None,
    kind: Literal["auto", "folder", "ucf101", "hmdb51", "sports1m", "kinetics", "csv"] = "auto",
    decode: Annotated[bool, Flag] = False,
    copies: Annotated[bool, Flag] = False,
    threads: int | None = None,
    video_seconds: float | None = None,
    max_skipped: MaxSkipped | None = None,
    all: Annotated[bool, Flag] = False,
    json: Annotated[bool, Flag] = False,
) -> int:
    """Tell what is in a dataset: classes, splits, durations, what is missing or cannot be read.

    Exits with 0 when that could be told, whatever is missing, unless --max-skipped is given.

    Args:
        path: Folder with a folder per class, or with train and test folders of these; a copy of
            UCF101, HMDB51, Sports-1M or Kinetics, or a part of one; or a CSV file (path,label).
        lists: Folder with the official lists, if it is not beside or below PATH.
        kind: What it is, if that is not to be found out by its lists.
        decode: Read every frame, to find damage further on.
        copies: Look for near-copies (same recording or scene), and for those that are on both sides
            of an official split.
        threads: Videos that are read at once; as many as there are processors by default.
        video_seconds: Skip a video that takes longer; it is looked at between packets, so a call
            into FFmpeg that never returns is not cut short.
        max_skipped: Exit with 1 if more videos than this cannot be read.
        all: Show all classes and all that is missing or cannot be read.
        json: Print it as JSON.
    """
    from kinema.datasets.loaders import inspect, load
    from kinema.datasets.near_duplicates import find_copies
    from kinema.video.loop import Reading

    reading = Reading(video_seconds=video_seconds)
    dataset = load(path, kind=kind, lists=lists)
    report = inspect(dataset, decode=decode, reading=reading, threads=threads, progress=True)
    found = None
    if copies:
        found = find_copies(dataset, reading=reading, threads=threads, progress=True)
        report = report.with_unreadable(found.unreadable)  # it has read them to their ends
    if json:
        facts = report.as_mapping()
        if found is not None:
            facts["copies"] = found.as_mapping(dataset.splits)
        print(json_module.dumps(facts))
    else:
        print(report.text(max_classes=None, max_names=None) if all else report.text())
        if found is not None:
            print(found.text(dataset.splits, max_names=None if all else 5))
    return 1 if max_skipped is not None and len(report.unreadable) > max_skipped else 0


def _tell_skipped(skipped: Sequence[Skipped], max_skipped: int) -> int:
    """Name the videos that could not be used, and give the exit code."""
    for entry in skipped[:10]:
        _say(f"skipped {entry}")
    if len(skipped) > 10:
        _say(f"... and {len(skipped) - 10} more skipped.")
    return 1 if len(skipped) > max_skipped else 0


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; errors are one line on standard error.

    With KINEMA_DEBUG set, an unexpected error comes with its traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that knows few characters
            stream.reconfigure(errors="replace")
    # A picture shows boxes for what its font lacks; a warning for each of them helps nobody.
    warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from")
    try:
        code = app(arguments, exit_on_error=False, print_error=False)
    except (CycloptsError, ValueError, TypeError, FileNotFoundError, ImportError) as error:
        if isinstance(error, FileNotFoundError) and error.strerror:  # the system's words
            error = ValueError(f"{error.filename}: {error.strerror}.")
        _say(f"kinema: {' '.join(str(error).split())}")
        return 2
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (FileExistsError, NotADirectoryError) as error:
        _say(f"kinema: {error.filename}: a file is there, where a folder is needed.")
        return 2
    except OSError as error:
        what = f"{error.filename or 'writing'}: {error.strerror}." if error.strerror else error
        _say(f"kinema: {what}")
        return 3
    except KeyboardInterrupt:
        _say("kinema: stopped; the same command goes on from here.")
        return 130
    except Exception as error:
        if os.environ.get("KINEMA_DEBUG"):
            raise
        _say(f"kinema: {type(error).__name__}: {' '.join(str(error).split())}")
        return 3
    return code or 0


if __name__ == "__main__":
    sys.exit(main())
