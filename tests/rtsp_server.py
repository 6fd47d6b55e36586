"""A real RTSP camera for tests: serves H.264 of whatever pictures a test gives it.

The server is GStreamer's GstRtspServer from Debian (`tests/install_debian.sh`), run as a subprocess of
`/usr/bin/python3`, for which Debian's bindings are made. Looked at and not taken: GStreamer's own wheels on PyPI exist
for macOS and Windows only; the RTSP servers on npm only relay what a second program must push. It is not written by
us, so that it does not share our misunderstandings.

    with RtspServer(lambda number: picture, user="ann", password="secret") as camera:
        camera.url       # rtsp://ann:secret@127.0.0.1:PORT/camera
        camera.pause()   # the connection stays, no more frames come
        camera.kill()    # SIGKILL; start() brings it back on the same port

By hand: `python -m tests.rtsp_server [PORT]` serves the rendered yard.
"""

from __future__ import annotations

import contextlib
import functools
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

_SYSTEM_PYTHON = "/usr/bin/python3"
_CHECK = 'import gi; gi.require_version("GstRtspServer", "1.0"); gi.require_version("GstApp", "1.0")'


@functools.cache
def is_available() -> bool:
    """Whether this machine has the server."""
    try:
        return subprocess.run([_SYSTEM_PYTHON, "-c", _CHECK], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


class RtspServer:
    """One camera at `rtsp://127.0.0.1:PORT/camera`.

    Args:
        paint: the picture of a frame number, BGR uint8 `[height, width, 3]`.
        fps: frames in a second, at real pace.
        user, password: asked for by digest where given.
        port: 0 for any free one.
    """

    def __init__(
        self,
        paint: Callable[[int], Any],
        *,
        width: int = 320,
        height: int = 240,
        fps: int = 10,
        user: str = "",
        password: str = "",
        port: int = 0,
    ) -> None:
        self.port = port
        self._paint, self._fps = paint, fps
        self._options = [str(width), str(height), str(fps), user, password]
        self._login = f"{user}:{password}@" if user else ""
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = threading.Event()
        self._feeder: threading.Thread | None = None

    @property
    def url(self) -> str:
        """With the right user and password."""
        return f"rtsp://{self._login}127.0.0.1:{self.port}/camera"

    def start(self) -> None:
        """Returns when the server listens."""
        self._process = subprocess.Popen(
            [_SYSTEM_PYTHON, __file__, "--serve", str(self.port), *self._options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self._paused.clear()
        self._feeder = threading.Thread(target=self._feed, args=(self._process,), daemon=True)
        self._feeder.start()

    def pause(self) -> None:
        """No more frames come, but the connection stays: a camera that hangs."""
        self._paused.set()

    def resume(self) -> None:
        """Frames come again."""
        self._paused.clear()

    def kill(self) -> None:
        """SIGKILL."""
        process, self._process = self._process, None
        if process is None or self._feeder is None:
            return
        process.kill()
        process.wait()
        self._feeder.join()
        assert process.stdout is not None
        process.stdout.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _feed(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        began, number = time.monotonic(), 0
        try:
            while process.poll() is None:
                if not self._paused.is_set():
                    process.stdin.write(self._paint(number).tobytes())
                    process.stdin.flush()
                number += 1
                time.sleep(max(0.0, began + number / self._fps - time.monotonic()))
        except BrokenPipeError:
            pass
        finally:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()


def serve(port: str, width: str, height: str, fps: str, user: str, password: str) -> None:
    """The server process: raw frames on stdin, its port on stdout. Runs under Debian's Python, without longwatch."""
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtsp, GstRtspServer

    Gst.init(None)
    server, factory = GstRtspServer.RTSPServer(), GstRtspServer.RTSPMediaFactory()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory.set_shared(True)
    factory.set_launch(
        "( appsrc name=frames is-live=true do-timestamp=true format=time "
        f"caps=video/x-raw,format=BGR,width={width},height={height},framerate={fps}/1 "
        "! videoconvert ! x264enc tune=zerolatency speed-preset=ultrafast "
        f"key-int-max={fps} ! rtph264pay name=pay0 pt=96 config-interval=1 )"
    )
    if user:
        auth, token = GstRtspServer.RTSPAuth(), GstRtspServer.RTSPToken()
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        token.set_string("media.factory.role", "user")
        auth.add_digest(user, password, token)
        permissions = GstRtspServer.RTSPPermissions()
        for what in ("media.factory.access", "media.factory.construct"):
            permissions.add_permission_for_role("user", what, True)
        factory.set_permissions(permissions)
        server.set_auth(auth)
    inlets: list[Any] = []  # the appsrc of the media that is being watched now, if any

    def configured(_: object, media: Any) -> None:
        inlets[:] = [media.get_element().get_by_name("frames")]
        media.connect("unprepared", lambda _: inlets.clear())

    factory.connect("media-configure", configured)
    server.get_mount_points().add_factory("/camera", factory)
    server.attach(None)
    loop = GLib.MainLoop()

    def pump() -> None:
        size = int(width) * int(height) * 3
        while len(frame := sys.stdin.buffer.read(size)) == size:
            for inlet in inlets:
                inlet.emit("push-buffer", Gst.Buffer.new_wrapped(frame))
        loop.quit()

    threading.Thread(target=pump, daemon=True).start()
    print(server.get_bound_port(), flush=True)
    loop.run()


def main() -> None:
    """Serves the rendered yard until Ctrl-C."""
    from longwatch.yard.scene import Scene
    from longwatch.yard.state import HEIGHT, WIDTH

    yard = Scene(seed=7)
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8554
    with RtspServer(lambda number: yard.render(number / 10), width=WIDTH, height=HEIGHT, port=port) as camera:
        print(camera.url)
        threading.Event().wait()


if __name__ == "__main__":
    serve(*sys.argv[2:]) if sys.argv[1:2] == ["--serve"] else main()
