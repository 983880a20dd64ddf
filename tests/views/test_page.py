"""The HTML report: what it is filled with, and what it does in a browser."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil

import cv2
import numpy as np
import pytest

from kinema import network as networks
from kinema.cli.app import main
from kinema.datasets.folds import SAME_SCENE
from kinema.evaluation.compare import compare
from kinema.evaluation.result import Timeline
from kinema.evaluation.runtime import Cell, Runtime
from kinema.features.estimators import C3DFeatures
from kinema.methods.svm import FeatureSVM
from kinema.video.sources import as_source
from kinema.video.synthetic import write_video
from kinema.views import page
from kinema.views.strips import filmstrip
from kinema.weights.file import random_weights

from small_videos import draw

NET = random_weights(networks.c3d_mini(3, input_shape=(3, 16, 16, 16)), name="small")
EVIL = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eight blue videos, eight red ones, eight that are blue or turn from blue to red."""
    root = tmp_path_factory.mktemp("page") / "colours & more"
    for place, label in enumerate(("blue", "dark_red", "mixed")):
        for group in range(1, 5):
            for number in (1, 2):
                seed, half = 100 * place + 10 * group + number, 12 + 8 * (group % 2)
                first = draw("red" if label == "dark_red" else "blue", seed, half)
                stays_blue = label == "blue" or (label == "mixed" and number == 1)
                last = draw("blue" if stays_blue else "red", 997 - seed, half)
                name = f"v_{label}_g{group:02d}_c{number:02d}.mp4"
                write_video(root / label / name, np.concatenate([first, last]))
    return root


@pytest.fixture(scope="module")
def result(folder, tmp_path_factory):
    return compare(
        folder,
        methods=["c3d", "one-frame", "chance"],
        weights=[NET],
        folds=4,
        cost=1.0,
        cache=tmp_path_factory.mktemp("cache"),
        timed=False,
        pictures=True,
    )


def test_timelines_are_what_the_method_says_of_single_clips(result):
    """Against the machine fitted again on the fold, clip by clip."""
    row = result.rows[0]
    features = C3DFeatures(NET)
    for outcome in row.outcomes[:2]:
        train = [v for v in range(24) if v not in outcome.test]
        paths = [result.sources[v] for v in train]
        machine = FeatureSVM([features], cost=1.0).fit(paths, result.labels[train])
        for v, line in zip(outcome.test, outcome.timelines, strict=True):
            table = features.table(result.sources[v])
            rows = table.features / np.linalg.norm(table.features, axis=1, keepdims=True)
            np.testing.assert_array_equal(line.predicted, machine.decide(rows).argmax(axis=1))
            np.testing.assert_array_equal(line.start, table.start_seconds)
            np.testing.assert_array_equal(line.stop, table.stop_seconds)
    assert {len(line.start) for o in row.outcomes for line in o.timelines} == {2, 4}
    assert result.rows[2].outcomes[0].timelines == ()  # guessing has no clips
    assert result.rows[0].points.shape == (24, 2)
    assert result.rows[2].points is None


def test_notebooks_show_the_table(result):
    shown = dataclasses.replace(result, dataset=EVIL, notes=(EVIL,))._repr_html_()
    assert "<img" not in shown
    assert "24 videos, 3 classes, 4 splits</p>" in shown
    first, _, chance = result.rows
    title, accuracy = re.escape(first.title), f"{100 * first.accuracy:.1f}"
    low, high = (f"{100 * value:.1f}" for value in (first.interval.low, first.interval.high))
    assert re.search(
        rf"<td>{title}.*?</td><td>{accuracy}</td><td>{low} to {high}</td><td></td>", shown
    )
    assert f"<td>{100 * chance.difference.mean:+.1f}</td>" in shown


def test_segments_by_hand():
    start = np.array([0.0, 0.5, 1.0, 1.5])
    line = Timeline(start, start + 1.0, np.array([2, 2, 0, 1]))
    # Centres 0.5 1.0 1.5 2.0: from class 2 to 0 half way at 1.25, from 0 to 1 at 1.75.
    assert page._segments(line) == ["s", 0.0, 2, 1.25, 0, 1.75, 1, 2.5]
    frames = Timeline(np.array([1, 9]), np.array([17, 25]), np.array([1, 1]))
    assert page._segments(frames) == ["frames", 1.0, 1, 25.0]


