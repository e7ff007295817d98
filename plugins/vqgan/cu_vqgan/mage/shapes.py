"""The sizes of a stored network, read off the shapes of its tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

from compliance_unlearn.api import ModelError
from cu_vqgan.mage.network import SPECIAL_WORDS, MageSizes
from cu_vqgan.mage.tokeniser import TokeniserSizes

Shapes = Mapping[str, torch.Size]

PUBLISHED_HEADS = {768: (12, 16), 1024: (16, 16)}
"""Attention heads of encoder and decoder by the width of the encoder: ViT-B and ViT-L of the authors."""

WORDS, CODES = "token_emb.word_embeddings.weight", "vqgan.quantize.embedding.weight"


def infer_sizes(shapes: Shapes, heads: tuple[int, int] | None, where: str) -> MageSizes:
    """Sizes of the network that these tensors belong to.

    Args:
        shapes: of all stored tensors.
        heads: attention heads of encoder and decoder, which no shape shows; None takes those of the authors.
        where: file, for messages.

    Raises:
        ModelError: these are not the tensors of a MAGE, or they contradict each other.
    """
    _require_family(shapes, where)
    tokeniser = _tokeniser_sizes(shapes, where)
    words, width = _shape(shapes, WORDS, 2, where)
    if words != tokeniser.codes + SPECIAL_WORDS:
        raise ModelError(
            f"{where}: the tokeniser has {tokeniser.codes} codes ({CODES}), so {WORDS} must have "
            f"{tokeniser.codes + SPECIAL_WORDS} rows, it has {words}: encoder and tokeniser are not of one model"
        )
    places, _ = _shape(shapes, "token_emb.position_embeddings.weight", 2, where)
    grid = int((places - 1) ** 0.5)
    if places < 2 or grid**2 != places - 1:
        raise ModelError(f"{where}: {places} positions are no square of tokens and a class token")
    heads = heads or PUBLISHED_HEADS.get(width)
    if heads is None:
        raise ModelError(
            f"{where}: width {width} is none of those published ({', '.join(map(str, PUBLISHED_HEADS))}); "
            "config.json must name heads and decoder_heads"
        )
    decoder_width = _shape(shapes, "decoder_embed.weight", 2, where)[0]
    if width % heads[0] or decoder_width % heads[1]:
        raise ModelError(f"{where}: widths {width} and {decoder_width} cannot be split into {heads} attention heads")
    return MageSizes(
        tokeniser=tokeniser,
        grid=grid,
        width=width,
        layers=_count(shapes, r"blocks\.(\d+)\."),
        heads=heads[0],
        mlp_width=_shape(shapes, "blocks.0.mlp.fc1.weight", 2, where)[0],
        decoder_width=decoder_width,
        decoder_layers=_count(shapes, r"decoder_blocks\.(\d+)\."),
        decoder_heads=heads[1],
        decoder_mlp_width=_shape(shapes, "decoder_blocks.0.mlp.fc1.weight", 2, where)[0],
    )


def require_same(shapes: Shapes, expected: Shapes, where: str) -> None:
    """Refuse a file whose tensors are not exactly those of the network.

    Raises:
        ModelError: names the first tensor that is missing, does not belong, or has another shape.
    """
    missing, unexpected = sorted(expected.keys() - shapes.keys()), sorted(shapes.keys() - expected.keys())
    problems = [
        f"{len(some)} tensors {what}, first {some[0]}"
        for some, what in ((missing, "are missing"), (unexpected, "do not belong to a MAGE"))
        if some
    ]
    if problems:
        raise ModelError(f"{where}: {'; '.join(problems)}")
    for name in sorted(expected):
        if shapes[name] != expected[name]:
            raise ModelError(
                f"{where}: {name} is {list(shapes[name])} in the file, {list(expected[name])} in a network whose "
                "other tensors are those of the file"
            )


def _require_family(shapes: Shapes, where: str) -> None:
    if WORDS not in shapes:
        other = "the encoder of a plain VQ-GAN" if "encoder.conv_in.weight" in shapes else "another family"
        raise ModelError(f"{where} holds no MAGE: {WORDS} is missing; these are tensors of {other}")
    if CODES not in shapes:
        raise ModelError(
            f"{where}: the tokeniser (vqgan.*) is missing; the checkpoints of the authors hold it, and so must this one"
        )


def _tokeniser_sizes(shapes: Shapes, where: str) -> TokeniserSizes:
    codes, code_width = _shape(shapes, CODES, 2, where)
    stem, channels, _, _ = _shape(shapes, "vqgan.encoder.conv_in.weight", 4, where)
    levels = _count(shapes, r"vqgan\.encoder\.down\.(\d+)\.")
    widths = [_shape(shapes, f"vqgan.encoder.down.{i}.block.0.conv1.weight", 4, where)[0] for i in range(levels)]
    blocks = _count(shapes, r"vqgan\.encoder\.down\.0\.block\.(\d+)\.")
    return TokeniserSizes(channels, stem, tuple(widths), blocks, codes, code_width)


def _count(shapes: Shapes, pattern: str) -> int:
    """One more than the highest number that stands in names which begin with ``pattern``."""
    found = [int(match[1]) for name in shapes if (match := re.match(pattern, name))]
    return max(found, default=-1) + 1


def _shape(shapes: Shapes, name: str, dimensions: int, where: str) -> tuple[int, ...]:
    if name not in shapes:
        raise ModelError(f"{where}: 1 tensors are missing, first {name}")
    if len(shapes[name]) != dimensions:
        raise ModelError(f"{where}: {name} has {len(shapes[name])} dimensions, expected {dimensions}")
    return tuple(shapes[name])
