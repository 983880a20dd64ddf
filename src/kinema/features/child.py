"""A process beside this one that makes tables, so that a video which hangs or crashes it costs one
line.

Note [A child that is watched]
    FFmpeg may never return from a call, or take its process with it; then `Reading.video_seconds`,
    which is looked at between packets, is out of reach. The child tells when it begins a video,
    when a batch is done and when a video is over. Is it silent for longer than a video may take, it
    is killed, and the video that it owed is skipped. Does it die, the videos that were begun are
    done again one by one, and one with which it dies twice is skipped.

    What goes between the two are pickles over pipes; the child ends when its standard input does,
    so nothing outlives this process.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

from kinema.features import run_file
from kinema.features.extractor import Extractor
from kinema.features.table_files import FORMATS
from kinema.sharing.loop import Begun
from kinema.sharing.manifests import Row
from kinema.skipped import EngineError, Skipped
from kinema.video.sources import Source
from kinema.video.steps import walk

SILENT_SECONDS = 3600.0
"""The longest silence, if no `video_seconds` are given."""

GRACE_SECONDS = 30.0
"""Beyond `video_seconds`: for the network, and to end in order."""

NUM_DEATHS = 2
"""Of a child, with one video, skip it."""

READY_SECONDS = 600.0
"""Until weights are loaded, from a network disk perhaps."""

PROGRAM = "from kinema.features.child import main; main()"
"""What the child runs."""

Job = tuple[str, Callable[[], Source]]
"""A name, and what brings its video to this machine."""

_OVER = None


class ChildDied(Exception):
    """The child ended though it was not told to; the message says how."""

    def __init__(self, how: str, begun: Sequence[str], *, silent: bool = False) -> None:
        super().__init__(how)
        self.begun, self.silent = begun, silent


class Child:
    """Makes tables in another process, which is started anew when it dies.

    Args:
        extractor: the arguments of `Extractor`.
        run: those of `run_file.content` beside it.
        video_seconds: that of `Reading`.

    Attributes:
        content: that of run.json.
        partial: names of videos that broke and whose rows before that are kept.

    Raises:
        ValueError: the settings are wrong, or cannot be handed to another process.
    """

    def __init__(
        self,
        extractor: Mapping[str, Any],
        run: Mapping[str, Any],
        *,
        video_seconds: float | None = None,
    ) -> None:
        try:
            self._settings = pickle.dumps((dict(extractor), dict(run)))
        except Exception as error:
            raise ValueError(
                f"these settings cannot be handed to another process ({error}), as a shared run "
                "does: name weights by a file."
            ) from None
        self._seconds = SILENT_SECONDS if video_seconds is None else video_seconds + GRACE_SECONDS
        self.partial: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self.content = self._start()
        except ChildDied as died:
            raise EngineError(f"what computes features cannot be started: {died}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()

    def rows(
        self, jobs: Sequence[Job], begun: Begun
    ) -> Generator[tuple[Row, bytes | None], None, None]:
        """The row of each job and the bytes of its table, in any order; see `loop.Work`."""
        left = dict(jobs)
        deaths: Counter[str] = Counter()
        deaths_of_nobody = 0
        alone: list[str] = []  # those that it may be, one by one
        while left:
            some = alone[:1] or [*left]
            try:
                for row, data in self._batch([(name, left[name]) for name in some], begun):
                    del left[row.name]
                    yield row, data
                alone = alone[1:]
            except ChildDied as died:
                suspects = [name for name in died.begun if name in left]
                deaths.update(suspects)
                deaths_of_nobody += not suspects
                guilty = [name for name in suspects[:1] if died.silent]
                guilty += [name for name in suspects if deaths[name] >= NUM_DEATHS and alone[:1]]
                for name in guilty[:1]:
                    del left[name]
                    yield Row(name, reason=str(died)), None
                alone = [name for name in alone or suspects if name in left]
                if deaths_of_nobody > NUM_DEATHS:
                    raise EngineError(f"what computes features does not live: {died}") from None

    # --- in this process ---

    def _start(self) -> dict[str, Any]:
        self._kill()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us, who end the child
        )
        self._said: queue.Queue[Any] = queue.Queue()
        threading.Thread(
            target=_listen, args=(self._process.stdout, self._said), daemon=True
        ).start()
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it is told when we listen
            self._process.stdin.write(self._settings)
            self._process.stdin.flush()
        kind, *content = self._hear(READY_SECONDS, [])
        if kind != "ready":
            raise content[0]
        self._num_ahead = content[1]
        return dict(content[0])

    def _hear(self, seconds: float, begun: Sequence[str], sender: _Sender | None = None) -> Any:
        """What the child says next; `begun` are the videos that it owes."""
        while True:
            try:
                said = self._said.get(timeout=seconds)
                break
            except queue.Empty:
                if sender is not None and (sender.brings or not begun):
                    continue
                self._kill()
                why = f"it gave nothing for {seconds:.0f} s, and its process was killed."
                raise ChildDied(why, begun, silent=True) from None
        if said is _OVER:
            assert self._process is not None
            code = self._process.wait()
            name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            self._kill()
            raise ChildDied(f"the process that read it died ({name}).", begun)
        return said

    def _batch(self, jobs: Sequence[Job], begun: Begun) -> Iterator[tuple[Row, bytes | None]]:
        if self._process is None:
            self._start()
        owed: dict[str, bool] = {name: False for name, _ in jobs}  # whether it was begun
        assert self._process is not None
        sender = _Sender(self._process, jobs, self._num_ahead, self._said)
        sender.start()
        whole = False
        try:
            while owed or not whole:
                seen = [name for name, is_begun in owed.items() if is_begun]
                # A video that waits for the next one to come to this machine is not at fault.
                kind, *said = self._hear(self._seconds, seen, sender)
                if kind == "begun":
                    owed[said[0]] = True
                    begun(said[0])
                elif kind == "row":
                    row, data, is_partial = said
                    del owed[row.name]
                    sender.free.release()
                    self.partial += [row.name] * is_partial
                    yield row, data
                elif kind == "error":
                    raise said[0]
                whole = whole or kind == "over"
        except BaseException:
            self._kill()  # it may be in the middle of something
            raise
        finally:
            sender.stop()

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError, ValueError):
                    assert pipe is not None
                    pipe.close()


class _Sender(threading.Thread):
    """Brings videos to this machine, a few ahead, and tells the child where they are.

    So no more lie here than the child wants to have begun, or they would fill the disk.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        jobs: Sequence[Job],
        num_ahead: int,
        said: queue.Queue[Any],
    ) -> None:
        super().__init__(name="kinema-sender", daemon=True)
        assert process.stdin is not None
        self._pipe, self._jobs, self._said = process.stdin, jobs, said
        self.free = threading.Semaphore(num_ahead)
        self.brings = False
        self._stopped = False

    def run(self) -> None:
        try:
            for name, bring in self._jobs:
                self.free.acquire()
                if self._stopped:
                    return
                self.brings = True
                try:
                    source = bring()
                except (FileNotFoundError, PermissionError) as error:
                    reason = Skipped.of(name, error).reason
                    self._said.put(("row", Row(name, reason=reason), None, False))
                    continue
                finally:
                    self.brings = False
                self._tell((name, source))
            self._tell(_OVER)
        except (BrokenPipeError, ValueError):  # the child died, which is heard
            pass
        except Exception as error:
            self._said.put(("error", error))

    def _tell(self, what: Any) -> None:
        self._pipe.write(pickle.dumps(what))
        self._pipe.flush()

    def stop(self) -> None:
        """End, after what is being brought now."""
        self._stopped = True
        self.free.release()
        self.join(timeout=5.0)  # a video that is being brought now may take its time


