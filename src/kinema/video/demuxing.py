"""A video file to decoded frames with their times, from the first one or from any other.

Note [One path opens one file]
    A video from a stranger must not make us read another file or the network. FFmpeg has demuxers
    that open what a text file names (concat, hls, dash, sdp, image2 patterns) whatever the file is
    called. So a path is opened as a plain file (`file:` before it, and no other protocol), and only
    by the demuxers of `DEMUXERS`, which read the file that they are given and no other. FFmpeg
    checks that list after it has recognised a format and before the demuxer reads anything.

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

Note [Times]
    A frame is shown at the time that the container gives it, on the file's own clock. Where the
    container gives none but the order of decoding (AVI), or times that run backwards more often
    than those of decoding do, the time of decoding that the decoder hands through counts: the same
    choice as FFmpeg's best effort. PyAV asks FFmpeg to make up times from the order of
    decoding; they are wrong wherever frames are reordered, so that is switched off.

    The clock of a file can begin anew (joined transport streams). Then the times of decoding step
    back, or the times of showing by more than reordering explains, or by more than
    `LONGEST_GAP` forwards. Each stretch keeps its own clock: within one, times never run backwards;
    the last frame of one ends after its own duration.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import Flags as ContainerFlags
from av.format import Flags as FormatFlags

from kinema.skipped import VideoError
from kinema.video.structure import STRUCTURED, breaks_off_in_media, bytes_are_missing, is_join

OLDEST_PYAV = 17
"""Older ones know neither threads of a conversion nor, before 15, what a stream is for."""

if int(av.__version__.partition(".")[0]) < OLDEST_PYAV:  # else each video would be skipped
    raise ImportError(
        f"PyAV {av.__version__} is too old for Kinema: pip install 'av>={OLDEST_PYAV}'."
    )

DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,flv,asf,asf_o,ogg,gif,apng,"
    "rm,nut,mxf,gxf,dv,ivf,obu,av1,h261,h263,h264,hevc,vvc,evc,vc1,vc1test,mjpeg,mjpeg_2000,cavsvideo,"
    "avs2,avs3,dirac,yuv4mpegpipe,wtv,nsv,nuv,pva,ty,lxf,r3d,dhav,kux,vivo,swf,smk,bink,flic,film_cpk,"
    "4xm,roq,smjpeg,jpegxl_anim"
)
"""FFmpeg demuxers that read one file and hold video. See Note [One path opens one file]."""

LONGEST_GAP = 10.0
"""Seconds forward that are a new clock where a format's clock can begin anew (FFmpeg's
`dts_delta_threshold`)."""

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

DEEPEST_REORDERING = 16
"""Frames that a codec can hold back to reorder them (H.264, Annex A: `MaxDpbFrames`)."""


VAGUENESS = 1.0
"""Seconds by which a frame may be shown at another time than its packet says: packets may tell the
time of decoding only, or wrong times."""


@dataclass(frozen=True, eq=False)
class Shown:
    """A decoded frame and when it is shown.

    Attributes:
        frame: as the decoder gave it.
        start_seconds: when it is shown.
        duration: how long it says that it is shown, in seconds; 0 or more.
        begins_clock: whether the file's clock began anew with it.
    """

    frame: av.VideoFrame
    start_seconds: float
    duration: float
    begins_clock: bool

    @property
    def end_seconds(self) -> float:
        """When it ends by its own duration."""
        return self.start_seconds + self.duration


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
        self.container = _open(path)
        try:
            self.stream = _video_stream(self.container)
        except BaseException:
            self.container.close()
            raise
        self.kind = self.container.format.name.partition(",")[0]
        flags = self.container.format.flags
        self.may_begin_anew = bool(flags & _flag(FormatFlags.ts_discont))
        self.has_times = not flags & _flag(FormatFlags.no_timestamps)

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

    def _packets_of_whole(self, clock: _Clock) -> Iterator[av.Packet]:
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
        groups = list(_groups(_up_to_error(self._packets()), time_base))
        num_given = 0
        for run in _runs(groups, start_seconds, stop_seconds):
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

    def _shown_of(self, run: _Run, stop_seconds: float) -> Iterator[Shown] | None:
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

    def _clock(self, first_seconds: float = math.nan) -> _Clock:
        """A clock; `first_seconds` is the time of a first frame that has none."""
        rate = self.stream.average_rate
        interval = 1 / float(rate) if rate else 0.0
        time_base = self.stream.time_base or Fraction(1)
        return _Clock(time_base, interval, self.may_begin_anew, first_seconds)

    def _packets(self, clock: _Clock | None = None) -> Iterator[av.Packet]:
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

    def _shown(self, packets: Iterator[av.Packet], clock: _Clock) -> Iterator[Shown]:
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


class _Clock:
    """The times of frames, in the order in which they are shown. See Note [Times]."""

    def __init__(
        self, time_base: Fraction, interval: float, may_begin_anew: bool, first_seconds: float
    ) -> None:
        self._num, self._den = time_base.numerator, time_base.denominator
        self._interval = interval
        self._may_begin_anew = may_begin_anew
        self._last_packet: int | None = None
        self._begins_anew = False  # the packets' clock has, the frames' not yet
        self._last: float | None = None
        self._expected = first_seconds
        self._last_pts = self._last_dts = -math.inf
        self._wrong_pts = self._wrong_dts = 0

    @property
    def distrusts_container(self) -> bool:
        """Whether the times of showing ran backwards more often than those of decoding."""
        return self._wrong_pts > self._wrong_dts

    def see(self, packet: av.Packet) -> None:
        """Take note of the next packet's time of decoding."""
        if packet.dts is None or not self._may_begin_anew:
            return
        if self._last_packet is not None and packet.dts < self._last_packet:
            self._begins_anew = True
        self._last_packet = packet.dts

    def shown(self, frame: av.VideoFrame) -> Shown:
        """The next frame with its time."""
        ticks = self._ticks(frame)
        seconds = self._expected if ticks is None else float(ticks) * self._num / self._den
        begins_clock = False
        is_back = self._last is not None and seconds < self._last
        if is_back and self._begins_anew and frame.pts is None and not frame.key_frame:
            # The decoder held it back until a packet of the new clock came, whose time it got.
            seconds = self._expected
        if self._last is not None and seconds < self._last:
            reordering = max(1.0, DEEPEST_REORDERING * self._interval)
            if self._begins_anew or seconds < self._last - reordering:
                begins_clock = True
                self._begins_anew = False
            else:
                seconds = self._last
        elif self._may_begin_anew and self._last is not None:
            begins_clock = seconds > self._last + LONGEST_GAP
        duration = frame.duration * self._num / self._den if frame.duration else self._interval
        duration = max(duration, 0.0)
        self._last = seconds
        self._expected = seconds + (self._interval or duration)
        return Shown(frame, seconds, duration, begins_clock)

    def _ticks(self, frame: av.VideoFrame) -> int | None:
        """The frame's time in units of the time base; None if nothing tells it."""
        pts, dts = frame.pts, frame.dts
        if dts is not None:
            self._wrong_dts += dts <= self._last_dts
            self._last_dts = dts
        elif pts is not None:
            self._last_dts = pts
        if pts is not None:
            self._wrong_pts += pts <= self._last_pts
            self._last_pts = pts
        elif dts is not None:
            self._last_pts = dts
        if pts is None or (self.distrusts_container and dts is not None):
            return dts
        return pts


