"""Weights of networks: `kinema weights ...`."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from kinema.cli.end import Done
from kinema.cli.options import MaxSkipped, OwnModel, Reading, Switch, Videos, loaded


def known() -> Done:
    """List the weights that are known by name."""
    from kinema.weights.file import BUILT_IN, KNOWN_FILES, PACKAGED, SHIPPED, cache_folder

    rows = [(name, "built in", what) for name, what in SHIPPED.items()]
    rows += [(name, "built in", built_in.what) for name, built_in in BUILT_IN.items()]
    for name, packaged in PACKAGED.items():
        rows.append((name, "here" if packaged.is_here() else "to install", packaged.what))
    for name, file in KNOWN_FILES.items():
        here = (cache_folder() / f"{name}.safetensors").is_file()
        rows.append((name, "here" if here else "to pull", file.what))
    width = max(len(name) for name, _, _ in rows)
    return Done(lines=[f"{name:<{width}}  {state:<10}  {what}" for name, state, what in rows])


def info(file: str, *, json: Switch = False, model: OwnModel = None) -> Done:
    """Tell what is known of weights: network, source, checksum, mean, labels.

    Args:
        file: Name or file.
        json: Print it as JSON.
    """
    from kinema.weights.file import resolve

    weights = resolve(loaded(file, model))
    mean = weights.mean
    metadata = weights.metadata()
    metadata["mean"] = None if mean is None else [*mean.shape]
    metadata["num_parameters"] = weights.network.num_parameters
    if json:
        return Done(lines=[json_module.dumps(metadata)])
    if mean is None:
        of_mean = "none: extraction needs --mean"
    elif mean.ndim == 1 and len(mean) != 3:
        of_mean = f"{mean[0]:g} of each of {len(mean)} channels"
    elif mean.ndim == 1:
        of_mean = f"{', '.join(f'{v:g}' for v in mean)} (B, G, R)"
    else:
        of_mean = f"volume {'x'.join(map(str, mean.shape))}"
    seen = weights.trained_on
    return Done(
        lines=[
            f"name       {weights.name}",
            f"source     {weights.source}",
            f"trained    {'yes' if weights.trained else 'no, random'}",
            f"sha256     {metadata['sha256']}",
            f"mean       {of_mean}",
            f"labels     {len(weights.labels) if weights.labels else 'none'}",
            f"trained on {'not recorded' if seen is None else f'{len(seen)} videos'}",
            *(f"taught by  a net of {each}" for each in weights.learned_from),
            weights.network,
        ]
    )


def convert(
    source: Path,
    target: Path,
    *,
    mean: str | None = None,
    labels: Path | None = None,
    pool5: Literal["caffe", "symmetric"] | None = None,
    name: str | None = None,
) -> Done:
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
    return Done(lines=[f"{target}: {weights!r}"])


def pull(name: str) -> Done:
    """Fetch published weights by name and convert them.

    Args:
        name: One of `kinema weights list`.
    """
    from kinema.weights.known import pull

    return Done(lines=[pull(name, progress=True)])


def mean(
    *videos: Videos,
    out: Path,
    length: int = 16,
    reading: Reading = Reading(),
    max_skipped: Annotated[
        MaxSkipped,
        Parameter(help="Exit with 1 if more videos than this could not be used, whole or in part."),
    ] = 0,
) -> Done:
    """Compute the mean volume of videos.

    Args:
        out: File to write: *.npy, *.npz or *.binaryproto.
        length: Frames in a clip.
    """
    from kinema.weights.means import check_mean_path, mean_volume, save_mean

    check_mean_path(out)
    report = mean_volume(videos, length=length, progress=True, **vars(reading))
    save_mean(out, report.mean)
    blue, green, red = report.mean.mean(axis=(1, 2, 3))
    line = f"{out}: mean of {report.num_clips} clips, B {blue:.2f}, G {green:.2f}, R {red:.2f}"
    return Done(skipped=report.skipped, max_skipped=max_skipped, notes=report.notes, lines=[line])
