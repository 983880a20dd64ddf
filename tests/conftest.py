"""What several test files need."""

from __future__ import annotations

import atexit
import os
import sys
from pathlib import Path

import numpy as np
import pytest

import servers
import stores

ended: list[int] = []  # the status that a process ends with in which Ray was used


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if "ray" in sys.modules:
        ended.append(int(exitstatus))


@atexit.register  # first, so that it runs last
def _end_at_once() -> None:
    """End without destructors: Ray's threads outlive `ray.shutdown()`, and one that touches what
    they have freed ends by SIGSEGV a run of which all tests had their result."""
    if ended:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ended[0])


@pytest.fixture(scope="session")
def kinema_data() -> Path:
    """The folder with real videos and goldens."""
    folder = os.environ.get("KINEMA_DATA")
    if not folder:
        pytest.skip("KINEMA_DATA is not set: no real videos here")
    return Path(folder)


@pytest.fixture(scope="session")
def ucf101(kinema_data: Path) -> list[Path]:
    """All real UCF101 videos at hand, sorted."""
    videos = sorted((kinema_data / "ucf101-3" / "UCF-101").rglob("*.avi"))
    if not videos:
        pytest.skip("no UCF101 videos in KINEMA_DATA")
    return videos


@pytest.fixture(scope="session")
def picture_weights():
    """ImageNet's network with random weights, for which no package is needed."""
    from kinema.picture_network import PictureModel
    from kinema.weights.file import Weights

    generator, model = np.random.default_rng(0), PictureModel()
    arrays = {}
    for name, shape in model.parameter_shapes().items():
        arrays[name] = generator.standard_normal(shape, np.float32)
        if len(shape) > 1:
            arrays[name] *= np.float32(np.sqrt(2 / np.prod(shape[1:])))
        elif name.endswith(("weight", "running_var")):
            arrays[name] = 1 + np.abs(arrays[name]) / 2
        else:
            arrays[name] /= 4
    mean = np.full(3, 127, np.float32)
    return Weights(arrays, model, name="imagenet", source="random, for tests", mean=mean)


@pytest.fixture
def imagenet_is_random(picture_weights, monkeypatch):
    """The name imagenet stands for `picture_weights`."""
    from kinema.weights import file

    given = {name: getattr(picture_weights, name) for name in ("arrays", "network", "mean")}
    packaged = file.Packaged("random, for tests", lambda: given, lambda: True)
    monkeypatch.setattr(file, "PACKAGED", {"imagenet": packaged})


@pytest.fixture
def serve(monkeypatch):
    """See `servers.running`; what is tried again is tried at once."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr("kinema.download.FIRST_WAIT_SECONDS", 0.001)
    with servers.running() as start:
        yield start


@pytest.fixture
def s3(monkeypatch):
    """A real S3 server on this machine, and the environment that leads to it; needs moto."""
    with stores.s3_server(monkeypatch) as server:
        s3fs = pytest.importorskip("s3fs")
        s3fs.S3FileSystem.clear_instance_cache()  # one of before may have no credentials
        yield server
        s3fs.S3FileSystem.clear_instance_cache()  # the next one has another port
