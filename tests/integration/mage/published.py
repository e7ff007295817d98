"""The published layout of MAGE at a small size, and its published arithmetic, written here a second time.

Names and shapes follow ``models_mage.py``, ``taming/models/vqgan.py`` and ``config/vqgan.yaml`` of
github.com/LTH14/mage; the tokeniser's blocks follow its copy in github.com/LTH14/rcg. Nothing of the adapter is used.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

SIZE, CELL, GRID = 16, 4, 4
WIDTHS, CODES, CODE_WIDTH, BLOCKS = (32, 32, 64), 24, 6, 2
WIDTH, LAYERS, HEADS = 16, 2, 4
DECODER_WIDTH, DECODER_LAYERS, DECODER_HEADS = 12, 2, 2
WORDS = CODES + 1000 + 1
CLASS, MASK = CODES + 1100 - 1024, WORDS - 1

Tensors = dict[str, torch.Tensor]


def published_shapes() -> dict[str, tuple[int, ...]]:
    """Shape of every floating-point tensor of a checkpoint by its name."""
    places = GRID * GRID + 1
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, WIDTH),
        "pos_embed": (1, places, WIDTH),
        "mask_token": (1, 1, DECODER_WIDTH),
        "decoder_pos_embed": (1, places, DECODER_WIDTH),
        "decoder_pos_embed_learned": (1, places, DECODER_WIDTH),
        "token_emb.word_embeddings.weight": (WORDS, WIDTH),
        "token_emb.position_embeddings.weight": (places, WIDTH),
        "patch_embed.proj.weight": (WIDTH, 3, CELL, CELL),
        "patch_embed.proj.bias": (WIDTH,),
        "mlm_layer.bias": (1, 1, WORDS),
        "vqgan.quantize.embedding.weight": (CODES, CODE_WIDTH),
    }
    for name, width in (("token_emb.LayerNorm", WIDTH), ("norm", WIDTH), ("decoder_norm", DECODER_WIDTH)):
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    shapes |= {"mlm_layer.ln.weight": (WIDTH,), "mlm_layer.ln.bias": (WIDTH,)}
    for part, outer, inner in (
        ("decoder_embed", DECODER_WIDTH, WIDTH),
        ("decoder_pred", 3 * CELL * CELL, DECODER_WIDTH),
        ("mlm_layer.fc", WIDTH, DECODER_WIDTH),
    ):
        shapes |= {f"{part}.weight": (outer, inner), f"{part}.bias": (outer,)}
    for prefix, count, width in (("blocks", LAYERS, WIDTH), ("decoder_blocks", DECODER_LAYERS, DECODER_WIDTH)):
        for layer in range(count):
            shapes |= _block_shapes(f"{prefix}.{layer}", width)
    return shapes | _tokeniser_shapes()


def _block_shapes(name: str, width: int) -> dict[str, tuple[int, ...]]:
    maps = {"attn.qkv": (3 * width, width), "attn.proj": (width, width)}
    maps |= {"mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
    shapes: dict[str, tuple[int, ...]] = {f"{name}.{part}.weight": shape for part, shape in maps.items()}
    shapes |= {f"{name}.{part}.bias": shape[:1] for part, shape in maps.items()}
    for norm in ("norm1", "norm2"):
        shapes |= {f"{name}.{norm}.weight": (width,), f"{name}.{norm}.bias": (width,)}
    return shapes


def _tokeniser_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "vqgan.encoder.conv_in.weight": (WIDTHS[0], 3, 3, 3),
        "vqgan.encoder.conv_out.weight": (CODE_WIDTH, WIDTHS[-1], 1, 1),
        "vqgan.encoder.conv_out.bias": (CODE_WIDTH,),
        "vqgan.decoder.conv_in.weight": (WIDTHS[-1], CODE_WIDTH, 3, 3),
        "vqgan.decoder.conv_in.bias": (WIDTHS[-1],),
        "vqgan.decoder.conv_out.weight": (3, WIDTHS[0], 3, 3),
        "vqgan.decoder.conv_out.bias": (3,),
    }
    for side, last in (("encoder", WIDTHS[-1]), ("decoder", WIDTHS[0])):
        shapes |= {f"vqgan.{side}.norm_out.{part}": (last,) for part in ("weight", "bias")}
        for middle in ("block_1", "block_2"):
            shapes |= _residual_shapes(f"vqgan.{side}.mid.{middle}", WIDTHS[-1], WIDTHS[-1])
    for level, width in enumerate(WIDTHS):
        above, below = WIDTHS[max(level - 1, 0)], WIDTHS[min(level + 1, len(WIDTHS) - 1)]
        for block in range(BLOCKS):
            shapes |= _residual_shapes(f"vqgan.encoder.down.{level}.block.{block}", width if block else above, width)
            shapes |= _residual_shapes(f"vqgan.decoder.up.{level}.block.{block}", width if block else below, width)
        if level:
            shapes[f"vqgan.decoder.up.{level}.upsample.conv.weight"] = (width, width, 3, 3)
            shapes[f"vqgan.decoder.up.{level}.upsample.conv.bias"] = (width,)
    return shapes


def _residual_shapes(name: str, inner: int, outer: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        f"{name}.norm1.weight": (inner,),
        f"{name}.norm1.bias": (inner,),
        f"{name}.conv1.weight": (outer, inner, 3, 3),
        f"{name}.norm2.weight": (outer,),
        f"{name}.norm2.bias": (outer,),
        f"{name}.conv2.weight": (outer, outer, 3, 3),
    }
    return shapes if inner == outer else {**shapes, f"{name}.nin_shortcut.weight": (outer, outer, 1, 1)}


def published_tensors(seed: int = 0) -> Tensors:
    """Random tensors of every published name, large enough that each one that is read matters."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in published_shapes().items():
        inputs = math.prod(shape[1:]) if len(shape) in (2, 4) else 1
        tensors[name] = torch.randn(shape, generator=generator) / (inputs**0.5 if inputs > 1 else 4.0)
        if name.endswith("weight") and len(shape) == 1:
            tensors[name] += 1.0
    tensors["vqgan.quantize.embedding.weight"] = torch.randn(CODES, CODE_WIDTH, generator=generator)
    tensors["token_emb.position_ids"] = torch.arange(GRID * GRID + 1)[None]
    return tensors