def _listen(pipe: IO[bytes], said: queue.Queue[Any]) -> None:
    with contextlib.suppress(Exception):
        while True:
            said.put(pickle.load(pipe))
    said.put(_OVER)


# --- in the child ---------------------------------------------------------------------------------


def main() -> None:
    """What the child does: settings come in, then videos; rows go out."""
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what others print is no part of it
    lock = threading.Lock()

    def say(*what: Any) -> None:
        with lock:
            pickle.dump(what, pipe)
            pipe.flush()

    asked: queue.Queue[Any] = queue.Queue()
    threading.Thread(target=_take, args=(asked,), daemon=True).start()
    given, run = asked.get()
    try:
        extractor = Extractor(**given)
        keep_partial = run["keep_partial"]
        # As many videos as `each_video` wants to have before it gives the first one back.
        say("ready", run_file.content(extractor, **run), 2 * extractor.walking["threads"] + 2)
    except Exception as error:
        say("error", error)
        return
    names: dict[Source, str] = {}

    def sources() -> Iterator[Source]:
        while (one := asked.get()) is not _OVER:
            name, source = one
            names[source] = name
            yield source

    step = extractor.step(
        find=lambda source, mark: say("begun", names[source]),
        keep_partial=keep_partial,
        advance=lambda source, batch: say("alive"),
    )
    ending = FORMATS[run["format"]].ending
    with tempfile.TemporaryDirectory(prefix="kinema-") as folder:
        path = Path(folder, f"table{ending}")
        try:
            while True:
                for source, (made,) in walk(sources(), [step], **extractor.walking):
                    name = names.pop(source)
                    if isinstance(made, Skipped):
                        say("row", Row(name, reason=made.reason), None, False)
                        continue
                    made.value.save(path, run["format"])
                    row = Row(name, made.mark, len(made.value))
                    say("row", row, path.read_bytes(), bool(made.value.about["partial"]))
                say("over")
        except Exception as error:
            say("error", error)


def _take(asked: queue.Queue[Any]) -> None:
    """Take what comes; the end of it is the end of this process, whatever it does."""
    with contextlib.suppress(Exception):
        while True:
            asked.put(pickle.load(sys.stdin.buffer))
    os._exit(1)