@dataclass
class _Group:
    """Packets from a key frame to the next.

    Attributes:
        first, stop: the numbers of the packets.
        earliest, latest: when their frames are shown, in seconds, as far as packets tell it.
    """

    first: int
    stop: int = 0
    earliest: float = math.inf
    latest: float = -math.inf

    def add(self, packet: av.Packet, time_base: float) -> None:
        """Take a packet in."""
        self.stop += 1
        ticks = packet.dts if packet.pts is None else packet.pts
        if ticks is not None:
            self.earliest = min(self.earliest, ticks * time_base)
            self.latest = max(self.latest, ticks * time_base)

    def may_hold(self, start_seconds: float, stop_seconds: float) -> bool:
        """Whether a frame of it may be shown in that time."""
        if self.latest < self.earliest:  # no packet tells
            return True
        return self.earliest - VAGUENESS < stop_seconds and self.latest + VAGUENESS >= start_seconds


@dataclass(frozen=True)
class _Run:
    """Packets to decode.

    Attributes:
        first, stop: the numbers of the packets.
        wanted_stop: where those end whose frames are wanted.
        earliest: the first time that is wanted.
    """

    first: int
    stop: int
    wanted_stop: int
    earliest: float


def _groups(packets: Iterable[av.Packet], time_base: float) -> Iterator[_Group]:
    """What stands before the first key frame is a group of its own."""
    group = _Group(0)
    for packet in packets:
        if packet.is_keyframe and group.stop > group.first:
            yield group
            group = _Group(group.stop, group.stop)
        group.add(packet, time_base)
    yield group