def latents(tensors: Tensors, images: torch.Tensor) -> torch.Tensor:
    """What the tokeniser quantises: ``[n, 3, 16, 16]`` to ``[n, code width, 4, 4]``."""
    x = functional.conv2d(images, tensors["vqgan.encoder.conv_in.weight"], padding=1)
    for level in range(len(WIDTHS)):
        for block in range(BLOCKS):
            x = _residual(tensors, f"vqgan.encoder.down.{level}.block.{block}", x)
        if level < len(WIDTHS) - 1:
            x = x.view(*x.shape[:2], x.shape[2] // 2, 2, x.shape[3] // 2, 2).mean(dim=(3, 5))
    x = _swish(_group_norm(tensors, "vqgan.encoder.norm_out", _middle(tensors, "vqgan.encoder", x)))
    return _convolution(tensors, "vqgan.encoder.conv_out", x, padding=0)


def tokens(tensors: Tensors, images: torch.Tensor) -> torch.Tensor:
    """Ids of the nearest codes, integer ``[n, 16]``."""
    rows = latents(tensors, images).flatten(2).transpose(1, 2)
    return torch.cdist(rows, tensors["vqgan.quantize.embedding.weight"]).argmin(dim=2)


def pictures(tensors: Tensors, codes: torch.Tensor) -> torch.Tensor:
    """Images ``[n, 3, 16, 16]`` from codes ``[n, 16, code width]``."""
    x = codes.transpose(1, 2).reshape(len(codes), CODE_WIDTH, GRID, GRID)
    x = _convolution(tensors, "vqgan.decoder.conv_in", x, padding=1)
    x = _middle(tensors, "vqgan.decoder", x)
    for level in reversed(range(len(WIDTHS))):
        for block in range(BLOCKS):
            x = _residual(tensors, f"vqgan.decoder.up.{level}.block.{block}", x)
        if level:
            x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
            x = _convolution(tensors, f"vqgan.decoder.up.{level}.upsample.conv", x, padding=1)
    x = _swish(_group_norm(tensors, "vqgan.decoder.norm_out", x))
    return _convolution(tensors, "vqgan.decoder.conv_out", x, padding=1)


def _middle(tensors: Tensors, side: str, x: torch.Tensor) -> torch.Tensor:
    for block in ("block_1", "block_2"):
        x = _residual(tensors, f"{side}.mid.{block}", x)
    return x


def _convolution(tensors: Tensors, name: str, x: torch.Tensor, padding: int) -> torch.Tensor:
    return functional.conv2d(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"], padding=padding)


def _residual(tensors: Tensors, name: str, x: torch.Tensor) -> torch.Tensor:
    h = _swish(_group_norm(tensors, f"{name}.norm1", x))
    h = functional.conv2d(h, tensors[f"{name}.conv1.weight"], padding=1)
    h = _swish(_group_norm(tensors, f"{name}.norm2", h))
    h = functional.conv2d(h, tensors[f"{name}.conv2.weight"], padding=1)
    shortcut = tensors.get(f"{name}.nin_shortcut.weight")
    return h + (x if shortcut is None else functional.conv2d(h, shortcut))


def _swish(x: torch.Tensor) -> torch.Tensor:
    return x / (1.0 + (-x).exp())


def _group_norm(tensors: Tensors, name: str, x: torch.Tensor) -> torch.Tensor:
    groups = x.view(len(x), 32, -1, *x.shape[2:])
    variance, mean = torch.var_mean(groups, dim=(2, 3, 4), keepdim=True, correction=0)
    scaled = ((groups - mean) / (variance + 1e-6).sqrt()).flatten(1, 2)
    return scaled * tensors[f"{name}.weight"][:, None, None] + tensors[f"{name}.bias"][:, None, None]


def encoded(tensors: Tensors, ids: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """All tokens after the encoder, hidden ones included, none dropped: ``[n, 17, width]``."""
    words = ids.clone()
    words[hidden] = MASK
    words = torch.cat([torch.full((len(ids), 1), CLASS), words], dim=1)
    x = tensors["token_emb.word_embeddings.weight"][words] + tensors["token_emb.position_embeddings.weight"]
    x = _layer_norm(tensors, "token_emb.LayerNorm", x, 1e-6)
    for layer in range(LAYERS):
        x = _transformer_block(tensors, f"blocks.{layer}", x, HEADS)
    return _layer_norm(tensors, "norm", x, 1e-6)


def predicted(tensors: Tensors, features: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """Logits over the codes at every place, ``[n, 16, codes]``, from all tokens ``[n, 17, width]``."""
    x = features @ tensors["decoder_embed.weight"].T + tensors["decoder_embed.bias"]
    masked = torch.cat([torch.zeros(len(hidden), 1, dtype=torch.bool), hidden], dim=1)
    x = torch.where(masked[..., None], x[:, :1], x) + tensors["decoder_pos_embed_learned"]
    for layer in range(DECODER_LAYERS):
        x = _transformer_block(tensors, f"decoder_blocks.{layer}", x, DECODER_HEADS)
    x = _layer_norm(tensors, "decoder_norm", x, 1e-6)
    x = functional.gelu(x @ tensors["mlm_layer.fc.weight"].T + tensors["mlm_layer.fc.bias"])
    x = _layer_norm(tensors, "mlm_layer.ln", x, 1e-5)
    logits = x @ tensors["token_emb.word_embeddings.weight"].T + tensors["mlm_layer.bias"]
    return logits[:, 1:, :CODES]


def _transformer_block(tensors: Tensors, name: str, x: torch.Tensor, heads: int) -> torch.Tensor:
    def linear(part: str, value: torch.Tensor) -> torch.Tensor:
        return value @ tensors[f"{name}.{part}.weight"].T + tensors[f"{name}.{part}.bias"]

    queries, keys, values = linear("attn.qkv", _layer_norm(tensors, f"{name}.norm1", x, 1e-6)).chunk(3, dim=2)
    mixed = []
    for query, key, value in zip(*(part.chunk(heads, dim=2) for part in (queries, keys, values)), strict=True):
        scores = query @ key.transpose(1, 2) / query.shape[2] ** 0.5
        mixed.append(scores.softmax(dim=2) @ value)
    x = x + linear("attn.proj", torch.cat(mixed, dim=2))
    return x + linear("mlp.fc2", functional.gelu(linear("mlp.fc1", _layer_norm(tensors, f"{name}.norm2", x, 1e-6))))


def _layer_norm(tensors: Tensors, name: str, x: torch.Tensor, epsilon: float) -> torch.Tensor:
    variance, mean = torch.var_mean(x, dim=2, keepdim=True, correction=0)
    return (x - mean) / (variance + epsilon).sqrt() * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]
