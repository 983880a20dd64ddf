"""Actors of a Ray cluster: a machine that goes, a slow one, one that does not see what all share.

The cluster is two raylets on this machine, which look to Ray like two machines of two cores.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path
from urllib.error import URLError

import pytest

from kinema.cli.app import main
from kinema.features.extraction import extract
from kinema.progress import Progress
from kinema.sharing import claims, on_ray
from kinema.sharing.on_ray import run_on_ray
from kinema.sharing.ray_cluster import Everywhere, Room, connected, room_for
from kinema.sharing.status import status
from kinema.skipped import EngineError
from kinema.store import open_store

import servers
from drawn_job import DrawnJob
from odd_videos import write_video
from stores import rows_of

pytest.importorskip("pyarrow")
pytest.importorskip("ray")

METRICS_PORT = servers.free_port()


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        folder = Path(__file__).parent  # where actors find drawn_job
        patch.setenv("PYTHONPATH", f"{folder}:{folder.parent}")
        patch.setenv("RAY_metrics_report_interval_ms", "500")
        head = {"num_cpus": 2, "include_dashboard": False, "metrics_export_port": METRICS_PORT}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        cluster.add_node(num_cpus=2)
        yield cluster
        cluster.shutdown()


@pytest.fixture
def ray(cluster):
    with connected(cluster.address) as ray:
        yield ray


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(on_ray, "POLL_SECONDS", 0.3)


def run(ray, job):
    """A drawn job by actors of one core."""
    Path(job.out).mkdir(exist_ok=True)
    return run_on_ray(ray, open_store(job.out), job, Room(1), progress=Progress(enabled=False))


def when(happens, then, seconds=30.0):
    """Do something, in a thread, as soon as something is so."""

    def wait():
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                if happens():
                    then()
                    return
            except (FileNotFoundError, URLError):  # nothing was begun yet
                pass
            time.sleep(0.05)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def each_once(out, num_names):
    rows = rows_of(open_store(out))
    assert set(Counter(row.name for row in rows).values()) == {1}
    assert len(rows) == num_names
    return rows


class Holder:
    """Holds the cores of a machine, so that no actor begins there."""

    def is_there(self):
        return True


def test_videos_while_a_machine_goes(cluster, ray, tmp_path, capsys):
    """Two raylets of two cores, of which one is killed: bytes of a single run, each video once.

    The cores of the one that stays are held until the other one goes: else its actors, where they
    start first, may leave nothing to do for those of the other.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    videos, out, single = tmp_path / "videos", tmp_path / "out", tmp_path / "single"
    videos.mkdir()
    for number in range(50):
        write_video(videos / f"{number:02d}.mp4", 24 + number % 3, first_index=20 * number)
    (videos / "text.mp4").write_text("no video")
    extract(videos, out=single)

    here = NodeAffinitySchedulingStrategy(cluster.head_node.node_id, soft=False)
    holder = ray.remote(num_cpus=2)(Holder).options(scheduling_strategy=here).remote()
    assert ray.get(holder.is_there.remote())

    def go():
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        ray.kill(holder)

    going = when(lambda: status(out).working, go)
    arguments = [str(videos), "--out", str(out), "--threads", "1", "--max-skipped", "1"]
    try:
        assert main(["extract", *arguments, "--ray", cluster.address]) == 0, capsys.readouterr().err
    finally:
        going.join()
        cluster.add_node(num_cpus=2)
    printed = capsys.readouterr()
    assert "50 of 51 videos extracted, 1 skipped" in printed.out
    assert "is gone" in printed.err
    rows = each_once(out, 51)
    assert [row.name for row in rows if row.reason] == ["text.mp4"]
    files = sorted(path.relative_to(single) for path in single.glob("*.safetensors"))
    assert len(files) == 50
    for name in [*files, "run.json"]:
        assert (out / name).read_bytes() == (single / name).read_bytes(), name
    assert not [*(out / "_shared" / "probes").iterdir()]


def test_clips_for_training(cluster, tmp_path, capsys):
    pytest.importorskip("torch")
    for number in range(20):
        folder = tmp_path / "dataset" / ("up" if number % 2 else "down")
        folder.mkdir(parents=True, exist_ok=True)
        write_video(folder / f"{number:02d}.mp4", 16, first_index=20 * number)
    single, out = tmp_path / "single", tmp_path / "out"
    arguments = ["prepare", str(tmp_path / "dataset"), "--size", "16x16"]
    assert main([*arguments, "--out", str(single)]) == 0
    assert main([*arguments, "--out", str(out), "--ray", cluster.address]) == 2
    assert "--ray needs --shared" in capsys.readouterr().err
    place = str(tmp_path / "place")
    by_actors = [*arguments, "--shared", place, "--ray", cluster.address]
    assert main([*by_actors, "--out", str(out)]) == 0, capsys.readouterr().err
    assert "20 of 20 videos prepared" in capsys.readouterr().out
    assert out.read_bytes() == single.read_bytes()


def test_a_second_run_looks_at_the_settings_first(ray, tmp_path, monkeypatch):
    job = DrawnJob(str(tmp_path), 40)
    found = run(ray, job)
    assert (found.num_done, found.num_clips) == (40, 80)
    found = run(ray, job)
    assert (found.num_done, found.num_clips, len(found.rows)) == (0, 0, 3)
    with pytest.raises(ValueError, match="the list changed"):
        run(ray, DrawnJob(str(tmp_path), 41))


