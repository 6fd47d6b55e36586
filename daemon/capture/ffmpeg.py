"""The options of FFmpeg for each kind of address: which protocols it may speak, and which kinds of file it may read.

An enemy may have made a file, or a camera's answer. A playlist (HLS, DASH, concat, SDP) could make the daemon read any
local file, or ask any address in its network, and the reader for text terminals makes a legible picture of any text. So
only what is video itself is read. Knows nothing of OpenCV but how it takes FFmpeg's options.
"""

from __future__ import annotations

_VIDEO = (
    *("mov", "mp4", "matroska", "webm", "avi", "mpegts", "mpeg", "flv", "asf", "ogg", "mxf", "nut", "dv"),
    *("h264", "hevc", "av1", "obu", "ivf", "m4v", "mpegvideo", "mjpeg", "gif"),
)
_WEB = (*_VIDEO, "mpjpeg", "jpeg_pipe", "png_pipe", "webp_pipe")  # cameras send pictures, one by one
_RTSP = ("rtsp", "mpegts")
_MOST_TIMEOUT_SECONDS = 2000  # FFmpeg counts some of them in microseconds, in 32 bits


def options(scheme: str, timeout_seconds: float) -> str:
    """The value of `OPENCV_FFMPEG_CAPTURE_OPTIONS`. It replaces OpenCV's own, so TCP for RTSP must be said here again.

    Args:
        scheme: of the address; `file` for a path.
        timeout_seconds: the longest that a socket may be silent.
    """
    timeout = f"timeout;{int(min(timeout_seconds, _MOST_TIMEOUT_SECONDS) * 1e6)}"
    if scheme.startswith("rtsp"):
        return _joined("rtsp,rtp,tcp,udp,tls,srtp,crypto", _RTSP, "rtsp_transport;tcp", timeout)
    if scheme.startswith("http"):
        return _joined("http,https,tcp,tls", _WEB, timeout)
    return _joined("file", _VIDEO)


def _joined(protocols: str, formats: tuple[str, ...], *others: str) -> str:
    return "|".join([f"protocol_whitelist;{protocols}", f"format_whitelist;{','.join(formats)}", *others])
