"""Structured hostile input for everything that decodes what others wrote."""
