"""The kernels of dense trajectories: OpenCV where it computes the same, formulas elsewhere, on
every build; and nothing that is handed to the raw binding reaches memory that it must not."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kinema import native
from kinema.native import trajectories as kernels

TARGETS = native.targets()
IDENTITY = np.eye(3).ravel().tolist()
sides = st.integers(32, 90)
each_build = pytest.mark.parametrize("target", TARGETS)


def noise(height, width, seed=0, blur=2.0):
    """A texture without edges: (height, width) uint8."""
    picture = np.random.default_rng(seed).normal(size=(height, width))
    picture = cv2.GaussianBlur(picture, (0, 0), blur)
    return np.clip(128 + 50 * picture / picture.std(), 0, 255).astype(np.uint8)


def shifted(height, width, x, y, seed=0):
    """A smooth texture and itself moved by (x, y) pixels."""
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    generator = np.random.default_rng(seed)
    waves = generator.uniform(-0.25, 0.25, (12, 2)), generator.uniform(0, 2 * np.pi, 12)

    def seen(dx, dy):
        total = sum(
            np.sin(a * (columns - dx) + b * (rows - dy) + phase)
            for (a, b), phase in zip(*waves, strict=True)
        )
        return np.rint(128 + 20 * total).clip(0, 255).astype(np.uint8)

    return seen(0, 0), seen(x, y)


def solved(target, first, second, homography=IDENTITY):
    height, width = first.shape
    pictures = [kernels.Picture(target, width, height) for _ in range(2)]
    for picture, image in zip(pictures, (first, second), strict=True):
        picture.read(image)
    pair = kernels.Pair(target, width, height)
    pair.solve(*pictures)
    pair.solve_warped(*pictures, list(homography))
    return *pictures, pair


def flow_of(pair, shape, level=0, warped=False):
    flow = np.empty((2, *shape), np.float32)
    pair.flow(level, warped, flow)
    return flow


def test_levels_by_hand():
    # 240 / sqrt(2)^k is at least 32 up to k = 5; sides are rounded.
    sizes = [(w, h) for w, h, _ in kernels.levels(320, 240)]
    assert sizes == [(320, 240), (226, 170), (160, 120), (113, 85), (80, 60), (57, 42)]
    assert np.allclose([s for *_, s in kernels.levels(320, 240)], 2 ** (np.arange(6) / 2))
    assert len(kernels.levels(32, 32)) == 1
    assert len(kernels.levels(4000, 4000)) == 8


@each_build
@given(height=sides, width=sides, seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_corners_are_opencvs(target, height, width, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    found = np.empty(image.shape, np.float32)
    largest = kernels.corners(target, image, found)
    expected = cv2.cornerMinEigenVal(image, 3, ksize=3)
    assert np.abs(found - expected).max() < 1e-6 * expected.max()
    assert largest == found.max()


@each_build
@given(height=sides, width=sides, seed=st.integers(0, 99), ties=st.booleans())
@settings(max_examples=20, deadline=None)
def test_median_is_opencvs(target, height, width, seed, ties):
    plane = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    plane = np.round(plane) if ties else plane
    found = np.empty_like(plane)
    kernels.median(target, plane, found)
    assert np.array_equal(found, cv2.medianBlur(plane, 5))


@each_build
def test_pyramid_is_opencvs(target):
    image = np.random.default_rng(0).integers(0, 256, (120, 160), dtype=np.uint8)
    picture = kernels.Picture(target, 160, 120)
    picture.read(image)
    for level, (width, height, _) in enumerate(kernels.levels(160, 120)):
        found = np.empty((height, width), np.uint8)
        picture.image(level, found)
        image = cv2.resize(image, (width, height)) if level else image
        assert np.abs(found.astype(int) - image).max() <= 1  # builds of OpenCV round differently
        image = found


@each_build
@given(height=st.integers(32, 45), width=sides, seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_flow_of_one_level_is_opencvs_and_its_median(target, height, width, seed):
    """Such frames have one level, on which OpenCV's flow is the same but for the median."""
    first, second = noise(height, width, seed), noise(height, width, seed + 1, blur=3)
    second = (0.8 * first + 0.2 * second).astype(np.uint8)
    *_, pair = solved(target, first, second)

    def farneback(iterations):
        settings = (2**-0.5, 0, 10, iterations, 7, 1.5, cv2.OPTFLOW_FARNEBACK_GAUSSIAN)
        return cv2.calcOpticalFlowFarneback(first, second, None, *settings)

    assume(_distance_to_border(farneback(1)) > 1e-4)
    expected = farneback(2)
    found = flow_of(pair, first.shape)
    for axis in range(2):
        plane = cv2.medianBlur(np.ascontiguousarray(expected[..., axis]), 5)
        assert np.abs(found[axis] - plane).max() < 2e-3 * max(1, np.abs(plane).max())


