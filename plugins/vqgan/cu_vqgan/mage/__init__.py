"""Model adapter for MAGE: a masked generative encoder over the tokens of a VQ-GAN."""
