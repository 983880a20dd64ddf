"""A Ray cluster: how it is found, and what is asked of its machines."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import urllib.parse
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TypeAlias

from kinema.progress import Progress
from kinema.sharing.loop import Shared
from kinema.store import Store, StoreError, is_url, open_store
from kinema.words import number_of

Job: TypeAlias = Callable[[Progress], Shared]
"""Takes part in a shared run until all is done; it is pickled and comes to each actor."""

MOST_CPUS = 4
"""Cores of an actor where no `threads` are given: with more, one process leaves some idle."""


@dataclass(frozen=True)
class Room:
    """What an actor asks of its machine.

    Attributes:
        cpus: cores.
        gpus: 0 or 1.
    """

    cpus: int
    gpus: int = 0

    def __str__(self) -> str:
        cores = number_of(self.cpus, "core")
        return f"{cores} and a GPU" if self.gpus else cores


ANSWER_SECONDS = 10.0
"""Until an address counts for one where nobody listens."""


def first_line(error: BaseException) -> str:
    """The first line that an error tells, or its kind."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


@contextlib.contextmanager
def connected(address: str | bool) -> Iterator[ModuleType]:
    """Ray, with a cluster; one that was connected to before is used and left as it is.

    Args:
        address: of a cluster; "auto" or True for the one of RAY_ADDRESS or of this machine, or,
            where none is, for one that is started here and lasts as long as the run.

    Raises:
        ImportError: Ray is not installed.
        ValueError: no cluster answers at the address.
    """
    try:
        import ray
    except ImportError:
        raise ImportError("`ray` needs Ray: pip install 'kinema[ray]'.") from None
    if ray.is_initialized():
        yield ray
        return
    where = None if address in (True, "auto") else str(address)
    if where not in (None, "local"):
        _check_answers(where)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # of a cluster that is started here
    try:
        ray.init(address=where, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # many kinds, by how it is not there
        if "InvalidAuthToken" in repr(error.__cause__):
            raise ValueError(
                f"`ray` {where or 'auto'}: this cluster takes no one without a token: set "
                "RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN where no file has the token."
            ) from None
        raise ValueError(_no_cluster(where or "auto", error)) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Refuse an address where nobody listens, on which Ray itself would try for minutes."""
    place = urllib.parse.urlsplit(address if "://" in address else f"//{address}")
    try:
        port = place.port
        if not place.hostname or port is None:
            raise ValueError("it is no host:port")
        socket.create_connection((place.hostname, port), ANSWER_SECONDS).close()
    except (OSError, ValueError) as error:
        raise ValueError(_no_cluster(address, error)) from None


def _no_cluster(address: str, error: Exception) -> str:
    return (
        f"`ray` {address}: no cluster answers ({first_line(error)}); give the address of one that "
        "runs (host:port, or ray://host:port), or none, to use this machine's."
    )


def room_for(ray: ModuleType, threads: int | None, device: str) -> Room:
    """What an actor asks for: a GPU where the cluster has some, and some cores.

    Args:
        ray: connected.
        threads: cores; None for as many as the smallest machine has, at most `MOST_CPUS`.
        device: "cpu", "cuda", or "auto": a GPU if some machine has one.
    """
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = int(device == "cuda" or (device == "auto" and any("GPU" in one for one in machines)))
    fitting = [one for one in machines if one.get("CPU", 0) >= 1 and one.get("GPU", 0) >= gpus]
    smallest = min(
        (int(one["CPU"] / max(one.get("GPU", 1) if gpus else 1, 1)) for one in fitting),
        default=MOST_CPUS,
    )
    return Room(threads or max(min(smallest, MOST_CPUS), 1), gpus)


@dataclass(frozen=True)
class Everywhere:
    """A job that begins by looking whether its machine sees what all share.

    Attributes:
        address: of the store.
        token: a file there that the driver has put down.
        paths: some of what must be there to be read.
        job: what follows.
    """

    address: str
    token: str
    paths: Sequence[str]
    job: Job

    def __call__(self, progress: Progress) -> Shared:
        """Look, then take part.

        Raises:
            StoreError: this machine does not see it.
        """
        host = socket.gethostname()
        try:
            open_store(self.address).read(self.token)
        except FileNotFoundError:
            raise StoreError(
                None,
                f"{host} does not see {self.address}: it must lie on a disk that all machines of "
                "the cluster share, or be a URL (s3://...).",
            ) from None
        if missing := next((path for path in self.paths if not os.path.exists(path)), None):
            raise StoreError(
                None,
                f"{host} does not see {missing}: videos must lie on a disk that all machines of "
                "the cluster share, or be named by URLs.",
            )
        return self.job(progress)


@contextlib.contextmanager
def everywhere(store: Store, address: str, paths: Sequence[str], job: Job) -> Iterator[Job]:
    """A job whose machines are looked at first, see `Everywhere`.

    Args:
        store, address: where all is shared.
        paths: files here that must be there too.
        job: what follows.
    """
    token = f"_shared/probes/{uuid.uuid4().hex}"
    store.write(token, b"the driver was here")
    try:
        some = [*dict.fromkeys([*paths[:1], *paths[len(paths) // 2 :][:1], *paths[-1:]])]
        yield Everywhere(address if is_url(address) else os.path.abspath(address), token, some, job)
    finally:
        store.delete(token)
