"""`refusal`: the error reply that an exception becomes."""

from __future__ import annotations

from ..memory.errors import StorageError
from ..retrieval.errors import RetrievalError
from .errors import DaemonError
from .log import get_logger
from .protocol import ErrorReply

EXPECTED = (DaemonError, StorageError, RetrievalError)
_log = get_logger("refusal")


def refusal(request_id: str, exc: BaseException, doing: str) -> ErrorReply:
    """The reply for a client. An exception that is a mistake of ours is also logged, with its traceback.

    Args:
        doing: what failed, as in "the order failed".
    """
    if isinstance(exc, EXPECTED):
        return ErrorReply(request_id=request_id, code=getattr(exc, "code", "memory"), message=str(exc))
    _log.error(f"{doing} failed", exc_info=exc)
    return ErrorReply(request_id=request_id, code="internal", message=f"{doing} failed; the daemon's log says why")
