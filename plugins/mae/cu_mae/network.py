"""The network of transformers: built from a configuration, initialised, and shown under the names of its file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from compliance_unlearn.api import ModelError
from cu_mae.params import Architecture

POSITION_TABLES = ("vit.embeddings.position_embeddings", "decoder.decoder_pos_embed")
_DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob")


class NamedNetwork(nn.Module):
    """A ViTMAEForPreTraining whose parameters and state dict carry the names of its weights file.

    Names in memory have changed between releases of transformers, and the authors of MAE have others. A model that
    was stored under such names keeps them, so that whoever compares the file before and after finds the same tensors.

    Attributes:
        network: the ViTMAEForPreTraining.
        names: its name of each tensor -> the file's name.
    """

    def __init__(self, network: Any, names: Mapping[str, str]) -> None:
        super().__init__()
        self.network = network
        self.names = dict(names)
        self._loaded = {stored: name for name, stored in names.items()}

    def encoder_tensors(self) -> frozenset[str]:
        """Names in the file of what is the encoder's: all of ``vit`` but its fixed position table."""
        return frozenset(
            stored for name, stored in self.names.items() if name.startswith("vit.") and name not in POSITION_TABLES
        )

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """Parameters by the name in the file."""
        for name, parameter in self.network.named_parameters("", recurse, remove_duplicate):
            yield (f"{prefix}." if prefix else "") + self.names[name], parameter

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]  # torch overloads it
        """Tensors by the name in the file; arguments as in `torch.nn.Module.state_dict`."""
        return {self.names[name]: tensor for name, tensor in self.network.state_dict(*args, **kwargs).items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Undo `state_dict`; arguments as in `torch.nn.Module.load_state_dict`."""
        renamed = {self._loaded.get(name, name): tensor for name, tensor in state_dict.items()}
        return self.network.load_state_dict(renamed, strict=strict, assign=assign)


def architecture_config(architecture: Architecture, mask_ratio: float) -> dict[str, Any]:
    """The configuration of a new model in the words of transformers."""
    return {
        "architectures": ["ViTMAEForPreTraining"],
        "attention_probs_dropout_prob": 0.0,
        "decoder_hidden_size": architecture.decoder_hidden_size,
        "decoder_intermediate_size": architecture.decoder_intermediate_size,
        "decoder_num_attention_heads": architecture.decoder_heads,
        "decoder_num_hidden_layers": architecture.decoder_layers,
        "dtype": "float32",
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "hidden_size": architecture.hidden_size,
        "image_size": architecture.image_size,
        "initializer_range": 0.02,
        "intermediate_size": architecture.intermediate_size,
        "layer_norm_eps": 1e-12,
        "mask_ratio": mask_ratio,
        "model_type": "vit_mae",
        "norm_pix_loss": architecture.norm_pix_loss,
        "num_attention_heads": architecture.heads,
        "num_channels": architecture.channels,
        "num_hidden_layers": architecture.layers,
        "patch_size": architecture.patch_size,
        "qkv_bias": True,
    }


def complete_config(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The architecture that a ``config.json`` describes, with the defaults of transformers for what it leaves out.

    Dropout is turned off: no ViT-MAE was trained with it, and it would draw from a generator that nobody seeds.

    Raises:
        ModelError: a value has the wrong type.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers.activations import ACT2FN
    from transformers.models.vit_mae.configuration_vit_mae import ViTMAEConfig

    names = [name for name in ViTMAEConfig.__annotations__ if name != "model_type"]
    given = {name: stored[name] for name in names if name in stored} | dict.fromkeys(_DROPOUTS, 0.0)
    try:
        config = ViTMAEConfig(**given)
    except (StrictDataclassError, TypeError, ValueError) as error:
        raise ModelError(f"config.json does not describe a ViT-MAE: {' '.join(str(error).split())}") from error
    if config.hidden_act not in ACT2FN:
        raise ModelError("config.json does not describe a ViT-MAE: hidden_act is no activation that transformers has")
    return {name: getattr(config, name) for name in names}


def build_network(config: Mapping[str, Any], device: str) -> Any:
    """A ViTMAEForPreTraining; on the device ``meta`` it has shapes but no numbers."""
    from transformers.models.vit_mae.configuration_vit_mae import ViTMAEConfig
    from transformers.models.vit_mae.modeling_vit_mae import ViTMAEForPreTraining

    with torch.device(device):
        # Sequences are short: plain attention takes half the time of the fused kernel's backward pass on a CPU in bf16.
        return ViTMAEForPreTraining(ViTMAEConfig(**config, attn_implementation="eager"))


def initialise_network(config: Mapping[str, Any], generator: torch.Generator) -> Any:
    """A network with random weights that depend on the configuration and the generator alone."""
    seed = int(torch.randint(2**62, (1,), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = build_network(config, "cpu")
        _fill_tables(network)
        # transformers draws linear maps from N(0, 0.02²); the authors of MAE use Xavier's, which learns faces faster
        # (300 steps: 20.2 dB against 18.8 on the hidden centre).
        for part in network.modules():
            if isinstance(part, nn.Linear):
                nn.init.xavier_uniform_(part.weight)
    return network


def _fill_tables(network: Any) -> None:
    # transformers 5.23 initialises modules from the leaves up and takes the embeddings for done once their projection
    # is, and it writes zeros over the decoder's tables: both position tables stay zero. Its own functions fill them
    # with sines and cosines in the order (width before height) of the published checkpoints.
    embeddings, decoder = network.vit.embeddings, network.decoder
    embeddings.patch_embeddings.projection._is_hf_initialized = False
    embeddings.initialize_weights()
    decoder.initialize_weights(embeddings.patch_embeddings.num_patches)
    if zero_tables(network):
        raise ModelError("this release of transformers leaves the position tables of a new ViT-MAE empty")


def zero_tables(network: Any) -> list[str]:
    """Names of the position tables that hold nothing but zeros: such a model cannot tell places apart."""
    return [name for name in POSITION_TABLES if not network.get_parameter(name).any()]
