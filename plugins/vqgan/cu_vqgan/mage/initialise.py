"""New networks with random weights."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from cu_vqgan.mage.network import MageNetwork, MageSizes
from cu_vqgan.mage.params import MageArchitecture
from cu_vqgan.mage.tokeniser import TokeniserSizes
from cu_vqgan.network import drawn_from


def new_network(architecture: MageArchitecture, generator: torch.Generator) -> MageNetwork:
    """A network whose weights depend on the architecture and the generator alone."""
    with drawn_from(generator):
        network = MageNetwork(_sizes(architecture))
        for name, part in network.named_modules():
            if isinstance(part, nn.Linear):
                nn.init.xavier_uniform_(part.weight)
                nn.init.zeros_(part.bias)
            elif isinstance(part, nn.Embedding) and not name.startswith("vqgan."):
                nn.init.normal_(part.weight, std=0.02)
        nn.init.normal_(network.decoder_pos_embed_learned, std=0.02)
        _spread_codes(network)
    return network


@torch.no_grad()
def _spread_codes(network: MageNetwork) -> None:
    """Put codes and latents in one place: latents of random pictures get mean 0 and covariance 1, codes are drawn so.

    From the published start, all codes near zero, latents ran away and 18 of 256 were in use after 100 steps on faces.
    """
    sizes, tokeniser = network.sizes, network.vqgan
    coarse = torch.randn(32, sizes.tokeniser.channels, sizes.grid, sizes.grid)
    pictures = functional.interpolate(0.5 * coarse, size=(sizes.image_size, sizes.image_size), mode="bilinear")
    rows = tokeniser.encoder(pictures).movedim(1, -1).flatten(0, -2)
    variances, directions = torch.linalg.eigh(torch.cov(rows.T).reshape(rows.shape[1], -1))
    scales = variances.clamp(min=1e-3 * float(variances.max())).rsqrt()
    whitening = (directions * scales) @ directions.T
    last = tokeniser.encoder.conv_out
    last.weight.copy_((whitening @ last.weight[:, :, 0, 0])[:, :, None, None])
    assert last.bias is not None  # a convolution of the published layout
    last.bias.copy_(whitening @ (last.bias - rows.mean(dim=0)))
    tokeniser.codebook.normal_()


def _sizes(architecture: MageArchitecture) -> MageSizes:
    widths = architecture.tokeniser_widths
    return MageSizes(
        tokeniser=TokeniserSizes(
            channels=architecture.channels,
            stem=widths[0],
            widths=widths,
            blocks=architecture.tokeniser_blocks,
            codes=architecture.codes,
            code_width=architecture.code_width,
        ),
        grid=architecture.image_size // architecture.cell,
        width=architecture.width,
        layers=architecture.layers,
        heads=architecture.heads,
        mlp_width=architecture.width * architecture.mlp_ratio,
        decoder_width=architecture.decoder_width,
        decoder_layers=architecture.decoder_layers,
        decoder_heads=architecture.decoder_heads,
        decoder_mlp_width=architecture.decoder_width * architecture.mlp_ratio,
    )