def test_a_filmstrip_lies_on_the_time_axis(tmp_path):
    """Six parts of ten frames each: their middles, in order, and cropped to 4:3."""
    frames = [np.full((60, 160, 3), 4 * index, np.uint8) for index in range(60)]
    for frame in frames:
        frame[:, :40] = frame[:, 120:] = 255  # is cropped away
    write_video(tmp_path / "v.avi", frames)
    strip = cv2.imdecode(np.frombuffer(filmstrip(tmp_path / "v.avi", 60), np.uint8), 1)
    assert strip.shape == (60, 480, 3)
    shades = [strip[20:40, 80 * i + 20 : 80 * i + 60].mean() / 4 for i in range(6)]
    np.testing.assert_allclose(shades, [5, 15, 25, 35, 44, 54], atol=1.5)


def test_the_payload_is_the_result(result):
    content = json.loads(json.dumps(page.payload(result, 84)))
    assert content["videos"] == list(result.videos)
    assert content["paper"] == []
    for made, row in zip(content["rows"], result.rows, strict=True):
        assert made["accuracy"] == row.accuracy
        for split, outcome in zip(made["splits"], row.outcomes, strict=True):
            for top, margin, scores, true in zip(
                split["top"], split["margin"], outcome.scores, outcome.true, strict=True
            ):
                assert top[0][0] == scores.argmax()
                assert (margin < 0) == (scores.argmax() != true) or margin == 0
                others = max(s for k, s in enumerate(scores) if k != true)
                assert margin == pytest.approx(scores[true] - others, abs=1e-3)
    assert min(content["rows"][0]["points"]) == 0
    assert max(content["rows"][0]["points"]) == page.MAP_SIDE
    assert content["rows"][2]["points"] is None


def test_names_cannot_leave_the_data(result, tmp_path):
    evil = dataclasses.replace(result, dataset=EVIL, classes=(EVIL, "b", "{{strips}}"))
    page.fill(evil, tmp_path / "report.html", [b""] * 24, 84)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<img src=x" not in text
    data = re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.S)
    assert json.loads(data[1])["classes"] == [EVIL, "b", "{{strips}}"]


def test_a_runtime_is_a_section_of_the_page(result, tmp_path):
    cells = (Cell("idt", 1, 100, 10.0), Cell("c3d", 1, 500, 10.0))
    facts = {"seconds": 5, "weights": EVIL, "stride": 16, "num_videos": 3}
    runtime = Runtime(cells, facts, {"cpu": "a processor", "cores": 2})
    page.fill(result, tmp_path / "with.html", [b""] * 24, 84, runtime=runtime)
    page.fill(result, tmp_path / "without.html", [b""] * 24, 84)
    text = (tmp_path / "with.html").read_text(encoding="utf-8")
    assert "<td>iDT (CPU)</td><td>1</td><td>10</td>" in text
    assert EVIL not in text
    assert 'id="runtime"' not in (tmp_path / "without.html").read_text(encoding="utf-8")


def test_a_video_that_is_gone_leaves_its_filmstrip_empty(result, tmp_path):
    gone = dataclasses.replace(
        result, sources=(as_source(tmp_path / "gone.mp4"), *result.sources[1:])
    )
    page.write(gone, tmp_path / "report.html", cache=tmp_path / "cache")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    strips = json.loads(re.search(r'class="strips">(.*?)</script>', text)[1])
    assert strips[0] == ""
    assert all(strips[1:])
    assert len(list((tmp_path / "cache").glob("*.webp"))) == 23
    page.write(gone, tmp_path / "again.html", cache=tmp_path / "cache")
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == text


