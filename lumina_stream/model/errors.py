"""Every error that lumina_stream raises on purpose has `LuminaError` as its base."""


class LuminaError(Exception):
    """Something lumina_stream can name went wrong; the message says what, with which value, and what to do."""


class ConfigurationError(LuminaError):
    """`init()`, a command or a variable was given a value that cannot be used."""


class DecodeError(LuminaError):
    """Bytes are not what the event or frame format says."""


class ProtocolError(LuminaError):
    """A peer broke the protocol; `LocalProtocolError` and `RemoteProtocolError` say whose fault it was."""


class LocalProtocolError(ProtocolError):
    """This side asked its own machine for something that is not allowed in its state."""


class RemoteProtocolError(ProtocolError):
    """The peer sent something that is not allowed; `code` is the WebSocket close code to answer with."""

    def __init__(self, message: str, *, code: int = 1002) -> None:
        super().__init__(message)
        self.code = code


class ConnectionFailed(LuminaError):
    """A relay could not be reached, or refused; the message names the URL and the way out."""


class ConnectionEnded(LuminaError):
    """An open connection is gone; `code` is the WebSocket close code, None if it just broke."""

    def __init__(self, message: str, *, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code
