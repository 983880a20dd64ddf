"""The pages of what was found: what stands on them against what was put in."""

from __future__ import annotations

import base64
import dataclasses
import os
import re
import shutil
from dataclasses import dataclass, field
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from kinema.skipped import Skipped
from kinema.video.sources import Source
from kinema.video.steps import walk
from kinema.video.synthetic import write_video
from kinema.views import strips
from kinema.views.finding import classify_page, duplicates_page, search_page
from kinema.views.finding_html import Names, place, span, visible
from kinema.words import clock

VOID = {"meta", "br", "img", "input"}


@dataclass
class Element:
    """An element of a page; `children` are elements and texts."""

    tag: str
    attributes: dict[str, str]
    children: list[Any] = field(default_factory=list)

    def all(self, *, tag=None, kind=None, id=None):
        """Those within it, in order."""
        found = []
        for child in self.children:
            if isinstance(child, Element):
                kinds = child.attributes.get("class", "").split()
                if (
                    (tag is None or child.tag == tag)
                    and (kind is None or kind in kinds)
                    and (id is None or child.attributes.get("id") == id)
                ):
                    found.append(child)
                found += child.all(tag=tag, kind=kind, id=id)
        return found

    def one(self, **wanted):
        (found,) = self.all(**wanted)
        return found

    @property
    def text(self):
        whole = "".join(c.text if isinstance(c, Element) else c for c in self.children)
        return " ".join(whole.split())


class Tree(HTMLParser):
    """Checks that elements end in the order in which they begin, too."""

    def __init__(self, text):
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]
        self.feed(text)
        self.close()
        assert self.open == [self.root]

    def handle_starttag(self, tag, attrs):
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open.pop().tag == tag

    def handle_data(self, data):
        self.open[-1].children.append(data)


def read(path):
    return Tree(path.read_text(encoding="utf-8")).root


def webp(page, strip):
    """The picture of a strip on a page, RGB."""
    (name,) = re.findall(r"\bs\d+\b", strip.attributes["class"])
    style = page.one(tag="style").text
    (data,) = re.findall(rf"\.{name}\{{background-image:url\(data:image/webp;base64,(.*?)\)", style)
    return cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), 1)[:, :, ::-1]


def shades(picture):
    """The mean of each of the six pictures of a strip."""
    width = picture.shape[1] // 6
    return [picture[5:-5, i * width + 5 : (i + 1) * width - 5].mean() for i in range(6)]


def write_shades(path, levels, fps=10):
    write_video(path, [np.full((48, 64, 3), level, np.uint8) for level in levels], fps=fps)


def sources_of(root, *names):
    return {str(root / name): Source(root / name, name) for name in names}


def hit(path, start, stop, similarity=0.5, *, copy=False, peak=None):
    return SimpleNamespace(
        path=str(path), start_seconds=start, stop_seconds=stop, similarity=similarity, cosine=0.75,
        copy=copy, peak_seconds=peak, start_frame=0, stop_frame=16,
    )  # fmt: skip


def hits(sources, rows, query, **more):
    given = {
        "skipped": [],
        "notes": [],
        "query": str(query),
        "title_of_weights": "small, 3 classes",
    }
    return SimpleNamespace(rows=rows, sources=sources, query_source=query, **{**given, **more})


def pair(first, second, kind="copy", times=(0.0, 4.0, 0.0, 4.0), *, group=0, mirrored=False):
    return SimpleNamespace(
        group=group, first=str(first), second=str(second), score=0.875, kind=kind,
        first_start_seconds=times[0], first_stop_seconds=times[1],
        second_start_seconds=times[2], second_stop_seconds=times[3], mirrored=mirrored,
    )  # fmt: skip


def duplicates(sources, rows, groups, scenes=(), **more):
    given = {"skipped": [], "notes": []}
    return SimpleNamespace(
        rows=rows, groups=groups, scenes=scenes, sources=sources, **{**given, **more}
    )


def assigned(path, label, best, score, kind="probability"):
    return SimpleNamespace(
        path=str(path), label=label, best_class=best, score=score, score_kind=kind,
        none_of_these=not label, num_clips=3,
    )  # fmt: skip


def segment(path, start, stop, label, score=0.5):
    return SimpleNamespace(
        path=str(path), start_seconds=start, stop_seconds=stop, label=label, score=score
    )


