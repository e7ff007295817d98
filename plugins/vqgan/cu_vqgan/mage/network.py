"""The network of MAGE (Li et al., CVPR 2023), built from parts of torch under the names of the released checkpoints.

Names, shapes and the order of operations are those of ``models_mage.py`` in github.com/LTH14/mage. A sequence is the
class token, then one token for each cell of the latent grid in raster order. As in the released code, the class token
is a row of the word embeddings, and the decoder fills hidden places with the encoder's output for the class token.
``cls_token``, ``pos_embed``, ``mask_token``, ``decoder_pos_embed``, ``patch_embed`` and ``decoder_pred`` are in the
checkpoints, but nothing reads them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from cu_vqgan.mage.tokeniser import Tokeniser, TokeniserSizes

SPECIAL_WORDS = 1001
"""Rows of the word embeddings behind the codes: a thousand for classes, the last one for the mask token."""

CLASS_WORD = 76
"""Which of the special words stands for the absent class: 1100 in a vocabulary with 1024 codes."""


@dataclass(frozen=True)
class MageSizes:
    """What distinguishes one network from another.

    Attributes:
        tokeniser: sizes of the VQ-GAN inside.
        grid: tokens along an edge of the image.
        width: of the encoder; so are ``layers``, ``heads`` and ``mlp_width``.
        decoder_width: of the decoder, like the other three.
    """

    tokeniser: TokeniserSizes
    grid: int
    width: int
    layers: int
    heads: int
    mlp_width: int
    decoder_width: int
    decoder_layers: int
    decoder_heads: int
    decoder_mlp_width: int

    @property
    def tokens(self) -> int:
        """Tokens of an image, without the class token."""
        return self.grid**2

    @property
    def image_size(self) -> int:
        """Edge of the images in pixels."""
        return self.grid * self.tokeniser.cell


class Attention(nn.Module):
    """Self-attention; queries, keys and values from one map."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """``[n, tokens, width]`` to the same shape."""
        count, length, width = tokens.shape
        parts = self.qkv(tokens).view(count, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(*parts.unbind(0))
        return self.proj(mixed.transpose(1, 2).reshape(count, length, width))  # type: ignore[no-any-return]


class Mlp(nn.Module):
    """Two linear maps around a GELU."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """``[n, tokens, width]`` to the same shape."""
        return self.fc2(functional.gelu(self.fc1(tokens)))  # type: ignore[no-any-return]


class Block(nn.Module):
    """A layer of a vision transformer, normalised beforehand; no dropout."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, inner)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """``[n, tokens, width]`` to the same shape."""
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))  # type: ignore[no-any-return]


class TokenEmbedding(nn.Module):
    """Words and places, normalised; the words double as the decoder's output head."""

    position_ids: torch.Tensor

    def __init__(self, words: int, places: int, width: int) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(words, width)
        self.position_embeddings = nn.Embedding(places, width)
        self.LayerNorm = nn.LayerNorm(width, eps=1e-6)
        self.register_buffer("position_ids", torch.arange(places)[None])

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Integer ``[n, places]`` to ``[n, places, width]``."""
        return self.LayerNorm(self.word_embeddings(words) + self.position_embeddings.weight)  # type: ignore[no-any-return]


class OutputHead(nn.Module):
    """Logits by comparison with the word embeddings."""

    def __init__(self, width: int, word_width: int, words: int) -> None:
        super().__init__()
        self.fc = nn.Linear(width, word_width)
        self.ln = nn.LayerNorm(word_width)
        self.bias = nn.Parameter(torch.zeros(1, 1, words))

    def forward(self, tokens: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """``[n, tokens, width]`` and the first ``k`` word embeddings ``[k, word_width]`` to ``[n, tokens, k]``."""
        return self.ln(functional.gelu(self.fc(tokens))) @ words.T + self.bias[..., : len(words)]  # type: ignore[no-any-return]


class MageNetwork(nn.Module):
    """Encoder, decoder, output head and tokeniser."""

    def __init__(self, sizes: MageSizes) -> None:
        super().__init__()
        self.sizes = sizes
        tokeniser, places = sizes.tokeniser, sizes.tokens + 1
        width, decoder_width, words = sizes.width, sizes.decoder_width, tokeniser.codes + SPECIAL_WORDS
        self.vqgan = Tokeniser(tokeniser)
        self.token_emb = TokenEmbedding(words, places, width)
        self.blocks = nn.ModuleList([Block(width, sizes.heads, sizes.mlp_width) for _ in range(sizes.layers)])
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.decoder_embed = nn.Linear(width, decoder_width)
        self.decoder_pos_embed_learned = nn.Parameter(torch.zeros(1, places, decoder_width))
        self.decoder_blocks = nn.ModuleList(
            [Block(decoder_width, sizes.decoder_heads, sizes.decoder_mlp_width) for _ in range(sizes.decoder_layers)]
        )
        self.decoder_norm = nn.LayerNorm(decoder_width, eps=1e-6)
        self.mlm_layer = OutputHead(decoder_width, width, words)
        # Stored with every released checkpoint, read by nothing.
        self.cls_token = _unused(1, 1, width)
        self.pos_embed = _unused(1, places, width)
        self.mask_token = _unused(1, 1, decoder_width)
        self.decoder_pos_embed = _unused(1, places, decoder_width)
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(tokeniser.channels, width, tokeniser.cell)})
        self.decoder_pred = nn.Linear(decoder_width, tokeniser.channels * tokeniser.cell**2)
        for part in (self.patch_embed, self.decoder_pred):
            part.requires_grad_(False)

    def encode(self, ids: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """The encoder on a grid of tokens.

        As in the released code for generation, no token is dropped: hidden ones stand in the sequence as mask tokens.
        What the encoder makes of those is read by nobody, so it is left out of the result.

        Args:
            ids: integer ``[n, tokens]``; those of hidden tokens are not looked at.
            hidden: boolean ``[n, tokens]``, with as many True in each row.

        Returns:
            After the last layer norm, the class token, then the visible ones in raster order:
            ``[n, 1 + visible, width]``.
        """
        codes = self.sizes.tokeniser.codes
        words = torch.where(hidden, codes + SPECIAL_WORDS - 1, ids)
        tokens = self.token_emb(functional.pad(words, (1, 0), value=codes + CLASS_WORD))
        for block in self.blocks:
            tokens = block(tokens)
        visible, _ = split_places(hidden)
        return take(self.norm(tokens), functional.pad(visible + 1, (1, 0)))

    def decode(self, tokens: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """The decoder for the hidden tokens.

        Attention does not see the order of tokens, so the hidden ones stay behind the visible ones.

        Args:
            tokens: ``[n, 1 + visible, width]`` from `encode`.
            hidden: boolean ``[n, tokens]``.

        Returns:
            Logits over the codes for each hidden token in raster order, ``[n, hidden, codes]``, in float32.
        """
        visible, masked = split_places(hidden)
        embedded = self.decoder_embed(tokens)
        places = functional.pad(torch.cat([visible, masked], dim=1) + 1, (1, 0))
        sequence = torch.cat([embedded, embedded[:, :1].expand(-1, masked.shape[1], -1)], dim=1)
        sequence = sequence + self.decoder_pos_embed_learned[0][places]
        for block in self.decoder_blocks:
            sequence = block(sequence)
        predicted = self.decoder_norm(sequence[:, tokens.shape[1] :])
        words = self.token_emb.word_embeddings.weight[: self.sizes.tokeniser.codes]
        return self.mlm_layer(predicted, words).float()  # type: ignore[no-any-return]


def split_places(hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Places of the visible and of the hidden tokens, each ascending: two integer ``[n, k]``.

    Args:
        hidden: boolean ``[n, tokens]``, with as many True in each row.
    """
    order = hidden.int().argsort(dim=1, stable=True)
    count = int(hidden[0].sum()) if len(hidden) else 0
    return order[:, : hidden.shape[1] - count], order[:, hidden.shape[1] - count :]


def take(rows: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Rows ``[n, k, ...]`` at ``places`` ``[n, k]``, out of ``[n, tokens, ...]``."""
    return rows[torch.arange(len(rows), device=rows.device)[:, None], places]


def _unused(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(shape), requires_grad=False)