def _distance_to_border(flow):
    """How near the nearest pixel's target is to the border, where what is computed jumps."""
    height, width = flow.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    x, y = columns + flow[..., 0], rows + flow[..., 1]
    return min(np.abs(d).min() for d in (x, x - (width - 1), y, y - (height - 1)))


def test_flow_is_not_compared_where_it_jumps():
    """The pair on which a pixel ends 7e-7 of its width beside the border."""
    first, second = noise(43, 32, 5), noise(43, 32, 6, blur=3)
    second = (0.8 * first + 0.2 * second).astype(np.uint8)
    flow = cv2.calcOpticalFlowFarneback(
        first, second, None, 2**-0.5, 0, 10, 1, 7, 1.5, cv2.OPTFLOW_FARNEBACK_GAUSSIAN
    )
    assert _distance_to_border(flow) < 1e-4


@each_build
@pytest.mark.parametrize(("x", "y"), [(1.5, -0.75), (-7, 4), (6, -5)])
def test_flow_of_a_translation(target, x, y):
    """Coarser levels start finer ones: motion far beyond the window is found."""
    first, second = shifted(160, 200, x, y)
    *_, pair = solved(target, first, second)
    for level, (width, height, scale) in enumerate(kernels.levels(200, 160)[:3]):
        flow = flow_of(pair, (height, width), level)[:, 20:-20, 20:-20]
        expected = np.array([x, y]).reshape(2, 1, 1) / scale
        assert np.median(np.abs(flow - expected)) < 0.05  # the border knows less


def warped_by_hand(first, second, homography):
    """One pixel after the other."""
    height, width = first.shape
    result = first.copy()
    for y, x in np.ndindex(first.shape):
        u, v, w = homography @ (x, y, 1)
        if not w:
            continue
        # In 1/32 pixels, as OpenCV has it.
        u, v = np.rint(u * (32 / w)) / 32, np.rint(v * (32 / w)) / 32
        i, j = int(np.floor(u)), int(np.floor(v))
        if 5 <= i < width - 5 and 5 <= j < height - 5:
            corners = second[j : j + 2, i : i + 2].astype(float)
            value = np.array([1 - (v - j), v - j]) @ corners @ np.array([1 - (u - i), u - i])
            result[y, x] = np.floor(value + 0.5)
    return result


@each_build
def test_warp_by_hand(target):
    first, second = noise(48, 60), noise(48, 60, 1)
    homography = np.array([[1.02, 0.03, -2.4], [-0.02, 0.97, 1.7], [1e-4, -2e-4, 1]])
    *_, pair = solved(target, first, second, homography.ravel())
    found = np.empty_like(first)
    pair.warped_image(found)
    differs = found != warped_by_hand(first, second, homography)
    assert differs.mean() < 0.001  # where a place is halfway between two of 1/32 pixels


@each_build
def test_warped_flow_lacks_the_cameras_motion(target):
    first, second = shifted(120, 160, 6, -3)
    *_, pair = solved(target, first, second, np.array([1, 0, 6, 0, 1, -3, 0, 0, 1.0]))
    assert np.abs(flow_of(pair, first.shape, warped=True)[:, 20:-20, 20:-20]).max() < 0.1


def directions_by_hand(x, y, still):
    """(8 or 9, height, width): what each pixel's vector gives to each direction."""
    length = np.hypot(x, y)
    place = np.degrees(np.arctan2(y, x)) % 360 / 45
    low = np.floor(place)
    bins = np.zeros((8, *x.shape))
    for i in range(8):
        bins[i] += np.where(low % 8 == i, length * (1 - (place - low)), 0)
        bins[i] += np.where((low + 1) % 8 == i, length * (place - low), 0)
    if not still:
        return bins
    return np.concatenate([bins * (length > 0.4), (length <= 0.4)[None]])


def gradient_by_hand(plane):
    padded = np.pad(plane.astype(np.float64), 1, mode="reflect")
    return padded[1:-1, 2:] - padded[1:-1, :-2], padded[2:, 1:-1] - padded[:-2, 1:-1]


def descriptor_by_hand(bins, x, y):
    cells = [
        bins[:, y + j : y + j + 16, x + i : x + i + 16].sum(axis=(1, 2)) + 0.05
        for i in (0, 16)
        for j in (0, 16)
    ]
    values = np.concatenate(cells)
    return np.sqrt(values / values.sum())