def test_values_for_the_dashboard(ray, tmp_path):
    """Prometheus reads them there, and the dashboard shows what it reads."""
    pytest.importorskip("opentelemetry.exporter.prometheus")
    found = set()

    def is_told():
        url = f"http://127.0.0.1:{METRICS_PORT}/metrics"
        lines = urllib.request.urlopen(url, timeout=5).read().decode().splitlines()
        found.update(line.partition("{")[0] for line in lines if line.startswith("ray_kinema_"))
        return {"ray_kinema_videos_left", "ray_kinema_actor_videos_total"} <= found

    looking = when(is_told, lambda: None)
    run(ray, DrawnJob(str(tmp_path), 96, 0.1))
    looking.join()
    assert is_told(), found
    assert {"ray_kinema_actors", "ray_kinema_videos_done", "ray_kinema_clips_done"} <= found


def test_a_killed_actor_is_replaced_and_its_chunk_given_on(ray, tmp_path):
    monkeyed = []

    def kill():
        worker = status(tmp_path).working[0]
        os.kill(worker.process, signal.SIGKILL)
        monkeyed.append(worker.process)

    killing = when(lambda: status(tmp_path).working, kill)
    begun = time.monotonic()
    found = run(ray, DrawnJob(str(tmp_path), 96, 0.05))
    killing.join()
    assert monkeyed
    assert found.num_done == 96
    assert any("is gone" in note for note in found.notes)
    assert time.monotonic() - begun < claims.STALE_SECONDS / 3  # nobody waits for a stale claim
    each_once(tmp_path, 96)


def test_a_slow_actor_loses_its_chunk_to_an_idle_one(ray, tmp_path):
    """It would take 80 seconds for its sixteen names, the others take less than one."""
    begun = time.monotonic()
    found = run(ray, DrawnJob(str(tmp_path), 64, 0.02, slow=5.0))
    assert time.monotonic() - begun < 60
    assert found.num_done == 64
    assert not found.notes
    rows = each_once(tmp_path, 64)
    assert not [row for row in rows if row.reason]


def test_what_all_actors_meet_ends_the_run_and_chunks_are_given_back(ray, tmp_path, monkeypatch):
    with pytest.raises(ImportError, match="a package is missing"):
        run(ray, DrawnJob(str(tmp_path / "a"), 40, error=ImportError("a package is missing")))
    monkeypatch.setattr(on_ray, "NUM_FAILURES", 3)
    with pytest.raises(
        EngineError, match=r"3 actors failed one after the other.* no answer.* kept"
    ):
        run(ray, DrawnJob(str(tmp_path / "b"), 40, error=OSError("no answer")))


def test_ctrl_c_gives_chunks_back(ray, tmp_path):
    stopping = when(
        lambda: len(status(tmp_path).working) > 1, lambda: os.kill(os.getpid(), signal.SIGINT)
    )
    with pytest.raises(KeyboardInterrupt):
        run(ray, DrawnJob(str(tmp_path), 96, 0.2))
    stopping.join()
    seen = claims.look(open_store(tmp_path))
    assert seen
    assert all(last.released for last in seen.values())


def test_a_machine_must_see_what_all_share(tmp_path):
    job = DrawnJob(str(tmp_path), 3)
    (tmp_path / "token").write_bytes(b"")
    for out, path, message in (
        (tmp_path / "elsewhere", tmp_path, f"does not see {tmp_path}/elsewhere: it must lie"),
        (tmp_path, tmp_path / "gone.mp4", r"does not see .*gone\.mp4: videos must lie"),
    ):
        with pytest.raises(OSError, match=message):
            Everywhere(str(out), "token", [str(path)], job)(Progress(enabled=False))
    assert Everywhere(str(tmp_path), "token", [str(tmp_path)], job)(Progress(enabled=False))


def test_what_an_actor_asks_for():
    class Machines:
        def __init__(self, *resources):
            self._resources = resources

        def nodes(self):
            return [{"Alive": True, "Resources": each} for each in self._resources]

    small, large, with_gpus = {"CPU": 2.0}, {"CPU": 64.0}, {"CPU": 32.0, "GPU": 8.0}
    assert room_for(Machines(small, large), None, "auto") == Room(2)
    assert room_for(Machines(large, {}), None, "auto") == Room(4)
    assert room_for(Machines(large), 16, "auto") == Room(16)
    assert room_for(Machines(large, with_gpus), None, "auto") == Room(4, 1)
    assert room_for(Machines(small, with_gpus), None, "cpu") == Room(2)
    assert room_for(Machines({"CPU": 2.0, "GPU": 2.0}), None, "auto") == Room(1, 1)
    assert room_for(Machines(small), None, "cuda") == Room(4, 1)  # one may come
    assert room_for(Machines(), None, "auto") == Room(4)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nothing", "ray://127.0.0.1:1"])
def test_no_cluster_answers(tmp_path, capsys, address):
    write_video(tmp_path / "a.mp4", 16)
    out = tmp_path / "out"
    assert main(["extract", str(tmp_path), "--out", str(out), "--ray", address]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"kinema: --ray {address}: no cluster answers")
    assert len(error.splitlines()) == 1


def test_a_cluster_that_asks_for_a_token(tmp_path, monkeypatch):
    import ray

    def init(**_):
        raise ConnectionError("Failed to connect") from RuntimeError(
            "RPC error: InvalidAuthToken: x"
        )

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(ValueError, match="set RAY_AUTH_MODE=token"), connected("auto"):
        pass


def test_ray_is_not_installed(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    write_video(tmp_path / "a.mp4", 16)
    assert main(["extract", str(tmp_path), "--out", str(tmp_path / "out"), "--ray"]) == 2
    assert "pip install 'kinema[ray]'" in capsys.readouterr().err
