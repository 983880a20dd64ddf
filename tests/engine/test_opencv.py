"""The picture network on OpenCV against its published PyTorch module, and by hand."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from kinema.engine import opencv
from kinema.engine.opencv import PictureEngine, as_onnx
from kinema.picture_network import PictureModel, convolutions
from kinema.weights import imagenet


@pytest.fixture(scope="module")
def pictures():
    """Smooth ones, as photographs are."""
    small = np.random.default_rng(1).integers(0, 256, (3, 20, 20, 3), np.uint8)
    large = np.stack([cv2.resize(one, (224, 224), interpolation=cv2.INTER_CUBIC) for one in small])
    return (large.transpose(0, 3, 1, 2).astype(np.float32) - 127) / 128


def published(arrays):
    """Its features by the package that published it, in float64."""
    torch = pytest.importorskip("torch")
    package = pytest.importorskip("efficientnet_lite_pytorch")
    network = package.EfficientNet.from_name("efficientnet-lite0").eval().double()
    state = {name: torch.from_numpy(value.copy()) for name, value in arrays.items()}
    found = network.load_state_dict(state, strict=False)
    assert not found.unexpected_keys
    assert not {name for name in found.missing_keys if not name.startswith("_fc.")}

    def run(pictures):
        with torch.inference_mode():
            return (
                network.extract_features(torch.from_numpy(pictures).double()).mean((2, 3)).numpy()
            )

    return run


def error(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def test_random_weights_give_what_the_published_module_gives(picture_weights, pictures):
    expected = published(picture_weights.arrays)(pictures)
    # Random layers make more of rounding than learned ones.
    assert error(PictureEngine(picture_weights).run(pictures), expected) < 1e-4


def test_the_mean_of_the_last_maps_is_the_feature(picture_weights, pictures):
    maps = PictureEngine(picture_weights, maps=True).run(pictures)
    assert (maps.shape, maps.dtype) == ((3, 1280, 7, 7), np.float32)
    assert (maps.min(), maps.max()) == (0, 6)  # of ReLU6; random weights meet both
    assert error(maps.mean((2, 3)), PictureEngine(picture_weights).run(pictures)) < 1e-6


def test_the_published_weights_do_too(pictures):
    pytest.importorskip(imagenet.PACKAGE)
    arrays = imagenet.read()["arrays"]
    expected = published(arrays)(pictures)
    assert error(PictureEngine(arrays).run(pictures), expected) < 1e-5
    assert error(PictureEngine(arrays).run(pictures[::-1].copy()), expected) > 0.1


def test_rows_do_not_depend_on_number_or_threads(picture_weights, pictures):
    engine = PictureEngine(picture_weights, threads=1)
    rows = engine.run(pictures)
    for index, picture in enumerate(pictures):
        np.testing.assert_array_equal(engine.run(picture[None])[0], rows[index])
    before = cv2.getNumThreads()
    np.testing.assert_array_equal(PictureEngine(picture_weights, threads=2).run(pictures), rows)
    assert cv2.getNumThreads() == before
    with pytest.raises(ValueError, match="`threads` must be at least 1, got 0"):
        PictureEngine(picture_weights, threads=0)


def test_the_model_is_onnx_to_its_own_checker(picture_weights):
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(as_onnx(picture_weights))
    onnx.checker.check_model(model, full_check=True)
    strides = [
        attribute.ints[0]
        for node in model.graph.node
        for attribute in node.attribute
        if attribute.name == "strides"
    ]
    assert math.prod(strides) == 32  # 224 to 7


def test_protobuf_is_that_of_its_documentation():
    """https://protobuf.dev/programming-guides/encoding: 150 and "testing"."""
    assert opencv._field(1, 150).hex() == "089601"
    assert opencv._field(2, "testing").hex() == "120774657374696e67"


def test_shapes_are_those_of_the_paper():
    """EfficientNet-B0's, table 1 of Tan and Le 2019, without squeeze and excitation.

    Of 4,652,008 parameters of Lite0 its classifier has 1280 x 1000 + 1000.
    """
    model = PictureModel()
    shapes = model.parameter_shapes()
    kept = {name: shape for name, shape in shapes.items() if "running" not in name}
    assert sum(map(math.prod, kept.values())) == 4_652_008 - 1_281_000
    assert len(convolutions()) == 1 + 2 + 15 * 3 + 1
    assert math.prod(one.stride for one in convolutions()) == 32
    assert model.feature_shape("pool") == (1280,)
    with pytest.raises(ValueError, match="not learned from"):
        model.with_classes(3)
