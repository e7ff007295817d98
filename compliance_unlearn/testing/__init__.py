"""Conformance tests for authors of plugins: inherit a class, say how to make your object, run pytest."""