def classified(sources, rows, classes, scores, segments=(), suggestions=(), **more):
    given = {"skipped": [], "notes": [], "accuracy": None}
    return SimpleNamespace(
        rows=rows, classes=classes, scores=np.array(scores), segments=segments, sources=sources,
        suggestions=suggestions, **{**given, **more},
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three videos of four seconds that grow brighter by 5 a frame, and one grey one."""
    root = tmp_path_factory.mktemp("finding") / "my & videos"
    for name in ("a/one.mp4", "a/two.mp4", "b/three.mp4"):
        write_shades(root / name, [20 + 5 * index for index in range(40)])
    write_shades(root / "b" / "grey.mp4", [128] * 40)
    return root


@pytest.fixture
def videos(folder):
    return sources_of(folder, "a/one.mp4", "a/two.mp4", "b/three.mp4", "b/grey.mp4")


# --- words ----------------------------------------------------------------------------------------


def test_times_by_hand():
    written = [clock(time) for time in (0, 7.25, 59.96, 600, 3599.94, 3600, 7384.5, -0.5)]
    assert written == ["0:00.0", "0:07.2", "1:00.0", "10:00.0", "59:59.9", "1:00:00.0",
                       "2:03:04.5", "-0:00.5"]  # fmt: skip
    assert span(1, 2.5) == "0:01.0 - 0:02.5"
    assert span(None, 2.5) == span(1.0, float("nan")) == ""


def test_places_by_hand():
    # From 10 to 18: 12 is a quarter of it, 15 is 62.5 %; what lies outside is cut off.
    assert place(12, 15, 10, 18) == "left:25%;width:37.5%"
    assert place(8, 30, 10, 18) == "left:0%;width:100%"
    assert place(17, 30, 10, 18) == "left:87.5%;width:12.5%"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a <b> & \"c\" 'd'", "a &lt;b&gt; &amp; &quot;c&quot; &#x27;d&#x27;"),
        ("two\nlines\t", r"two\nlines\t"),
        ("\udcff.mp4", r"\udcff.mp4"),
        ("evil\u202e4pm.exe", r"evil\u202e4pm.exe"),
        ("שלום é 影片 👩\u200d🚀", "שלום é 影片 👩\u200d🚀"),
    ],
)
def test_what_cannot_be_seen_is_written_out(text, shown):
    assert visible(text) == shown


def test_names_stand_below_the_common_folder():
    names = Names({p: Source(p, "x") for p in ("/home/me/v/a/1.mp4", "/home/me/v/b/c/2.mp4")})
    assert names.of("/home/me/v/b/c/2.mp4") == "b/c/2.mp4"
    assert names.of("/home/me/other/3.mp4") == "3.mp4"
    assert names.text("/home/me/v/a/1.mp4: 2 of 3/4") == "a/1.mp4: 2 of 3/4"
    assert names.text("in /home/me/v: no video, see /etc/secret dir/x.txt") == (
        "in v: no video, see x.txt"
    )
    assert names.text("see https://host/some/page") == "see https://host/some/page"
    far = Names({p: Source(p, "x") for p in ("/home/me/1.mp4", "/mnt/disk/films/2.mp4")})
    assert [far.of(p) for p in ("/home/me/1.mp4", "/mnt/disk/films/2.mp4")] == [
        "me/1.mp4", "films/2.mp4"]  # fmt: skip


# --- strips ---------------------------------------------------------------------------------------


def made(source, cache=None):
    ((_, (one,)),) = walk([source], [strips.moments(cache, 48)])
    return one


def test_the_strip_of_a_part_shows_that_part(folder):
    """Frames 10 to 21 at 10 a second: pairs of them, from 70 to 125 in steps of 5."""
    part = Source(folder / "a/one.mp4", "one", start_seconds=1.0, stop_seconds=2.2)
    strip = made(part).value
    times = strip.start_seconds, strip.stop_seconds
    assert times == pytest.approx((1.0, 2.2))
    assert (strip.video_start_seconds, strip.video_stop_seconds) == pytest.approx((0, 4))
    found = shades(cv2.imdecode(np.frombuffer(strip.file, np.uint8), 1))
    # Place p of 12 frames is frame round(11 p): 1 3 5 6 8 10.
    np.testing.assert_allclose(found, [75, 85, 95, 100, 110, 120], atol=2.5)


def test_a_short_whole_video_has_the_strip_of_the_report(folder):
    source = Source(folder / "a/one.mp4", "one")
    strip = made(source).value
    assert strip.file == strips.filmstrip(source.path, 48)
    assert (strip.start_seconds, strip.stop_seconds) == pytest.approx((0, 4))


def test_of_a_long_video_six_frames_are_decoded(tmp_path, monkeypatch):
    """120 frames in 120 seconds: the pictures are those at 10, 30, ..., 110 seconds."""
    write_shades(tmp_path / "v.mp4", [2 * index for index in range(120)], fps=1)
    walked = []
    fitted = strips._fitted
    monkeypatch.setattr(strips, "_fitted", lambda *a: walked.append(1) or fitted(*a))
    strip = made(Source(tmp_path / "v.mp4", "v")).value
    assert len(walked) == 6
    assert (strip.start_seconds, strip.stop_seconds) == (0, 120)
    found = shades(cv2.imdecode(np.frombuffer(strip.file, np.uint8), 1))
    np.testing.assert_allclose(found, [20, 60, 100, 140, 180, 220], atol=2)
    part = Source(tmp_path / "v.mp4", "v", start_seconds=30.0, stop_seconds=102.0)
    found = shades(cv2.imdecode(np.frombuffer(made(part).value.file, np.uint8), 1))
    np.testing.assert_allclose(found, [72, 96, 120, 144, 168, 192], atol=2)
    assert len(walked) == 12


def test_where_a_header_promises_too_much_a_long_video_is_walked_through(folder, monkeypatch):
    """Four seconds that say that they are 90: no frame is shown at 52.5 s."""
    init = strips.VideoReader.__init__

    def promising(reader, *args, **options):
        init(reader, *args, **options)
        reader.info = dataclasses.replace(reader.info, duration_seconds=90.0)

    monkeypatch.setattr(strips.VideoReader, "__init__", promising)
    source = Source(folder / "a/one.mp4", "one")
    strip = made(source).value
    assert strip.file == strips.filmstrip(source.path, 48)
    assert strip.stop_seconds == pytest.approx(4)


def test_kept_strips_are_found_again(folder, tmp_path):
    part = Source(folder / "a/one.mp4", "one", start_seconds=1.0, stop_seconds=2.0)
    new, found = made(part, tmp_path), made(part, tmp_path)
    assert (new.found, found.found) == (False, True)
    assert vars(found.value) == vars(new.value)
    kept = next(tmp_path.iterdir())
    kept.write_bytes(kept.read_bytes()[:50])
    assert made(part, tmp_path).value.file == new.value.file


# --- search ---------------------------------------------------------------------------------------


def test_a_search_shows_the_query_and_its_hits_in_order(folder, videos, tmp_path):
    one, two, three, grey = videos
    rows = [
        hit(one, 1.0, 2.0, 1.0, copy=True, peak=1.5),
        hit(three, 0.0, 4.0, 0.9996),
        hit(grey, 2.5, 3.5, 0.25),
        hit(two, 1.0, 2.0, float("nan")),
    ]
    query = Source(folder / "a/one.mp4", "a/one.mp4", start_seconds=1.0, stop_seconds=2.0)
    answer = hits(videos, rows, query, notes=[f"{folder}: a note."])
    search_page(answer, tmp_path / "page.html")
    page = read(tmp_path / "page.html")
    assert page.one(tag="title").text == "Like one.mp4"
    assert "This page contains pictures of your videos" in page.one(kind="private").text
    assert page.one(kind="notes").text == "my & videos: a note."
    assert "4 hits in 4 videos" in page.one(tag="header").text
    assert "small, 3 classes" in page.one(tag="header").text
    shown = page.one(id="query")
    assert shown.text == "a/one.mp40:01.0 - 0:02.0"
    cards = page.one(id="hits").all(tag="li")
    names = [card.one(kind="name").text for card in cards]
    assert names == ["a/one.mp4", "b/three.mp4", "b/grey.mp4", "a/two.mp4"]
    assert [card.one(kind="times").text for card in cards] == [
        "0:01.0 - 0:02.0", "0:00.0 - 0:04.0", "0:02.5 - 0:03.5", "0:01.0 - 0:02.0"]  # fmt: skip
    assert [len(card.all(kind="copy")) for card in cards] == [1, 0, 0, 0]
    alike = ["all pairs", "99.960 % of the pairs", "25.0 % of the pairs"]
    for card, words in zip(cards, alike, strict=False):
        assert f"more alike than {words} of clips here" in card.text
    assert "too few clips" in cards[3].text
    bars = [b.all(tag="b")[0].attributes["style"] for b in page.all(kind="bar")]
    assert bars == ["width:100%", "width:99.96%", "width:25%"]
    # Each strip once in the style: the query is the first hit.
    strip_kinds = [s.attributes["class"] for s in page.all(kind="strip")]
    assert strip_kinds == [f"strip s{i}" for i in (0, 0, 1, 2, 3)]
    assert page.one(tag="style").text.count("data:image/webp") == 4
    assert webp(page, cards[2].one(kind="strip")).mean() == pytest.approx(128, abs=3)
    # Frames 10 to 19, of those 1 2 4 5 7 8 by their places.
    found = shades(webp(page, cards[0].one(kind="strip")))
    np.testing.assert_allclose(found, [75, 80, 90, 95, 105, 110], atol=3)


def test_a_line_shows_where_in_its_video_a_moment_lies(folder, videos, tmp_path):
    one, two, *_ = videos
    rows = [hit(one, 1.0, 2.5, peak=2.0), hit(two, None, None)]
    search_page(hits(videos, rows, videos[one]), tmp_path / "page.html")
    cards = read(tmp_path / "page.html").one(id="hits").all(tag="li")
    line = cards[0].one(kind="where")  # of four seconds
    assert line.one(tag="b").attributes["style"] == "left:25%;width:37.5%"
    assert line.one(tag="u").attributes["style"] == "left:50%"
    assert line.attributes["title"] == "0:01.0 - 0:02.5 of 0:04.0"
    assert not cards[1].all(kind="where")
    assert not cards[1].all(kind="times")


def test_a_picture_can_be_the_query(folder, videos, tmp_path):
    picture = np.zeros((60, 100, 3), np.uint8)
    picture[:, :50] = (0, 0, 200)  # blue, green, red
    cv2.imwrite(str(tmp_path / "query.png"), picture)
    query = Source(tmp_path / "query.png", "query.png")
    search_page(hits(videos, [hit(next(iter(videos)), 0.0, 1.0)], query), tmp_path / "page.html")
    page = read(tmp_path / "page.html")
    assert page.one(id="query").text == "query.pnga picture"
    shown = webp(page, page.one(id="query").one(kind="strip"))
    assert shown.shape == (96, 160, 3)
    np.testing.assert_allclose(shown[10:-10, 10:70].mean(axis=(0, 1)), (200, 0, 0), atol=6)
    np.testing.assert_allclose(shown[10:-10, 90:150].mean(axis=(0, 1)), (0, 0, 0), atol=6)
    (tmp_path / "query.png").write_bytes(b"no picture")
    search_page(hits(videos, [], query), tmp_path / "page.html")
    page = read(tmp_path / "page.html")
    assert page.one(id="query").one(kind="none").text == "it cannot be read as a picture."
    assert page.one(kind="empty").text == "Nothing was found."


def test_folders_of_pictures_have_no_times(tmp_path):
    for number in range(1, 13):
        path = tmp_path / "v" / "frames" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((48, 64, 3), 10 * number, np.uint8))
    write_shades(tmp_path / "v" / "grey.mp4", [128] * 10)
    videos = sources_of(tmp_path / "v", "frames", "grey.mp4")
    frames = str(tmp_path / "v" / "frames")
    rows = [hit(frames, None, None), hit(frames, float("nan"), float("nan"))]
    search_page(hits(videos, rows, videos[frames]), tmp_path / "page.html")
    page = read(tmp_path / "page.html")
    assert not page.all(kind="times")
    assert not page.all(kind="where")
    assert [s.attributes["class"] for s in page.all(kind="strip")] == ["strip s0"] * 3
    found = shades(webp(page, page.all(kind="strip")[0]))
    np.testing.assert_allclose(found, [20, 40, 60, 70, 90, 110], atol=3)
    rows = [assigned(frames, "a", "a", 0.9)]
    answer = classified(videos, rows, ["a"], [[0.9]], [segment(frames, None, None, "a")])
    classify_page(answer, tmp_path / "page.html")
    assert not read(tmp_path / "page.html").all(kind="line")


# --- classes --------------------------------------------------------------------------------------


@pytest.fixture
def four(videos):
    one, two, three, grey = videos
    rows = [
        assigned(one, "walk_fast", "walk_fast", 0.9),
        assigned(two, "run", "run", 0.5),
        assigned(three, "", "run", 0.75),
        assigned(grey, "walk_fast", "walk_fast", 0.6),
    ]
    segments = [
        segment(one, 0.0, 1.0, "walk_fast", 0.8),
        segment(one, 1.0, 2.5, "run", 0.6),
        segment(one, 2.5, 4.2, ""),
        segment(grey, 1.0, 2.0, "jump"),
    ]
    scores = [[0.9, 0.1, 0.0], [0.45, 0.5, 0.05], [0.0, 0.75, 0.25], [0.6, 0.3, 0.1]]
    suggestions = [
        SimpleNamespace(path=two, start_seconds=1.0, stop_seconds=2.0, best_class="run", score=0.5,
                        why="Its best two classes are as likely.")
    ]  # fmt: skip
    return classified(
        videos, rows, ["walk_fast", "run", "jump"], scores, segments, suggestions,
        accuracy="91.0 [80.0, 95.0]",
    )  # fmt: skip


def test_classes_are_counted_and_each_video_has_its_card(four, tmp_path):
    classify_page(four, tmp_path / "page.html")
    page = read(tmp_path / "page.html")
    assert page.one(tag="title").text == "4 videos by class"
    assert (
        "Accuracy on labelled videos that were held out: 91.0 [80.0, 95.0] %."
        in page.one(tag="header").text
    )
    chips = [chip.text for chip in page.all(kind="chip")]
    assert chips == ["walk fast2", "run1", "jump0", "none of these1"]
    stack = [b.attributes["style"].split(";")[0] for b in page.one(kind="stack").all(tag="b")]
    assert stack == ["width:50%", "width:25%", "width:25%"]
    cards = page.one(id="videos").all(tag="li")
    assert [card.one(kind="name").text for card in cards] == [
        "a/one.mp4", "a/two.mp4", "b/three.mp4", "b/grey.mp4"]  # fmt: skip
    assert [card.all(kind="row")[0].text for card in cards] == [
        "walk fast90 %", "run50 %", "none of theseclosest: run75 %", "walk fast60 %"]  # fmt: skip
    assert [card.attributes["data-c"] for card in cards] == ["0", "1", "-1", "0"]
    # Ahead of the next class by 0.8, 0.05, 0.5, 0.3.
    assert [card.attributes["data-u"] for card in cards] == ["3", "0", "2", "1"]
    colour = [card.one(kind="dot").attributes["style"] for card in cards]
    assert colour == ["--c:#0072b2", "--c:#d55e00", "", "--c:#0072b2"]
    (suggested,) = page.one(id="suggestions").all(tag="li")
    assert suggested.one(kind="times").text == "0:01.0 - 0:02.0"
    assert "Its best two classes are as likely. Closest: run." in suggested.text


def test_segments_lie_on_the_time_axis_of_the_strip(four, tmp_path):
    """Of four seconds: 1 s is 25 %, 1.5 s is 37.5 %; what goes on after the end is cut off."""
    classify_page(four, tmp_path / "page.html")
    cards = read(tmp_path / "page.html").one(id="videos").all(tag="li")
    lines = [card.all(kind="line") for card in cards]
    assert [len(line) for line in lines] == [1, 0, 0, 1]
    parts = lines[0][0].all(tag="b")
    assert [part.attributes["style"] for part in parts] == [
        "left:0%;width:25%;--c:#0072b2",
        "left:25%;width:37.5%;--c:#d55e00",
        "left:62.5%;width:37.5%;",
    ]
    assert [part.text for part in parts] == ["walk fast", "run", "none of these"]
    assert parts[1].attributes["title"] == "run, 0:01.0 - 0:02.5, 60 %"
    assert parts[2].attributes["class"] == "no"
    (part,) = lines[3][0].all(tag="b")
    assert part.attributes["style"] == "left:25%;width:25%;--c:#009e73"


def test_distances_are_no_shares(four, tmp_path):
    for row in four.rows:
        row.score_kind = "distance"
    four.rows[0].score = -0.25
    classify_page(four, tmp_path / "page.html")
    cards = read(tmp_path / "page.html").one(id="videos").all(tag="li")
    assert cards[0].all(kind="row")[0].text == "walk fastdistance -0.25"
    assert "distance 0.60" in cards[0].all(kind="line")[0].all(tag="b")[1].attributes["title"]


# --- duplicates -----------------------------------------------------------------------------------


def test_pairs_stand_in_their_groups(folder, videos, tmp_path):
    one, two, three, grey = videos
    gone = str(folder / "gone.mp4")
    videos = {**videos, **sources_of(folder, "gone.mp4")}
    rows = [
        pair(one, two, "copy", group=7),
        pair(one, three, "part", (1.0, 2.0, 0.0, 1.0), group=7, mirrored=True),
        pair(grey, gone, "overlap", (None, None, 0.0, 1.0), group=2),
    ]
    scenes = [SimpleNamespace(group=0, first=one, second=grey, similarity=0.625)]
    answer = duplicates(videos, rows, ((one, two, three), (grey, gone)), scenes)
    duplicates_page(answer, tmp_path / "page.html")
    page = read(tmp_path / "page.html")
    assert "Nothing was deleted" in page.one(tag="header").text
    assert "3 pairs among 5 videos, of 5 videos in all" in page.one(tag="header").text
    groups = [card for card in page.one(id="groups").children if isinstance(card, Element)]
    assert [card.one(tag="h3").text for card in groups] == [
        "Group 1: 3 videos",
        "Group 2: 2 videos",
    ]
    assert [name.text for name in groups[0].one(kind="members").all(kind="name")] == [
        "a/one.mp4", "a/two.mp4", "b/three.mp4"]  # fmt: skip
    pairs = page.all(kind="pair")
    assert [p.all(kind="badge")[0].text for p in pairs] == ["copy", "part", "overlap"]
    assert "score 0.88" in pairs[0].text
    assert pairs[2].one(kind="none").text == "no such file."
    assert [[t.text for t in p.all(kind="times")] for p in pairs] == [
        ["0:00.0 - 0:04.0"] * 2, ["0:01.0 - 0:02.0", "0:00.0 - 0:01.0"], ["0:00.0 - 0:01.0"]
    ]  # fmt: skip
    first, second = pairs[1].all(kind="strip")
    np.testing.assert_allclose(shades(webp(page, first)), [75, 80, 90, 95, 105, 110], atol=3)
    np.testing.assert_allclose(shades(webp(page, second)), [25, 30, 40, 45, 55, 60], atol=3)
    assert [len(strip.all(tag="i")) for strip in page.all(kind="strip")][:4] == [0, 0, 0, 6]
    assert [len(p.all(kind="mirrored")) for p in pairs] == [0, 1, 0]
    assert "left and right swapped" in pairs[1].text
    scene = page.one(id="scenes")
    assert [name.text for name in scene.all(kind="name")] == ["a/one.mp4", "b/grey.mp4"]
    assert "similarity 0.62" in scene.text
    assert "They are no duplicates" in page.one(tag="main").text


def test_without_duplicates_the_page_says_so(videos, tmp_path):
    duplicates_page(duplicates(videos, [], ()), tmp_path / "page.html")
    page = read(tmp_path / "page.html")
    assert page.one(kind="empty").text == "No footage is there twice."
    assert not page.all(kind="strip")


def test_many_pairs_of_a_group_are_folded_away_and_share_strips(videos, tmp_path):
    one, two, *_ = videos
    rows = [pair(one, two, group=0) for _ in range(30)]
    duplicates_page(duplicates(videos, rows, ((one, two),)), tmp_path / "page.html")
    page = read(tmp_path / "page.html")
    assert page.one(tag="summary").text == "18 more pairs"
    assert len(page.all(kind="strip")) == 60
    assert page.one(tag="style").text.count("data:image/webp") == 2


# --- all three ------------------------------------------------------------------------------------

EVIL = [
    "<script>alert(1)</script>.mp4",
    "\"quoted' & </style></script>.mp4",
    "two\nlines.mp4",
    os.fsdecode(b"no \xff utf-8.mp4"),
    "\u202e4pm.שלום.mp4",
    "{{strips}} --></title>.mp4",
]


def write_all(root, names, out, cache=None):
    """The three pages of videos, with texts that name their paths."""
    videos = sources_of(root, *names)
    paths = [*videos]
    told = {
        "skipped": [Skipped(f"{root / 'broken.mp4'}#t=1,2", f"unexpected: {root / 'x' / 'y.mp4'}")],
        "notes": [f"{root}: 3 files were passed over, see {root / names[0]}."],
    }
    query = Source(root / names[0], names[0], start_seconds=0.5, stop_seconds=1.5)
    found = hits(videos, [hit(path, 0.0, 1.0, peak=0.5) for path in paths], query, **told)
    found.title_of_weights = f"weights of {root.parent / 'net.safetensors'}"
    classes = ["<i>", "</script>", "none"]
    rows = [assigned(path, classes[i % 3], "none", 0.5) for i, path in enumerate(paths)]
    segments = [segment(path, 0.0, 2.0, classes[i % 3]) for i, path in enumerate(paths)]
    why = f"it lies in {root}/somewhere"
    suggestions = [
        SimpleNamespace(path=path, start_seconds=0.0, stop_seconds=1.0, best_class="<i>",
                        score=0.5, why=why) for path in paths
    ]  # fmt: skip
    scores = np.full((len(paths), 3), 1 / 3)
    sorted_ = classified(
        videos, rows, classes, scores, segments, suggestions, accuracy=f"see {root}/a.csv", **told
    )
    pairs = [
        pair(paths[0], path, mirrored=bool(i % 2), group=i) for i, path in enumerate(paths[1:])
    ]
    groups = tuple((paths[0], path) for path in paths[1:])
    scenes = [SimpleNamespace(group=0, first=paths[0], second=paths[1], similarity=0.5)]
    out.mkdir(exist_ok=True)
    search_page(found, out / "search.html", cache=cache)
    classify_page(sorted_, out / "classify.html", cache=cache)
    duplicates_page(
        duplicates(videos, pairs, groups, scenes, **told), out / "dup.html", cache=cache
    )
    return [out / "search.html", out / "classify.html", out / "dup.html"]


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    root = tmp_path_factory.mktemp("secret_place") / "v"
    for name in EVIL:
        write_shades(root / name, range(0, 200, 10))
    (root / EVIL[0]).write_bytes(b"this is no video")
    return root, write_all(root, EVIL, root.parent / "out")


def test_no_page_tells_where_the_videos_lie(evil):
    root, pages = evil
    for page in pages:
        data = page.read_bytes()
        assert b"secret_place" not in data
        assert os.fsencode(root.parent.parent) not in data
        assert b"3 files were passed over" in data
        assert b"broken.mp4" in data


def test_hostile_names_are_text_on_every_page(evil):
    for path in evil[1]:
        page = read(path)  # which checks that elements end as they should
        assert len(page.all(tag="style")) == len(page.all(tag="title")) == 1
        assert len(page.all(tag="script")) == (path.name == "classify.html")
        shown = {name.text for name in page.all(kind="name")}
        assert shown >= {
            "<script>alert(1)</script>.mp4",
            "\"quoted' & </style></script>.mp4",
            r"two\nlines.mp4",
            r"no \udcff utf-8.mp4",
            r"\u202e4pm.שלום.mp4",
            "{{strips}} --></title>.mp4",
        }
        path.read_bytes().decode("utf-8")


def test_what_cannot_be_read_is_a_grey_box_with_the_reason(evil):
    for path in evil[1]:
        reasons = {box.text for box in read(path).all(kind="none")}
        assert any("not a video" in reason or "cannot be read" in reason for reason in reasons)


def test_a_page_asks_nothing_of_the_network(evil):
    for path in evil[1]:
        text = path.read_text(encoding="utf-8")
        assert "http" not in re.sub(r"http-equiv", "", text)
        assert not re.findall(r"<(?:link|iframe|object|embed|img|base)\b", text)
        assert not re.findall(r"\ssrc=|\shref=|@import|url\((?!data:image/webp;base64,)", text)


def test_the_same_answer_gives_the_same_bytes(folder, tmp_path):
    names = ["a/one.mp4", "b/grey.mp4"]
    first = write_all(folder, names, tmp_path / "1", tmp_path / "cache")
    again = write_all(folder, names, tmp_path / "2", tmp_path / "cache")
    without = write_all(folder, names, tmp_path / "3")
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {"strips"}
    for one, two, three in zip(first, again, without, strict=True):
        assert one.read_bytes() == two.read_bytes() == three.read_bytes()


# --- in a browser ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
    if chromium is None:
        pytest.skip("there is no Chromium (apt install chromium)")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        yield opened
        opened.close()


@pytest.fixture
def opened(browser):
    """A function: a page in a new window, without a network, watched."""
    contexts, problems = [], []

    def open_page(path, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_offline(True)
        tab = context.new_page()
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.on("console", lambda message: problems.append(message.text))
        tab.on("dialog", lambda dialog: problems.append(dialog.message))
        tab.on("request", lambda request: problems.append(request.url)
               if not request.url.startswith(("file:", "data:")) else None)  # fmt: skip
        tab.goto(path.as_uri())
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def test_cards_are_filtered_and_sorted(opened, four, tmp_path):
    classify_page(four, tmp_path / "page.html")
    tab = opened(tmp_path / "page.html")
    shown = "cards => cards.filter(c => !c.hidden).map(c => c.querySelector('.name').textContent)"

    def names():
        return tab.locator("#videos > li").evaluate_all(shown)

    tab.select_option("#class", label="walk fast")
    assert names() == ["a/one.mp4", "b/grey.mp4"]
    assert tab.locator("#count").inner_text() == "2 of 4 videos"
    tab.select_option("#class", label="none of these")
    assert names() == ["b/three.mp4"]
    tab.locator(".chip").nth(1).click()
    assert names() == ["a/two.mp4"]
    assert tab.locator(".chip").nth(1).get_attribute("aria-pressed") == "true"
    tab.locator(".chip").nth(1).press("Enter")
    tab.select_option("#order", "uncertain")
    assert names() == ["a/two.mp4", "b/grey.mp4", "b/three.mp4", "a/one.mp4"]
    tab.select_option("#order", "given")
    assert names() == ["a/one.mp4", "a/two.mp4", "b/three.mp4", "b/grey.mp4"]


def test_a_page_can_be_read_without_scripts_and_fits_a_phone(opened, evil):
    for path in evil[1]:
        tab = opened(path, java_script_enabled=False, viewport={"width": 360, "height": 740})
        assert tab.locator("#filters").count() == 0 or tab.locator("#filters").is_hidden()
        assert tab.locator(".cards li").first.is_visible()
        tab = opened(path, viewport={"width": 360, "height": 740})
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360


def test_each_picture_of_a_mirrored_strip_is_turned_around_by_itself(opened, tmp_path):
    """The right half is white in one and black in the other; the left one grows brighter."""
    for name, right in (("one.mp4", 255), ("two.mp4", 0)):
        frames = np.zeros((40, 48, 64, 3), np.uint8)
        frames[:, :, :32] = np.arange(20, 220, 5)[:, None, None, None]
        frames[:, :, 32:] = right
        write_video(tmp_path / name, frames if right else frames[:, :, ::-1], fps=10)
    videos = sources_of(tmp_path, "one.mp4", "two.mp4")
    answer = duplicates(videos, [pair(*videos, mirrored=True)], (tuple(videos),))
    duplicates_page(answer, tmp_path / "page.html")
    tab = opened(tmp_path / "page.html")
    rights = []
    for strip in tab.locator(".strip").all():
        shown = cv2.imdecode(np.frombuffer(strip.screenshot(), np.uint8), cv2.IMREAD_COLOR)
        width = shown.shape[1] / 6
        halves = [
            [shown[10:-10, round((i + s) * width) + 8 : round((i + s + 0.5) * width) - 8].mean()
             for i in range(6)] for s in (0.0, 0.5)
        ]  # fmt: skip
        # Frames 3 10 16 23 29 36 of 40.
        np.testing.assert_allclose(halves[0], [35, 70, 100, 135, 165, 200], atol=6)
        rights.append(halves[1])
    np.testing.assert_allclose(rights, [[255] * 6, [0] * 6], atol=8)
