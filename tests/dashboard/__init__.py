"""The dashboard in a real browser, before a real relay with real producers."""
