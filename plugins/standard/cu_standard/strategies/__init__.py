"""The unlearning methods, one a file."""
