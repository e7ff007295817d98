"""Test double: a small, real plugin with one object of each kind."""
