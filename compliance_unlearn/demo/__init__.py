"""The demonstration: real faces under version control, and a small model that was trained on them."""
