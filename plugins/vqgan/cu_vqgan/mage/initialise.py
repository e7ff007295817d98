"""New networks with random weights."""

from __future__ import annotations

import torch
from torch import nn

from cu_vqgan.mage.network import MageNetwork, MageSizes
from cu_vqgan.mage.params import MageArchitecture
from cu_vqgan.mage.tokeniser import TokeniserSizes


def new_network(architecture: MageArchitecture, generator: torch.Generator) -> MageNetwork:
    """A network whose weights depend on the architecture and the generator alone."""
    seed = int(torch.randint(2**62, (1,), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = MageNetwork(_sizes(architecture))
        for name, part in network.named_modules():
            if isinstance(part, nn.Linear):
                nn.init.xavier_uniform_(part.weight)
                nn.init.zeros_(part.bias)
            elif isinstance(part, nn.Embedding) and not name.startswith("vqgan."):
                nn.init.normal_(part.weight, std=0.02)
        nn.init.normal_(network.decoder_pos_embed_learned, std=0.02)
        spread = 1.0 / architecture.codes
        nn.init.uniform_(network.vqgan.codebook, -spread, spread)
    return network


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