@each_build
def test_rows_by_hand(target):
    """Tracks of the first level over a texture that turns, from flows and images alone."""
    height, width, count = 44, 60, 17
    centre = (width / 2, height / 2)
    base = noise(height, width, 3, blur=1.5)
    images = [
        cv2.warpAffine(
            base, cv2.getRotationMatrix2D(centre, 5.0 * t, 1), (width, height), borderMode=2
        )
        for t in range(count)
    ]
    tracks = kernels.Tracks(target, width, height)
    flows, warped, bins, ended = [], [], [], []
    for t, (one, two) in enumerate(itertools.pairwise(images)):
        first, second, pair = solved(target, one, two)
        if not t:
            tracks.begin(first)
        num_rows, num_removed = tracks.step(first, second, pair)
        rows = np.empty((num_rows, 436), np.float32)
        points = np.empty((num_rows, 16, 2), np.float32)
        tracks.ended(rows, points, np.empty((num_removed, 16, 2), np.float32))
        ended += [(t + 1, row, path) for row, path in zip(rows, points, strict=True)]
        flows.append(flow_of(pair, one.shape))
        warped.append(flow_of(pair, one.shape, warped=True))
        planes = gradient_by_hand(one), warped[-1], *map(gradient_by_hand, warped[-1])
        bins.append([directions_by_hand(*p, still=i == 1) for i, p in enumerate(planes)])
    assert len(ended) > 20
    for frame, row, path in ended:
        start = frame - 15
        assert row[0] == frame
        assert row[9] == frame
        assert row[6] == 1
        if start == 0:
            assert np.array_equal(path[0] % 5, [2, 2])
        steps, parts = [], [[], [], [], []]
        for i in range(15):
            x, y = np.rint(path[i]).astype(int)
            x, y = min(x, width - 1), min(y, height - 1)
            assert np.allclose(path[i + 1], path[i] + flows[start + i][:, y, x], atol=1e-5)
            steps.append(warped[start + i][:, y, x])
            left = np.clip(np.rint(path[i]).astype(int) - 16, 0, [width - 32, height - 32])
            for part, of_channel in zip(parts, bins[start + i], strict=True):
                part.append(descriptor_by_hand(of_channel, *left))
        length = np.linalg.norm(np.diff(path, axis=0), axis=1).sum()
        info = [*path.mean(axis=0), *path.std(axis=0), length, 1, *path.mean(axis=0)]
        info[-2:] = info[-2] / width, info[-1] / height
        assert np.allclose(row[1:9], info, atol=1e-4)
        sizes = np.linalg.norm(steps, axis=1)
        assert sizes.max() > 1
        assert np.allclose(row[10:40], np.ravel(steps) / sizes.sum(), atol=1e-5)
        cells = [np.array(part).reshape(3, 5, -1).mean(axis=1).ravel() for part in parts]
        # fastAtan2 is right to 0.3 degrees, and moves so much of a length between bins.
        assert np.abs(row[40:] - np.concatenate(cells)).max() < 5e-3


def test_a_track_that_stands_still_or_moves_with_the_camera_gives_no_row():
    first, second = shifted(64, 64, 0, 0)[0], None
    images = [shifted(64, 64, 1.5 * t, 0)[1] for t in range(17)]
    camera = np.array([1, 0, 1.5, 0, 1, 0, 0, 0, 1])
    found = {}
    for name, (frames, homography) in {
        "still": ([first] * 17, IDENTITY),
        "moved": (images, IDENTITY),
        "camera": (images, camera),
    }.items():
        tracks = kernels.Tracks(TARGETS[0], 64, 64)
        found[name] = np.zeros(2, int)
        for t, (one, second) in enumerate(itertools.pairwise(frames)):
            *pictures, pair = solved(TARGETS[0], one, second, homography)
            if not t:
                tracks.begin(pictures[0])
            found[name] += tracks.step(*pictures, pair)
    assert found["still"].tolist() == [0, 0]
    assert found["moved"][0] > 50
    # Within 5 pixels of the border the warped frame is the first one, which does not move.
    assert found["moved"][1] < 0.2 * found["moved"][0]
    assert found["camera"][1] > 0.5 * found["moved"][0]


