"""Codebooks over videos: what they see, what is kept, what few trajectories do."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from sklearn.base import clone

import fake_trajectories
from kinema import network as networks
from kinema.evaluation.compare import compare
from kinema.features import trajectory_store
from kinema.features.trajectory_store import CHANNELS, TrajectoryStore, as_records
from kinema.files import read_kept_tensors, write_tensors
from kinema.methods import METHODS, trajectories
from kinema.methods.encoding import CODEBOOK_FORMAT, TrajectoryEncoder
from kinema.methods.fisher import FisherVectors, fisher_vector, improved
from kinema.methods.options import Options
from kinema.methods.words import Words
from kinema.skipped import VideoError
from kinema.video.sources import as_source
from kinema.video.synthetic import write_video
from kinema.views import page
from kinema.views.report import as_mapping, as_markdown
from kinema.weights.file import random_weights

from small_videos import draw

NET = random_weights(networks.c3d_mini(3, input_shape=(3, 16, 16, 16)), name="small")
SMALL_WORDS = Words(num_words=12, num_sampled=600)
SMALL_FISHER = FisherVectors(num_gaussians=3, num_sampled=600)
SMALL_STACKED = FisherVectors(num_gaussians=3, num_sampled=600, positions=True)
KINDS = {"words": SMALL_WORDS, "fisher": SMALL_FISHER, "stacked": SMALL_STACKED}


@pytest.fixture(autouse=True)
def _fake(monkeypatch):
    monkeypatch.setattr(trajectory_store, "_tracks", fake_trajectories.tracks)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("encoded") / "v"
    for label in ("blue", "green", "red"):
        for number in range(4):
            write_video(root / label / f"{label}_{number}.mp4", draw(label, number, 16))
    write_video(root / "red" / "red_9.mp4", np.zeros((16, 36, 48, 3), np.uint8))
    return [as_source(path) for path in sorted(root.rglob("*.mp4"))]


def encoder(kind, cache, **given):
    steps = (1, 3, 6) if kind.positions else (1,)
    return TrajectoryEncoder(kind, [TrajectoryStore(s, cache) for s in steps], cache=cache, **given)


def rows_of(source, cache, frame_step=1):
    ((_, records),) = TrajectoryStore(frame_step, cache).records([source])
    return records


def test_bags_of_words_are_counts_of_nearest_words(videos, tmp_path):
    made = encoder(SMALL_WORDS, tmp_path).fit(videos[:8])
    assert made.num_dimensions_ == 60
    vectors, counts = made.encoded(videos)
    for source, vector, count in zip(videos, vectors, counts, strict=True):
        records = rows_of(source, tmp_path)
        assert count == len(records)
        for place, (channel, columns) in enumerate(CHANNELS.items()):
            words = made.codebooks_[channel]["words"]
            rows = records["descriptors"][:, columns].astype(np.float64)
            nearest = ((rows[:, None] - words) ** 2).sum(axis=2).argmin(axis=1)
            expected = np.bincount(nearest, minlength=12) / max(count, 1)
            # One of 480 may be as far from two words.
            np.testing.assert_allclose(vector[12 * place :][:12], expected, atol=3e-3)
    assert counts.min() == 0  # of the black one


def test_stacked_skips_are_one_set_with_places_behind_pca(videos, tmp_path):
    made = encoder(SMALL_STACKED, tmp_path).fit(videos[:8])
    vector = made.transform(videos[:1])[0]
    assert len(vector) == made.num_dimensions_ == 2 * 3 * (213 + 5 * 3)
    records = np.concatenate([rows_of(videos[0], tmp_path, step) for step in (1, 3, 6)])
    assert made.num_trajectories_ == 8 * 30 * (16 + 6 + 3)
    start = 0
    for channel, columns in CHANNELS.items():
        codebook = made.codebooks_[channel]
        kept = (records["descriptors"][:, columns] - codebook["mean"]) @ codebook["axes"].T
        rows = np.hstack([kept, records["info"][:, 7:10]])
        expected = improved(fisher_vector(codebook, [rows]))
        np.testing.assert_allclose(vector[start : start + len(expected)], expected, atol=2e-3)
        start += len(expected)
    assert start == len(vector)


def test_half_precision_hardly_moves_a_fisher_vector(videos, tmp_path):
    made = encoder(SMALL_FISHER, tmp_path).fit(videos[:8])
    codebook = made.codebooks_["hog"]
    from kinema.video.reader import VideoReader

    frames = (trajectory_store.grey(frame) for frame in VideoReader(videos[0].path))
    rows = np.concatenate([*fake_trajectories.tracks(frames)])
    whole = SMALL_FISHER.encode(codebook, [rows[:, 10:][:, CHANNELS["hog"]]])
    halves = as_records(rows)["descriptors"][:, CHANNELS["hog"]].astype(np.float32)
    assert np.linalg.norm(SMALL_FISHER.encode(codebook, [halves]) - whole) < 5e-3  # of length 1


@pytest.mark.parametrize("kind", KINDS)
def test_two_clones_give_equal_bits(videos, tmp_path, kind):
    """In caches of their own, whatever the order of the training videos."""
    made = encoder(KINDS[kind], tmp_path / "one")
    one = made.fit(videos[:8]).transform(videos)
    other = clone(encoder(KINDS[kind], tmp_path / "two"))
    np.testing.assert_array_equal(one, other.fit(videos[7::-1]).transform(videos))


def test_a_second_fit_touches_no_video(videos, tmp_path, monkeypatch):
    first = encoder(SMALL_FISHER, tmp_path)
    vectors = first.fit(videos[:8]).transform(videos)
    for name in ("_tracks", "read_records"):
        monkeypatch.setattr(trajectory_store, name, None)
    monkeypatch.setattr(FisherVectors, "fit", None)
    monkeypatch.setattr(FisherVectors, "encode", None)
    again = clone(first).fit(videos[:8])
    np.testing.assert_array_equal(again.transform(videos), vectors)
    assert again.num_trajectories_ == first.num_trajectories_
    # Other training videos are another codebook.
    with pytest.raises((VideoError, TypeError)):
        clone(first).fit(videos[:7])
    with pytest.raises((VideoError, TypeError)):
        clone(first).set_params(seed=1).fit(videos[:8])


def test_vectors_of_another_codebook_are_not_found_again(videos, tmp_path):
    made = encoder(SMALL_FISHER, tmp_path).fit(videos[:8])
    made.transform(videos)
    file = made._file("hog")
    codebook = read_kept_tensors(file, format=CODEBOOK_FORMAT)
    assert codebook is not None
    write_tensors(file, {**codebook, "means": codebook["means"] + 0.5}, {"format": CODEBOOK_FORMAT})
    again = encoder(SMALL_FISHER, tmp_path).fit(videos[:8])
    assert (again.transform(videos) != made.transform(videos)).any()


def test_a_stopped_fit_goes_on_where_it_stopped(videos, tmp_path, monkeypatch):
    whole = encoder(SMALL_WORDS, tmp_path / "whole").fit(videos[:8])
    done, fit = [], Words.fit

    def stops(kind, sample, size):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(sample.shape[1])
        return fit(kind, sample, size)

    stopped = encoder(SMALL_WORDS, tmp_path / "stopped")
    monkeypatch.setattr(Words, "fit", stops)
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(videos[:8])
    monkeypatch.setattr(Words, "fit", lambda *given: done.append(given[1].shape[1]) or fit(*given))
    again = clone(stopped).fit(videos[:8])
    # Each once, but for one that another thread may have been at when it was stopped.
    assert set(done) == {30, 96, 108}
    assert 5 <= len(done) <= 6
    for channel, codebook in whole.codebooks_.items():
        np.testing.assert_array_equal(codebook["words"], again.codebooks_[channel]["words"])


def test_codebooks_see_training_videos_alone(videos, tmp_path):
    """Test videos that are others change no bit of them; another training video does."""
    write_video(tmp_path / "other.mp4", draw("red", 99, 16))
    other = as_source(tmp_path / "other.mp4")

    def codebooks(name, train, test):
        made = encoder(SMALL_FISHER, tmp_path / name)
        for store in made.stores:  # as `compare` does: all videos are described before any fit
            assert len([*store.records([*train, *test])]) == len(train) + len(test)
        made.fit(train).transform(test)
        return made.codebooks_

    one = codebooks("a", videos[:8], videos[8:])
    two = codebooks("b", videos[:8], [other, *videos[9:]])
    three = codebooks("c", [other, *videos[1:8]], videos[8:])
    for channel in CHANNELS:
        for name, array in one[channel].items():
            np.testing.assert_array_equal(array, two[channel][name])
        assert not np.array_equal(one[channel]["means"], three[channel]["means"])


def test_the_sample_is_a_part_of_all_training_trajectories(videos, tmp_path):
    made = encoder(SMALL_FISHER, tmp_path)
    sample, num = made._drawn(videos[:8])
    rows = np.concatenate([rows_of(source, tmp_path) for source in videos[:8]])
    assert (len(sample), num) == (600, len(rows)) == (600, 8 * 16 * 30)
    known = {row.tobytes() for row in rows}
    assert len({row.tobytes() for row in sample} & known) == 600  # each once
    whole = TrajectoryEncoder(FisherVectors(), made.stores, cache=tmp_path)
    np.testing.assert_array_equal(whole._drawn(videos[:8])[0], rows)  # all, where they are few


@pytest.mark.parametrize(
    ("kind", "size", "note"),
    [
        (FisherVectors(), 14, "14 Gaussians a channel, not 256: its training videos have 1440 "
                              "trajectories, and 100 make one"),
        (Words(), 72, "72 words a channel, not 5,000: its training videos have 1440 "
                      "trajectories, and 20 make one"),
        (FisherVectors(each=2000), 0, "no Gaussian a channel, not 256: its training videos have "
                                      "1440 trajectories, and 2000 make one"),
    ],
)  # fmt: skip
def test_few_trajectories_make_a_smaller_codebook(videos, tmp_path, kind, size, note):
    made = encoder(kind, tmp_path).fit(videos[:3])
    assert made.size_ == size
    assert made.notes() == [f"the codebooks have {note}"]
    vectors = made.transform(videos[:2])
    assert vectors.shape == (2, made.num_dimensions_)
    assert bool(vectors.any()) == bool(size)
    assert encoder(SMALL_WORDS, tmp_path).fit(videos[:3]).notes() == []


def test_a_video_that_cannot_be_read_is_named(videos, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    bad = as_source(tmp_path / "bad.mp4")
    with pytest.raises(VideoError, match="bad.mp4: "):
        encoder(SMALL_WORDS, tmp_path / "cache").fit([*videos[:3], bad])
    with pytest.raises(ValueError, match="`cache` must be a folder"):
        encoder(SMALL_WORDS, None).fit(videos[:3])


# --- rows -----------------------------------------------------------------------------------------


@pytest.fixture
def small_rows(monkeypatch):
    monkeypatch.setattr(trajectories, "WORDS", SMALL_WORDS)
    monkeypatch.setattr(trajectories, "FISHER", SMALL_FISHER)
    monkeypatch.setattr(trajectories, "STACKED", SMALL_STACKED)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("nets", [1, 2])
def test_c3d_stands_beside_trajectories(videos, tmp_path, small_rows, nets):
    """Each side of length 1, however many nets there are."""
    weights = (NET, random_weights(NET.network, seed=3, name="other"))[:nets]
    options = Options(weights=weights, cost=1.0, cache=tmp_path)
    labels = np.arange(8) % 2
    joined = METHODS["c3d-nets+idt-bow"](options).fit(videos[:8], labels)
    alone = METHODS["idt-bow"](options).fit(videos[:8], labels)
    net = METHODS["c3d-nets"](options).describe(videos[:8])
    vectors, _ = joined._vectors(videos[:8])
    np.testing.assert_allclose(vectors[:, : 512 * nets], unit(net), atol=1e-6)
    np.testing.assert_allclose(
        vectors[:, 512 * nets :], unit(alone._vectors(videos[:8])[0]), atol=1e-6
    )
    assert joined.num_dimensions_ == 512 * nets + 60
    titles = {1: "c3d-mini, small (random)", 2: "2 nets (small, other; random)"}
    assert joined.title == f"{titles[nets]} + iDT + bag of words + linear SVM"


def test_rows_stand_in_the_comparison_and_say_what_they_are(videos, tmp_path, small_rows):
    rows = ("chance", "idt-bow", "idt-fisher", "mifs", "c3d+idt-fisher")
    root = videos[0].path.parent.parent
    result = compare(
        root, methods=rows, weights=[NET], folds=2, cache=tmp_path / "cache", pictures=True
    )
    made = {row.name: row for row in result.rows}
    for name in rows[1:]:
        assert made[name].points is None
        assert made[name].frames_per_second is None
        assert made[name].accuracy > made["chance"].accuracy
    assert made["idt-fisher"].num_dimensions == 3 * 2 * 213
    assert made["c3d+idt-fisher"].num_dimensions == 3 * 2 * 213 + 512
    text = as_markdown(result)
    for kind in ("training", "test"):  # the black one is trained on in one fold and tested in one
        zeros = rf"1 of its [67] {kind} videos has no trajectory: zeros stand for it\."
        title = r"^- iDT \+ bag of words \+ linear SVM \(fold [12]\); .*: "
        assert len(re.findall(title + zeros, text, re.MULTILINE)) == 1
    reused = "C is cross-validated on codebooks of all training videos."
    (line,) = [line for line in text.splitlines() if reused in line]
    assert line.count("iDT + Fisher vectors + linear SVM") == 2  # of two rows
    numbers = {row.name: re.search(rf"^\| {re.escape(row.title)} \[(\d)\] ", text, re.MULTILINE)
               for row in result.rows if row.stands_in}  # fmt: skip
    assert {name: found[1] for name, found in numbers.items()} == {
        "idt-bow": "1", "idt-fisher": "2", "mifs": "1", "c3d+idt-fisher": "2",
    }  # fmt: skip
    assert "- [1] SIFT for SURF in the camera's motion.\n- [2] SIFT for SURF" in text
    kept = json.loads(json.dumps(as_mapping(result)))["rows"][1]["splits"][0]["notes"]
    assert reused.removesuffix(".") in kept
    page.write(result, tmp_path / "page.html", cache=tmp_path / "cache")
    assert reused in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_many_dimensions_are_said(videos, tmp_path, small_rows, monkeypatch):
    monkeypatch.setattr("kinema.methods.svm.MANY_DIMENSIONS", 100)
    options = Options(weights=(NET,), cost=1.0, cache=tmp_path)
    made = METHODS["idt-fisher"](options).fit(videos[:8], np.arange(8) % 3)
    lines = ["the SVM is LIBSVM's, on a precomputed linear kernel (hinge loss)"]
    assert made.notes(videos[:2]) == lines
    assert METHODS["idt-bow"](options).fit(videos[:8], np.arange(8) % 3).notes(videos[:2]) == []


def test_rows_without_a_map_are_refused_where_a_map_is_asked_for(videos, tmp_path):
    from kinema.evaluation.embedding import embed

    with pytest.raises(ValueError, match="the method idt-bow has no features"):
        embed(videos[0].path.parent.parent, out=tmp_path, methods=["idt-bow"], weights=[NET])
