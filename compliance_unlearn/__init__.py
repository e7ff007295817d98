"""Erasure requests for image-to-image generative models: policy in, unlearned model and audit evidence out."""

__version__ = "0.1.0"
