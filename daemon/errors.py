"""The daemon's exceptions. Each has a stable `code` that goes over the wire with its sentence.

DaemonError
├── ConfigError       a configuration file is wrong: file, key, value and what is allowed
├── ModelError        a model cannot be loaded or used
├── CaptureError      a source cannot be read
├── StreamUnknown     no stream has this name
├── StreamExists      a stream of this name is there already
├── QuestionRefused   a question is empty, too long, or about an impossible time
├── DeviceFull        the device has no memory left for a piece of work
├── Busy              too many questions or orders at the same time
├── NotAllowed        this client may not do this
├── Stopping          the daemon stops before this is done
└── BadMessage        bytes on the socket that are not a message of ours
"""


class DaemonError(Exception):
    """Anything that the daemon refuses or cannot do."""

    code = "error"


class ConfigError(DaemonError):
    """A configuration file is wrong."""

    code = "config"


class ModelError(DaemonError):
    """A model cannot be loaded or used."""

    code = "model"


class CaptureError(DaemonError):
    """A source cannot be read."""

    code = "capture"


class StreamUnknown(DaemonError):
    """No stream has this name."""

    code = "stream_unknown"


class StreamExists(DaemonError):
    """A stream of this name is there already."""

    code = "stream_exists"


class QuestionRefused(DaemonError):
    """A question is empty, too long, or about an impossible time."""

    code = "question"


class Busy(DaemonError):
    """Too many questions or orders at the same time."""

    code = "busy"


class DeviceFull(DaemonError):
    """The device has no memory left for a piece of work. It may have some again soon."""

    code = "device_memory"


class NotAllowed(DaemonError):
    """This client may not do this."""

    code = "not_allowed"


class Stopping(DaemonError):
    """The daemon stops before this is done."""

    code = "stopping"


class BadMessage(DaemonError):
    """Bytes on the socket that are not a message of ours."""

    code = "bad_message"
