"""Model adapter for conditional diffusion models in pixel space."""
