"""A video file to decoded frames with their times, from the first one or from any other.

Note [Damage]
    FFmpeg passes over most damage: it repeats or smears pixels and goes on, or ends early as if the
    video were over. Features of such frames would be features of nothing, so a video is taken to
    be broken from the first frame at which any of these shows:
    - the decoder refuses a packet, or marks its frame as corrupt;
    - the demuxer marks a packet as incomplete;
    - the packets end well before the length that the container's header promises, and the
      container's own boxes say that bytes are missing (`structure.py`). A promise that no missing
      byte explains is a header's error, and the video is whole;
    - frames are missing, or none were promised, and the file ends inside a box that holds some.
    Errors before the first sound key frame are passed over, with the frames that depend on what was
    lost: recordings of broadcasts start anywhere. A key frame itself that is refused is passed over
    in formats of broadcasts alone.

    In a transport stream "incomplete" is only a guess from the counters of its small packets, and
    where parts were joined the counters begin anew. FFmpeg marks the last frame before the join or
    the one before that. So a marked one is taken to be whole if the counter jumps where a key frame
    begins and nowhere else (`structure.is_join`), and the decoder finds nothing wrong.

    What cannot be seen: changed bytes that are still valid, and damage in the middle of Matroska
    files or of VP9, HEVC and AV1 streams that FFmpeg mends without flagging a frame.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.format import Flags as FormatFlags

from kinema.skipped import VideoError
from kinema.video.clock import DEEPEST_REORDERING, Clock, Shown
from kinema.video.opening import flag_bit, open_file, plain, video_stream
from kinema.video.packets import PacketRun, packet_groups, packet_runs
from kinema.video.structure import STRUCTURED, breaks_off_in_media, bytes_are_missing, is_join

GUESSES_PLACES = {"mxf", "apng"}
"""Formats whose seeking leads to frames under wrong times (MXF without an index, a file that was
cut off) or to pictures that need the ones before (APNG); they are walked through instead."""

WITH_PALETTE = {"pal8", "monow", "monob"}
"""Pixel formats whose colours can stand in the first packet alone; likewise."""

MOST_TRIES = 10_000
"""FFmpeg passes over 64 KiB of padding in a transport stream at once."""

THEORA_COMMENT = b"\x81"
"""How Theora's comments begin. They stand where parts were joined, too, and the decoder refuses
them."""


class Demuxer:
    """An open video file and the stream whose frames are wanted.

    Args:
        path: a plain file.
        check_allowance: called between packets; it raises where the video takes too long.

    Raises:
        VideoError: it is no readable video.
    """

    def __init__(self, path: Path, check_allowance: Callable[[], None]) -> None:
        self._path = path
        self._check_allowance = check_allowance
        self.container = open_file(path)
        try:
            self.stream = video_stream(self.container)
        except BaseException:
            self.container.close()
            raise
        self.kind = self.container.format.name.partition(",")[0]
        flags = self.container.format.flags
        self.may_begin_anew = bool(flags & flag_bit(FormatFlags.ts_discont))
        self.has_times = not flags & flag_bit(FormatFlags.no_timestamps)

    def __enter__(self) -> Demuxer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self.container.close()

    @property
    def promised_frames(self) -> int | None:
        """The number of frames that the header promises, unless the file has no byte for each."""
        frames = self.stream.frames
        return frames if 0 < frames <= self._path.stat().st_size else None

    @property
    def promised_seconds(self) -> float | None:
        """The length that the header promises; None where FFmpeg guesses it from what is there."""
        stream = self.stream
        if self.kind == "avi" and self.promised_frames and stream.average_rate:
            return self.promised_frames / float(stream.average_rate)
        if self.kind == "mov" and stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        if self.kind == "matroska" and self.container.duration:
            return self.container.duration / av.time_base
        return None

    def shown(self) -> Iterator[Shown]:
        """All frames in the order in which they are shown, up to the end or the first damage."""
        clock = self._clock(0.0)
        is_empty = True
        for shown in self._shown(self._packets_of_whole(clock), clock):
            yield shown
            is_empty = False
        if is_empty:
            raise VideoError("no frame of it can be decoded.")

    def _packets_of_whole(self, clock: Clock) -> Iterator[av.Packet]:
        """All packets; it is an error if the file ends before the video does.

        That is told before the decoder gives what it holds back: frames among it would be missing.
        """
        num_packets = 0
        for packet in self._packets(clock):
            yield packet
            num_packets += 1
        if not num_packets:
            return
        promised = self.promised_seconds
        of = "" if promised is None else f" of {promised:.2f}"
        breaks_off = VideoError(f"the file breaks off after {self._end_seconds:.2f}{of} seconds.")
        are_missing = self.kind in STRUCTURED and num_packets < (self.stream.frames or math.inf)
        if are_missing and breaks_off_in_media(self._path, self.kind):
            raise breaks_off
        if promised is None:
            return
        # Headers are not exact: half a second, a fiftieth, or two of the longest frames may be
        # missing.
        slack = max(0.5, 0.02 * promised, 2 * self._longest_step)
        if self._end_seconds < promised - slack and bytes_are_missing(self._path, self.kind):
            raise breaks_off

    def shown_from(self, start_seconds: float) -> Iterator[Shown] | None:
        """The frames from some frame at or before `start_seconds` on; None if no way in is found.

        An index may lead to a frame that comes too late, or to one whose neighbours need what
        stands before it. So the first frame that is given is a key frame, the file is entered
        earlier and earlier until there is one in time, and what was shown before it is left out.
        """
        if not self.stream.time_base or not self.has_times or self.kind in GUESSES_PLACES:
            return None
        if self.stream.codec_context.pix_fmt in WITH_PALETTE:
            return None
        first = float((self.stream.start_time or 0) * self.stream.time_base)
        back = 0.0
        while start_seconds - back > first:
            try:
                target = math.floor((start_seconds - back) / self.stream.time_base)
                self.container.seek(target, stream=self.stream)
            except (av.FFmpegError, OverflowError):
                return None
            clock = self._clock()
            decoded = _from_key_frame(self._shown(self._packets(clock), clock))
            # After some frames it shows whether the times are wrong: then those of a walk count.
            ahead, error = _as_far_as_possible(decoded, DEEPEST_REORDERING)
            if clock.distrusts_container:
                return None
            if ahead and ahead[0].start_seconds <= start_seconds:
                return itertools.chain(ahead, _raising(error) if error else decoded)
            back = 4 * back or 1.0
        return None

    def shown_in(self, start_seconds: float, stop_seconds: float) -> Iterator[Shown]:
        """The frames with start <= time < stop and some around them, on whichever clock.

        All packets are read to see what the clocks say, but only those around the wanted frames
        are decoded.
        """
        time_base = float(self.stream.time_base or 0)
        groups = list(packet_groups(_up_to_error(self._packets()), time_base))
        num_given = 0
        for run in packet_runs(groups, start_seconds, stop_seconds):
            frames = self._shown_of(run, stop_seconds)
            num_again = 0
            if frames is None:
                frames = self._shown_of(dataclasses.replace(run, first=0), stop_seconds)
                num_again = num_given  # those of the runs before come once more
            # A frame's stop is never the start of another run.
            for shown in _beginning_clock(frames or iter(())):
                is_wanted = start_seconds <= shown.start_seconds < stop_seconds
                if is_wanted and num_again:
                    num_again -= 1
                elif not num_again:
                    yield shown
                    num_given += is_wanted

    def _shown_of(self, run: PacketRun, stop_seconds: float) -> Iterator[Shown] | None:
        """The frames of a run of packets; None if they need what stands before it."""
        demuxer = Demuxer(self._path, self._check_allowance)
        clock = demuxer._clock(math.nan if run.first else 0.0)
        packets = _Counted(itertools.islice(demuxer._packets(clock), run.first, run.stop))
        decoded = demuxer._shown(packets, clock)
        if run.first:
            decoded = _from_key_frame(decoded)
            first = next(decoded, None)
            if first is None or first.start_seconds > run.earliest:
                demuxer.close()
                return None
            decoded = itertools.chain([first], decoded)

        def until_behind() -> Iterator[Shown]:
            with demuxer:
                for shown in decoded:
                    yield shown
                    is_behind = run.first + packets.count > run.wanted_stop
                    if is_behind and (shown.begins_clock or shown.start_seconds >= stop_seconds):
                        return

        return until_behind()

    def _clock(self, first_seconds: float = math.nan) -> Clock:
        """A clock; `first_seconds` is the time of a first frame that has none."""
        rate = self.stream.average_rate
        interval = 1 / float(rate) if rate else 0.0
        time_base = self.stream.time_base or Fraction(1)
        return Clock(time_base, interval, self.may_begin_anew, first_seconds)

    def _packets(self, clock: Clock | None = None) -> Iterator[av.Packet]:
        """The video's packets; of those, `is_corrupt` marks the damaged ones."""
        self._end_seconds = -math.inf
        self._longest_step = 0.0
        index = self.stream.index
        is_theora = self.stream.codec_context.name == "theora"
        time_bases = [
            (stream.time_base or Fraction(0)).as_integer_ratio()
            for stream in self.container.streams
        ]
        # Matroska promises the length of the longest stream, the others that of each.
        of_promise = range(len(time_bases)) if self.kind == "matroska" else (index,)
        suspects: list[av.Packet] = []
        for packet in self._demuxed():
            self._check_allowance()
            begin = packet.pts if packet.pts is not None else packet.dts
            counts = packet.stream.index in of_promise
            if begin is not None and counts:
                num, den = time_bases[packet.stream.index]
                end = (begin + (packet.duration or 0)) * num / den
                if self._end_seconds > -math.inf:
                    self._longest_step = max(self._longest_step, end - self._end_seconds)
                self._end_seconds = max(self._end_seconds, end)
            # PyAV's packets at the end have the right `stream` and a wrong `stream_index`. They
            # are empty, which means "this is the end" to a decoder; an empty packet in the middle
            # means "as before" and is no frame.
            if packet.stream.index != index or not packet.size:
                continue
            if is_theora and bytes(packet)[:1] == THEORA_COMMENT:
                continue
            if clock is not None:
                clock.see(packet)
            if packet.is_keyframe and suspects and is_join(self._path, suspects[0].pos, packet.pos):
                suspects[0].is_corrupt = False
            if packet.is_keyframe or len(suspects) == 2:
                yield from suspects
                suspects.clear()
            if suspects or (packet.is_corrupt and self.kind == "mpegts"):
                suspects.append(packet)
            else:
                yield packet
        yield from suspects

    def _demuxed(self) -> Iterator[av.Packet]:
        """The packets of all streams."""
        packets = self.container.demux()
        num_tries = 0
        while True:
            try:
                packet = next(packets, None)
            except IndexError:  # PyAV, at the end of a file in whose middle a stream appeared
                return
            except av.error.BlockingIOError:  # FFmpeg found much that is no packet: ask again
                num_tries += 1
                if num_tries > MOST_TRIES:
                    raise
                packets = self.container.demux()
                continue
            if packet is None:
                return
            num_tries = 0
            yield packet

    def _shown(self, packets: Iterator[av.Packet], clock: Clock) -> Iterator[Shown]:
        """Frames with their times, up to the end of the packets or the first damage.

        What is damaged before the first sound key frame has gone into the decoder is passed over,
        with what depends on it. See Note [Damage].
        """
        decode = self.stream.codec_context.decode
        has_begun = False
        waits_for_key = False
        packet: av.Packet | None = None
        while True:
            try:
                packet = next(packets, None)
                if packet is not None and packet.is_corrupt:
                    if has_begun:
                        raise VideoError("the file breaks off or is damaged here.")
                    waits_for_key = True
                    continue
                frames = decode(packet)
            except av.FFmpegError as error:
                is_start = packet is None or not packet.is_keyframe or self.may_begin_anew
                if has_begun or not (is_start and isinstance(error, av.error.InvalidDataError)):
                    raise VideoError(f"it cannot be decoded further ({plain(error)}).") from None
                if packet is None:
                    return
                waits_for_key = True
                continue
            has_begun = has_begun or (packet is not None and packet.is_keyframe)
            for frame in frames:
                if frame.is_corrupt:
                    if has_begun:
                        raise VideoError("its data are damaged here.")
                    waits_for_key = True
                elif frame.key_frame or not waits_for_key:
                    waits_for_key, has_begun = False, True
                    yield clock.shown(frame)
            if packet is None:
                return


def _up_to_error(packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
    """Packets up to the first that cannot be read."""
    with contextlib.suppress(av.FFmpegError):
        yield from packets


class _Counted:
    """An iterator that knows how many items it gave."""

    def __init__(self, items: Iterator[av.Packet]) -> None:
        self._items = items
        self.count = 0

    def __iter__(self) -> _Counted:
        return self

    def __next__(self) -> av.Packet:
        item = next(self._items)
        self.count += 1
        return item


def _from_key_frame(shown: Iterator[Shown]) -> Iterator[Shown]:
    return itertools.dropwhile(lambda one: not one.frame.key_frame, shown)


def _beginning_clock(shown: Iterator[Shown]) -> Iterator[Shown]:
    for first in shown:
        yield dataclasses.replace(first, begins_clock=True)
        yield from shown


def _as_far_as_possible(
    shown: Iterator[Shown], count: int
) -> tuple[list[Shown], VideoError | None]:
    """The next frames, `count` at most, and the error that kept others from coming."""
    ahead: list[Shown] = []
    try:
        ahead.extend(itertools.islice(shown, count))
    except VideoError as error:
        return ahead, error
    return ahead, None


def _raising(error: VideoError) -> Iterator[Shown]:
    raise error
    yield
