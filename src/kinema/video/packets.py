"""Which packets of a video hold the frames of a time, by the packets alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import av

VAGUENESS = 1.0
"""Seconds by which a frame may be shown at another time than its packet says: packets may tell the
time of decoding only, or wrong times."""


@dataclass
class PacketGroup:
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
class PacketRun:
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


def packet_groups(packets: Iterable[av.Packet], time_base: float) -> Iterator[PacketGroup]:
    """What stands before the first key frame is a group of its own."""
    group = PacketGroup(0)
    for packet in packets:
        if packet.is_keyframe and group.stop > group.first:
            yield group
            group = PacketGroup(group.stop, group.stop)
        group.add(packet, time_base)
    yield group


def packet_runs(
    groups: Sequence[PacketGroup], start_seconds: float, stop_seconds: float
) -> Iterator[PacketRun]:
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
        yield PacketRun(
            before.first if is_same_clock else groups[first].first,
            groups[min(last + 1, len(groups) - 1)].stop,
            groups[last].stop,
            earliest,
        )
