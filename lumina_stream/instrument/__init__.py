"""Hooks into other libraries. Each is imported by whoever uses it, never by the package itself."""
