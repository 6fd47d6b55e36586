"""`serve_camera`: a camera on loopback that shows a rendered yard by the clock, as JPEGs over HTTP."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2

from longwatch.yard.scene import Scene

FPS = 5


class _Camera(BaseHTTPRequestHandler):
    """Shows each viewer the yard from its first second on, until that hangs up."""

    scene = Scene.from_url("scene://?seed=5&busy=0.9")

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        began = time.monotonic()
        with contextlib.suppress(OSError):
            while True:
                picture = cv2.imencode(".jpg", self.scene.render(time.monotonic() - began))[1].tobytes()
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                self.wfile.write(head.encode() + picture + b"\r\n")
                time.sleep(1 / FPS)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def serve_camera() -> Iterator[str]:
    """The address of a camera that runs until the end of the context."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Camera)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/camera"
    finally:
        server.shutdown()
        server.server_close()
