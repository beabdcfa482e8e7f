"""Tracing under the servers and pools that people run programs in: real ones, in front of a real relay."""
