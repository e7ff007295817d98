"""Model adapter for masked autoencoders (ViT-MAE)."""