def test_a_warning_and_what_purity_leaves_out_are_on_the_page(result):
    warning = f"the videos of class blue are one scene (group): {SAME_SCENE}."
    row = dataclasses.replace(result.rows[0], purity_note="1 of 24 videos play no part.")
    told = dataclasses.replace(result, notes=("a note.", warning), rows=(row, *result.rows[1:]))
    content = page.payload(told, 84)
    assert (content["warnings"], content["notes"]) == ([warning], ["a note."])
    assert content["purity_note"] == "1 of 24 videos play no part."


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


@pytest.fixture(scope="module")
def report(result, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    page.write(result, path)
    return path


@pytest.fixture
def opened(browser, report):
    """A function: the report in a new window of some size, without a network, watched."""
    contexts, problems = [], []

    def open_report(path=report, **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        context.set_offline(True)
        tab = context.new_page()
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.on("console", lambda message: problems.append(message.text))
        tab.on("request", lambda request: problems.append(request.url)
               if not request.url.startswith(("file:", "data:")) else None)  # fmt: skip
        tab.goto(path.as_uri())
        tab.wait_for_selector("html[data-ready]", state="attached")
        return tab

    yield open_report
    for context in contexts:
        context.close()
    assert problems == []


def place(tab, video):
    """Where a video's point is in the first map, in the window."""
    canvas = tab.locator(".map canvas + canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    x, y = tab.evaluate(f"project(maps[0], {video})")
    return box["x"] + x, box["y"] + y


def single(tab):
    """The video whose point is farthest from all others."""
    return tab.evaluate("""(() => {
        const at = D.videos.map((_, v) => project(maps[0], v));
        const room = at.map(([x, y], v) =>
          Math.min(...at.map(([a, b], w) => v === w ? 1e9 : Math.hypot(a - x, b - y))));
        return room.indexOf(Math.max(...room));
    })()""")


def test_pointing_at_a_video_shows_it_and_a_click_keeps_it(opened, result):
    tab = opened()
    video = single(tab)
    x, y = place(tab, video)
    tip, detail = tab.locator("#tip"), tab.locator("#detail")
    assert tip.is_hidden()
    tab.mouse.move(x + 3, y - 2)
    assert tip.is_visible()
    label = result.classes[result.labels[video]].replace("_", " ")
    assert result.videos[video] in tip.inner_text()
    assert label in tip.inner_text()
    tab.wait_for_function("document.querySelector('#tip img').naturalWidth > 0")
    # The strip is this video's: its colour, against the frames of the file.
    shown = np.array(
        tab.evaluate("""(() => {
        const image = document.querySelector('#tip img'), canvas = document.createElement('canvas');
        canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
        const pen = canvas.getContext('2d'); pen.drawImage(image, 0, 0);
        const data = pen.getImageData(0, 0, canvas.width, canvas.height).data, sums = [0, 0, 0];
        for (let i = 0; i < data.length; i++) if (i % 4 < 3) sums[i % 4] += data[i];
        return sums.map((sum) => sum / data.length * 4);
    })()""")
    )
    made = filmstrip(result.sources[video], 84)
    true = cv2.imdecode(np.frombuffer(made, np.uint8), 1)[:, :, ::-1].mean(axis=(0, 1))
    np.testing.assert_allclose(shown, true, atol=3)
    tab.mouse.move(5, 5)
    assert tip.is_hidden()
    tab.mouse.click(x, y)
    assert detail.is_visible()
    assert result.videos[video] in detail.inner_text()
    for row in result.rows:
        assert row.title in detail.inner_text()
    tab.keyboard.press("Escape")
    assert detail.is_hidden()


def test_timelines_are_drawn_in_proportion(opened, result):
    tab = opened()
    row = result.rows[0]
    split, place_in_split = next(
        (s, i)
        for s, outcome in enumerate(row.outcomes)
        for i, line in enumerate(outcome.timelines)
        if len(set(line.predicted)) > 1
    )
    video = row.outcomes[split].test[place_in_split]
    unit, *cuts = page._segments(row.outcomes[split].timelines[place_in_split])
    tab.evaluate(f"pin({video})")
    parts = tab.locator("#detail .line").first.locator("span")
    assert parts.count() == len(cuts) // 2
    for index in range(parts.count()):
        start, label, stop = cuts[2 * index : 2 * index + 3]
        assert parts.nth(index).get_attribute("data-class") == str(label)
        width = parts.nth(index).bounding_box()["width"]
        whole = tab.locator("#detail .line").first.bounding_box()["width"]
        assert width / whole == pytest.approx((stop - start) / (cuts[-1] - cuts[0]), abs=0.01)
    assert unit == "s"


def test_filter_by_class(opened, result):
    tab = opened()
    assert tab.locator("#count").inner_text() == "24 of 24 videos"
    tab.select_option("#class", label="dark red")
    assert tab.locator("#count").inner_text() == "8 of 24 videos"
    cards = tab.locator(".card").evaluate_all("cards => cards.map(card => +card.dataset.video)")
    assert sorted(cards) == [v for v in range(24) if result.labels[v] == 1]
    # A point of another class is not there any more.
    video = single(tab)
    tab.select_option("#class", str((result.labels[video] + 1) % 3))
    tab.mouse.move(*place(tab, video))
    assert tab.locator("#tip").is_hidden()
    tab.click("#clear")
    assert tab.locator("#count").inner_text() == "24 of 24 videos"
    tab.locator("#classes button").nth(2).click()
    assert tab.locator("#class").input_value() == "2"
    assert tab.locator("#classes button").nth(2).get_attribute("aria-pressed") == "true"
    tab.fill("#text", "g03_c01")
    assert tab.locator("#count").inner_text() == "1 of 24 videos"


def test_misses_come_first_and_the_confusion_leads_to_them(opened, result):
    row = result.rows[0]
    misses = [result.videos.index(miss["video"]) for miss in result.misses(row, 24)]
    assert misses  # half of the third class is as blue as the first
    tab = opened()
    cards = tab.locator(".card").evaluate_all("cards => cards.map(card => +card.dataset.video)")
    assert cards[: len(misses)] == misses
    tab.select_option("#show", "wrong")
    assert tab.locator(".card").count() == len(misses)
    assert "taken for" in tab.locator(".card").first.inner_text()
    tab.click("#clear")
    counts = result.confusion(row)
    np.testing.assert_array_equal(tab.evaluate("field.counts.map(row => [...row])"), counts)
    wrong = counts * (1 - np.eye(3, dtype=int))
    true, said = np.unravel_index(wrong.argmax(), wrong.shape)
    canvas = tab.locator("#confusion")
    canvas.scroll_into_view_if_needed()
    box, field = canvas.bounding_box(), tab.evaluate("({...field, counts: 0})")
    x = box["x"] + field["left"] + (said + 0.5) * field["cell"]
    y = box["y"] + field["top"] + (true + 0.5) * field["cell"]
    tab.mouse.move(x, y)
    assert f"{counts[true, said]} time" in tab.locator("#tip").inner_text()
    tab.mouse.click(x, y)
    assert tab.locator("#count").inner_text() == f"{counts[true, said]} of 24 videos"


def test_the_method_can_be_chosen(opened, result):
    tab = opened()
    tab.locator("#table tbody tr").nth(2).click()
    assert tab.locator("#method").input_value() == "2"
    np.testing.assert_array_equal(
        tab.evaluate("field.counts.map(row => [...row])"), result.confusion(result.rows[2])
    )
    assert tab.locator(".card .line").count() == 0
    assert tab.locator(".map").count() == 2
    text = tab.locator("#table").inner_text()
    for row in result.rows:
        assert f"{100 * row.accuracy:.1f} ± {100 * row.spread:.1f}" in text


def test_a_map_can_be_looked_at_closer(opened):
    tab = opened()
    video = single(tab)
    before = place(tab, video)
    tab.locator(".map .tools button").first.click()
    x, y = place(tab, video)
    canvas = tab.locator(".map canvas + canvas").first.bounding_box()
    middle = canvas["x"] + canvas["width"] / 2, canvas["y"] + canvas["height"] / 2
    assert x - middle[0] == pytest.approx(2 * (before[0] - middle[0]), abs=1)
    assert y - middle[1] == pytest.approx(2 * (before[1] - middle[1]), abs=1)
    tab.mouse.move(*middle)
    tab.mouse.down()
    tab.mouse.move(middle[0] + 60, middle[1] + 40, steps=4)
    tab.mouse.up()
    assert place(tab, video)[0] - x == pytest.approx(60, abs=5)
    assert tab.locator("#detail").is_hidden()  # a drag is no click


def test_it_fits_a_phone(opened):
    tab = opened(viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    video = single(tab)
    tab.touchscreen.tap(*place(tab, video))
    box = tab.locator("#detail").bounding_box()
    assert box["x"] >= 0
    assert box["width"] <= 360
    assert box["y"] + box["height"] <= 741
    assert tab.locator("#detail").get_attribute("data-video") == str(video)


def test_a_warning_stands_out(opened, result, tmp_path):
    warning = f"the videos of class {EVIL} are one scene (group): {SAME_SCENE}."
    page.fill(
        dataclasses.replace(result, notes=("a note.", warning)), tmp_path / "r.html", [b""] * 24, 84
    )
    tab = opened(tmp_path / "r.html")
    assert tab.locator("#warnings .warning").all_inner_texts() == [warning]
    assert tab.locator("#notes li").all_inner_texts() == ["a note."]
    weight = "getComputedStyle(document.querySelector('.warning')).fontWeight"
    assert tab.evaluate(weight) == "600"


def test_hostile_names_are_text(opened, result, tmp_path):
    evil = dataclasses.replace(result, dataset=EVIL, classes=(EVIL, "b", "{{strips}}"))
    page.fill(evil, tmp_path / "report.html", [b""] * 24, 84)
    tab = opened(tmp_path / "report.html")
    assert tab.locator("#title").inner_text() == EVIL
    assert EVIL in tab.locator("#classes button").first.inner_text()


def test_the_command_writes_it(folder, tmp_path, capsys):
    NET.save(tmp_path / "small.safetensors")
    command = ["transfer", str(folder), "--out", str(tmp_path / "out"), "--C", "1", "--folds", "2",
               "--weights", str(tmp_path / "small.safetensors")]  # fmt: skip
    assert main(command) == 0
    assert "with filmstrips and maps:" in capsys.readouterr().out
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "colours &amp; more" in text
    assert {"report.html", "result.json", "result.md"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }


def test_long_names_stay_on_the_page(opened, result, tmp_path):
    long = "x" * 180
    odd = dataclasses.replace(
        result,
        classes=(long, "b", "c"),
        videos=tuple(f"{long}/{name}" for name in result.videos),
    )
    page.fill(odd, tmp_path / "report.html", [b""] * 24, 84)
    for width in (1280, 390):
        tab = opened(tmp_path / "report.html", viewport={"width": width, "height": 844})
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        inside = "pen.measureText(shortened(pen, names[0], 100)).width"
        pen = "const pen = document.createElement('canvas').getContext('2d')"
        assert 50 < tab.evaluate(f"(() => {{ {pen}; return {inside}; }})()") <= 100


def test_a_map_cannot_be_dragged_away(opened):
    tab = opened()
    canvas = tab.locator(".map canvas + canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    tab.locator(".map").first.get_by_label("closer").click()
    for _ in range(4):
        tab.mouse.move(box["x"] + 20, box["y"] + 60)
        tab.mouse.down()
        tab.mouse.move(box["x"] + box["width"] - 20, box["y"] + 400, steps=4)
        tab.mouse.up()
    view = tab.evaluate("maps[0].view")
    assert view == {"zoom": 2, "x": 0, "y": 0}


def test_the_keyboard_chooses_a_field(opened, result):
    counts = result.confusion(result.rows[0])
    tab = opened()
    tab.locator("#confusion").focus()
    for key, field in (("ArrowDown", (0, 0)), ("ArrowDown", (1, 0)), ("ArrowRight", (1, 1))):
        tab.keyboard.press(key)
        assert tab.locator("#count").inner_text() == f"{counts[field]} of 24 videos"
    assert tab.locator("#class").input_value() == "1"