def _runs(groups: Sequence[_Group], start_seconds: float, stop_seconds: float) -> Iterator[_Run]:
    """Neighbouring groups with wanted frames, the one before them and the one behind.

    The one before, for frames shown before a key frame may need it; the one behind, for it tells
    when the last wanted frame stops.
    """
    wanted = [group.may_hold(start_seconds, stop_seconds) for group in groups]
    for is_wanted, members in itertools.groupby(range(len(groups)), wanted.__getitem__):
        if not is_wanted:
            continue
        numbers = list(members)
        first, last = numbers[0], numbers[-1]
        known = [groups[number].earliest for number in numbers]
        earliest = start_seconds if math.inf in known else max(start_seconds, min(known))
        before = groups[first - 1] if first else groups[0]
        is_same_clock = before.earliest <= groups[first].earliest
        yield _Run(
            before.first if is_same_clock else groups[first].first,
            groups[min(last + 1, len(groups) - 1)].stop,
            groups[last].stop,
            earliest,
        )


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


def _open(path: Path) -> av.container.InputContainer:
    try:
        container = av.open(
            f"file:{os.path.abspath(path)}",
            format="mjpeg" if _is_raw_mjpeg(path) else None,  # FFmpeg takes it for one picture
            metadata_errors="replace",
            # Not `options`: PyAV 17.0 gives them to each stream and counts those too early.
            container_options={"protocol_whitelist": "file", "format_whitelist": DEMUXERS},
        )
    except PermissionError:
        raise VideoError("it may not be read (no permission).") from None
    except (av.FFmpegError, UnicodeError, OSError, ValueError) as error:
        raise VideoError(_why_not_opened(path, error)) from None
    container.flags &= ~_flag(ContainerFlags.gen_pts)  # see Note [Times]
    return container


def _is_raw_mjpeg(path: Path) -> bool:
    """Whether a file is one JPEG picture behind the other."""
    with path.open("rb") as file:
        return file.read(3) == b"\xff\xd8\xff" and b"\xff\xd9\xff\xd8\xff" in file.read(4 << 20)


def _flag(flag: Any) -> int:
    """The bit of a flag; PyAV's stubs give it another type."""
    return int(flag.value)


def _why_not_opened(path: Path, error: Exception) -> str:
    if not path.stat().st_size:
        return "the file is empty."
    if isinstance(error, av.error.ArgumentError):  # what FFmpeg says of a format off the list
        return "it is not a video, or of a format that can name other files and is not read."
    return f"it cannot be read as a video ({plain(error)})."


def plain(error: Exception) -> str:
    """FFmpeg's words without the path."""
    return str(getattr(error, "strerror", None) or error)


def _video_stream(container: av.container.InputContainer) -> av.VideoStream:
    """The first video stream that is not a cover picture, set to decode on one thread.

    One thread, because with several the frame at which a video breaks is found late.
    """
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            if stream.codec_context is None:
                raise VideoError("its codec is not known to FFmpeg.")
            stream.thread_type = "SLICE"
            stream.codec_context.thread_count = 1
            if stream.codec_context.name == "mjpeg":  # it flags no frame, but can be told to fail
                stream.codec_context.options = {"err_detect": "explode"}
            return stream
    raise VideoError("it has no video stream.")
