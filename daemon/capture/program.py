"""The program of a capture process. It says that it lives before it imports what takes long.

Started as `python -m longwatch.daemon.capture.program FD`, where FD is one end of a socket. See `grabber` for what
goes over it. Ends when the socket is closed, or its parent ends.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time

from .heart import Heart
from .pipe import MessagePipe


def _end_with_parent(parent: int) -> None:
    """Ends this process when its parent is gone, even while a read hangs that nothing else could end."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)


def main() -> None:
    """The process's life."""
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    pipe = MessagePipe(socket.socket(fileno=int(sys.argv[1])), patient=True)
    heart = Heart(pipe)
    from .grabber import serve  # takes seconds if 64 of us start at once

    try:
        serve(pipe, heart)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the daemon has hung up
    finally:
        pipe.close()


if __name__ == "__main__":
    main()