@each_build
@given(
    height=sides,
    width=sides,
    seed=st.integers(0, 99),
    black=st.booleans(),
    homography=st.lists(
        st.one_of(st.floats(-3, 3), st.sampled_from([np.nan, np.inf, -np.inf, 1e300, 0.0])),
        min_size=9,
        max_size=9,
    ),
)
@settings(max_examples=25, deadline=None)
def test_any_frames_and_homography_give_finite_numbers(
    target, height, width, seed, black, homography
):
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (17, height, width), dtype=np.uint8)
    images[::3] = 0 if black else 255
    tracks = kernels.Tracks(target, width, height)
    pictures = [kernels.Picture(target, width, height) for _ in range(2)]
    pair = kernels.Pair(target, width, height)
    pictures[0].read(images[0])
    tracks.begin(pictures[0])
    for image in images[1:]:
        pictures[1].read(image)
        pair.solve(*pictures)
        pair.solve_warped(*pictures, homography)
        rows, removed = (np.empty((n, 436), np.float32) for n in tracks.step(*pictures, pair))
        tracks.ended(
            rows,
            np.empty((len(rows), 16, 2), np.float32),
            np.empty((len(removed), 16, 2), np.float32),
        )
        assert np.isfinite(rows).all()
        assert (rows[:, 40:] >= 0).all()
        assert (rows[:, 40:] <= 1).all()
        assert np.abs(rows[:, 10:40]).max(initial=0) <= 1
        for warped in (False, True):
            assert np.isfinite(flow_of(pair, image.shape, warped=warped)).all()
        pictures.reverse()


@given(seed=st.integers(0, 999), here=st.integers(0, 40), there=st.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_matches_are_opencvs(seed, here, there):
    generator = np.random.default_rng(seed)
    points = [generator.uniform(0, 120, (n, 2)).astype(np.float32) for n in (here, there)]
    descriptors = [generator.integers(0, 256, (n, 128)).astype(np.float32) for n in (here, there)]
    near = (np.abs(points[0][:, None] - points[1][None]) < 25).all(axis=2)
    expected = np.full(here, -1)
    if here and there:
        matcher = cv2.BFMatcher(cv2.NORM_L2)
        for match in matcher.match(*descriptors, near.astype(np.uint8)):
            expected[match.queryIdx] = match.trainIdx
    for target in TARGETS:
        found = np.empty(here, np.int32)
        kernels.match(target, (points[0], descriptors[0]), (points[1], descriptors[1]), 25.0, found)
        assert found.tolist() == expected.tolist()


def test_what_does_not_fit_is_refused():
    target = TARGETS[0]
    for width, height in ((31, 40), (40, 31), (40, 1 << 16), (-40, 40), (1 << 15, 1 << 15)):
        for kind in (kernels.Picture, kernels.Pair, kernels.Tracks):
            with pytest.raises(ValueError, match="sides from 32"):
                kind(target, width, height)
    with pytest.raises(ValueError, match="cannot run"):
        kernels.Picture("abacus", 40, 40)
    picture, other = kernels.Picture(target, 40, 40), kernels.Picture(target, 41, 40)
    pair, tracks = kernels.Pair(target, 40, 40), kernels.Tracks(target, 40, 40)
    with pytest.raises(ValueError, match="has not been read"):
        pair.solve(picture, picture)
    with pytest.raises(ValueError, match="has not been read"):
        tracks.begin(picture)
    with pytest.raises(ValueError, match="another size"):
        picture.read(np.zeros((41, 40), np.uint8))
    picture.read(np.zeros((40, 40), np.uint8))
    other.read(np.zeros((40, 41), np.uint8))
    with pytest.raises(ValueError, match="another size"):
        pair.solve(picture, other)
    with pytest.raises(ValueError, match="not solved"):
        tracks.step(picture, picture, pair)
    with pytest.raises(ValueError, match="not solved"):
        flow_of(pair, (40, 40))
    pair.solve(picture, picture)
    with pytest.raises(ValueError, match="nine values"):
        pair.solve_warped(picture, picture, [1.0] * 8)
    with pytest.raises(ValueError, match="no such level"):
        flow_of(pair, (40, 40), level=1)
    with pytest.raises(ValueError, match="another size"):
        flow_of(pair, (40, 41))
    with pytest.raises(ValueError, match="other sizes"):
        tracks.ended(*(np.empty((1, *shape), np.float32) for shape in ((436,), (16, 2), (16, 2))))
    points, descriptors = np.zeros((3, 2), np.float32), np.zeros((3, 128), np.float32)
    with pytest.raises(ValueError, match="another size"):
        kernels.match(
            target, (points, descriptors), (points, descriptors), 1.0, np.empty(2, np.int32)
        )
    with pytest.raises(ValueError, match="keypoints must be"):
        kernels.match(
            target, (points, descriptors[:2]), (points, descriptors), 1.0, np.empty(3, np.int32)
        )


def test_several_threads_may_share_pictures():
    images = [noise(64, 80, seed) for seed in range(6)]
    pictures = [kernels.Picture(TARGETS[0], 80, 64) for _ in images]
    for picture, image in zip(pictures, images, strict=True):
        picture.read(image)

    def flow(index):
        pair = kernels.Pair(TARGETS[0], 80, 64)
        pair.solve(pictures[index], pictures[index + 1])
        return flow_of(pair, (64, 80))

    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(flow, range(5)))
    assert all(np.array_equal(flow(i), one) for i, one in enumerate(together))
