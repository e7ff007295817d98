"""Demonstrations: real pictures under version control, and small models that were trained on them."""
