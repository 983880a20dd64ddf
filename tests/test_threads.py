"""How many cores a process may use, by the files in which Linux says so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kinema.threads import num_usable_cores

V2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = (
    "29 24 0:25 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755\n"
    "31 29 0:27 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
    "33 29 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct"
)


@pytest.fixture(autouse=True)
def sixteen_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)


def system(root: Path, cgroup: str, mountinfo: str, **files: str) -> Path:
    """A /proc and /sys; the files' names are below /sys/fs/cgroup."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(f"{cgroup}\n")
    (root / "proc/self/mountinfo").write_text(
        f"21 1 8:1 / / rw - ext4 /dev/sda1 rw\nnonsense\n1 2 - cgroup\n{mountinfo}\n"
    )
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000", 16),
        ("200000 100000", 2),
        ("150000 100000", 2),  # one and a half
        ("20000 100000", 1),
        ("1 100000", 1),
        ("25000 10000", 3),
        ("6400000 100000", 16),  # more than there are
        ("", 16),
        ("?", 16),
        ("100000 0", 16),
    ],
)
def test_version_2_in_a_container(tmp_path, quota, cores):
    root = system(tmp_path, "0::/", V2, **{"cpu.max": quota})
    assert num_usable_cores(root=root) == cores


@pytest.mark.parametrize(
    ("above", "own", "cores"),
    [("max 100000", "300000 100000", 3), ("200000 100000", "max 100000", 2),
     ("200000 100000", "300000 100000", 2), ("500000 100000", "300000 100000", 3)],
)  # fmt: skip
def test_the_smallest_quota_of_those_above_counts(tmp_path, above, own, cores):
    files = {"user.slice/cpu.max": above, "user.slice/a.service/cpu.max": own}
    root = system(tmp_path, "0::/user.slice/a.service", V2, **files)
    assert num_usable_cores(root=root) == cores


def test_quotas_of_others_do_not_count(tmp_path):
    files = {"a/cpu.max": "max 100000", "b/cpu.max": "100000 100000"}
    assert num_usable_cores(root=system(tmp_path, "0::/a", V2, **files)) == 16


@pytest.mark.parametrize(("quota", "cores"), [("-1", 16), ("350000", 4), ("50000", 1)])
@pytest.mark.parametrize("where", ["", "docker/4f", "docker"])
def test_version_1(tmp_path, quota, cores, where):
    folder = f"cpu,cpuacct/{where}/".replace("//", "/")
    files = {f"{folder}cpu.cfs_quota_us": quota, f"{folder}cpu.cfs_period_us": "100000"}
    cgroup = "5:cpuset:/\n4:cpu,cpuacct:/docker/4f\n0::/docker/4f"
    assert num_usable_cores(root=system(tmp_path, cgroup, V1, **files)) == cores


def test_a_container_that_sees_its_hosts_names(tmp_path):
    """Its own cgroup is mounted, and /proc names it from the host's top."""
    mount = "33 29 0:29 /docker/4f /sys/fs/cgroup/cpu\\040s rw - cgroup cgroup rw,cpu"
    files = {"cpu s/cpu.cfs_quota_us": "200000", "cpu s/cpu.cfs_period_us": "100000"}
    root = system(tmp_path, "4:cpu:/docker/4f", mount, **files)
    assert num_usable_cores(root=root) == 2


def test_a_cgroup_above_the_namespace(tmp_path):
    root = system(tmp_path, "0::/../other", V2, **{"cpu.max": "300000 100000"})
    assert num_usable_cores(root=root) == 3


def test_both_versions_at_once(tmp_path):
    both = f"{V1}\n30 29 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"
    files = {
        "cpu,cpuacct/a/cpu.cfs_quota_us": "200000",
        "cpu,cpuacct/a/cpu.cfs_period_us": "100000",
        "unified/x": "",
    }
    root = system(tmp_path, "3:cpu,cpuacct:/a\n0::/a", both, **files)
    assert num_usable_cores(root=root) == 2


def test_other_systems_and_this_one(tmp_path, monkeypatch):
    assert num_usable_cores(root=tmp_path) == 16
    assert 1 <= num_usable_cores() <= 16
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert num_usable_cores(root=tmp_path) == 5
