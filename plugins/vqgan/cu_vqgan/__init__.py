"""Model adapter for VQ-GANs."""
