"""Names of tensors: in the network of transformers, in the files of its releases, and in the release of the authors."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from compliance_unlearn.api import ModelError

# Releases before 5.0, and the checkpoints on the hub, nest the layers more deeply; save_pretrained of 5.x writes
# `decoder.decoder_encoder.layer.N` where they wrote `decoder.decoder_layers.N`. In memory the names are those of 5.x.
_RENAMES = (
    (re.compile(r"(^|[._])encoder\.layer\.(?=\d)"), r"\1layers."),
    (re.compile(r"\.attention\.attention\.(query|key|value)\."), lambda match: f".attention.{match[1][0]}_proj."),
    (re.compile(r"\.attention\.output\.dense\."), ".attention.o_proj."),
    (re.compile(r"\.intermediate\.dense\."), ".mlp.fc1."),
    (re.compile(r"(?<!attention)\.output\.dense\."), ".mlp.fc2."),
)

# Names of the authors (github.com/facebookresearch/mae, models_mae.py, with the blocks of timm 0.3.2). Query, key and
# value are one tensor there, and so they are in memory for such a model: see `cu_mae.fused`.
_OFFICIAL = (
    ("vit.embeddings.patch_embeddings.projection.", "patch_embed.proj."),
    ("vit.embeddings.position_embeddings", "pos_embed"),
    ("vit.embeddings.cls_token", "cls_token"),
    ("vit.layers.", "blocks."),
    ("vit.layernorm.", "norm."),
    ("decoder.decoder_layers.", "decoder_blocks."),
    ("decoder.", ""),
    (".layernorm_before.", ".norm1."),
    (".layernorm_after.", ".norm2."),
    (".attention.", ".attn."),
)


def network_name(stored: str) -> str:
    """The name that transformers 5 gives a tensor in memory, from the name that any release stored it under."""
    for pattern, replacement in _RENAMES:
        stored = pattern.sub(replacement, stored)
    return stored


def network_names(stored: Iterable[str], path: Path) -> dict[str, str]:
    """The name in memory -> the name in a file of any release of transformers.

    Raises:
        ModelError: two names are those of one tensor.
    """
    names: dict[str, str] = {}
    for name in stored:
        other = names.setdefault(network_name(name), name)
        if other != name:
            raise ModelError(f"{path}: {other} and {name} are the same tensor of the model")
    return names


def classic_name(name: str) -> str:
    """The name that every release of transformers reads, from the name in memory."""
    name = re.sub(r"^vit\.layers\.", "vit.encoder.layer.", name)
    name = re.sub(r"\.attention\.o_proj\.", ".attention.output.dense.", name)
    for word in ("query", "key", "value"):
        name = name.replace(f".attention.{word[0]}_proj.", f".attention.attention.{word}.")
    return name.replace(".mlp.fc1.", ".intermediate.dense.").replace(".mlp.fc2.", ".output.dense.")


def official_name(name: str) -> str:
    """The name in a checkpoint of the authors, from the name in memory."""
    for ours, theirs in _OFFICIAL:
        name = name.replace(ours, theirs)
    return name
