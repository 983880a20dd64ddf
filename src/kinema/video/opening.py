"""How a file from a stranger is opened: as one plain file, by demuxers that read no other.

Note [One path opens one file]
    A video from a stranger must not make us read another file or the network. FFmpeg has demuxers
    that open what a text file names (concat, hls, dash, sdp, image2 patterns) whatever the file is
    called. So a path is opened as a plain file (`file:` before it, and no other protocol), and only
    by the demuxers of `DEMUXERS`, which read the file that they are given and no other. FFmpeg
    checks that list after it has recognised a format and before the demuxer reads anything.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import av
from av.container import Flags as ContainerFlags

from kinema.skipped import VideoError

OLDEST_PYAV, NEXT_PYAV = 17, 19
"""Older ones know neither threads of a conversion nor, before 15, what a stream is for; 19 took
`metadata_errors` away and has fractions of its own."""

if not OLDEST_PYAV <= int(av.__version__.partition(".")[0]) < NEXT_PYAV:
    raise ImportError(  # else each video would be skipped
        f"Kinema does not know PyAV {av.__version__}: pip install 'av>={OLDEST_PYAV},<{NEXT_PYAV}'."
    )

DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,flv,asf,asf_o,ogg,gif,apng,"
    "rm,nut,mxf,gxf,dv,ivf,obu,av1,h261,h263,h264,hevc,vvc,evc,vc1,vc1test,mjpeg,mjpeg_2000,cavsvideo,"
    "avs2,avs3,dirac,yuv4mpegpipe,wtv,nsv,nuv,pva,ty,lxf,r3d,dhav,kux,vivo,swf,smk,bink,flic,film_cpk,"
    "4xm,roq,smjpeg,jpegxl_anim"
)
"""FFmpeg demuxers that read one file and hold video. See Note [One path opens one file]."""


def open_file(path: Path) -> av.container.InputContainer:
    """The container of one video file. See Note [One path opens one file]."""
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
    container.flags &= ~flag_bit(ContainerFlags.gen_pts)  # see Note [Times]
    return container


def _is_raw_mjpeg(path: Path) -> bool:
    """Whether a file is one JPEG picture behind the other."""
    with path.open("rb") as file:
        return file.read(3) == b"\xff\xd8\xff" and b"\xff\xd9\xff\xd8\xff" in file.read(4 << 20)


def _why_not_opened(path: Path, error: Exception) -> str:
    if not path.stat().st_size:
        return "the file is empty."
    if isinstance(error, av.error.ArgumentError):  # what FFmpeg says of a format off the list
        return "it is not a video, or of a format that can name other files and is not read."
    return f"it cannot be read as a video ({plain(error)})."


def video_stream(container: av.container.InputContainer) -> av.VideoStream:
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


def flag_bit(flag: Any) -> int:
    """The bit of a flag; PyAV's stubs give it another type."""
    return int(flag.value)


def plain(error: Exception) -> str:
    """FFmpeg's words without the path."""
    return str(getattr(error, "strerror", None) or error)
