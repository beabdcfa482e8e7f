"""The version, read by the build and by the relay."""

__version__ = "0.1.0"
