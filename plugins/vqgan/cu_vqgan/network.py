"""The network of diffusers: built from a configuration, initialised, and shown as its file holds it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from cu_vqgan.config import NetworkConfig
from cu_vqgan.weights import StoredTensor


class NamedNetwork(nn.Module):
    """A `VQModel` of diffusers whose state dict has the names and shapes of its weights file.

    Parameters carry those names, too. A projection of attention that the file stores as a convolution of one pixel is a
    matrix here, of the same numbers in the same memory.
    """

    def __init__(self, network: Any, stored: Mapping[str, StoredTensor]) -> None:
        super().__init__()
        self.network = network
        self._stored = dict(stored)
        self._loaded = {tensor.name: name for name, tensor in stored.items()}
        self._shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """Parameters by the name in the file."""
        for name, parameter in self.network.named_parameters("", recurse, remove_duplicate):
            yield (f"{prefix}." if prefix else "") + self._stored[name].name, parameter

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]  # torch overloads it
        """Tensors by the name in the file; arguments as in `torch.nn.Module.state_dict`."""
        state = self.network.state_dict(*args, **kwargs)
        return {self._stored[name].name: tensor.view(self._stored[name].shape) for name, tensor in state.items()}

    def as_stored(self) -> dict[str, torch.Tensor]:
        """The state dict in the types of the file, too."""
        dtypes = {tensor.name: tensor.dtype for tensor in self._stored.values()}
        return {name: tensor.to(dtypes[name]) for name, tensor in self.state_dict().items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Undo `state_dict`; arguments as in `torch.nn.Module.load_state_dict`."""
        renamed = {self._loaded.get(name, name): tensor for name, tensor in state_dict.items()}
        reshaped = {
            name: tensor.view(self._shapes[name]) if name in self._shapes else tensor
            for name, tensor in renamed.items()
        }
        return self.network.load_state_dict(reshaped, strict=strict, assign=assign)


def build_network(config: NetworkConfig, device: str) -> Any:
    """A `VQModel` of diffusers; on the device ``meta`` it has shapes but no numbers."""
    from diffusers.models.autoencoders.vq_model import VQModel

    with torch.device(device):
        network = VQModel(**config.model_dump())
    # By default diffusers repeats a slip of the first release: the small weight went to the codes, not to the encoder.
    network.quantize.legacy = False
    return network


def initialise_network(config: NetworkConfig, generator: torch.Generator) -> Any:
    """A network with random weights that depend on the configuration and the generator alone."""
    with drawn_from(generator):
        network = build_network(config, "cpu")
        _spread_codes(network, config)
    return network


@torch.no_grad()
def _spread_codes(network: Any, config: NetworkConfig) -> None:
    """Put the codes where the encoder's vectors are, for a codebook that begins elsewhere mostly dies.

    On random pictures the vectors get mean 0 and covariance 1 through ``quant_conv``; the codes are drawn from the
    same distribution. 200 steps on faces of 32 by 32 pixels: 216 of 256 codes in use instead of 39.
    """
    shape = config.image_shape
    vectors = network.encoder(_random_pictures(shape.channels, shape.height)).movedim(1, -1).flatten(0, -2)
    spread, directions = torch.linalg.eigh(torch.cov(vectors.T).reshape(config.latent_channels, -1))
    scale = spread.clamp(min=1e-3 * spread.max().clamp(min=1e-12)).rsqrt()
    whitening = (directions * scale) @ directions.T
    network.quant_conv.weight.copy_(whitening[:, :, None, None])
    network.quant_conv.bias.copy_(-whitening @ vectors.mean(dim=0))
    network.quantize.embedding.weight.normal_()


def _random_pictures(channels: int, edge: int, count: int = 16) -> torch.Tensor:
    """Noise ``[count, channels, edge, edge]`` that is the stronger the coarser, as in pictures, of deviation 0.5."""
    pictures = torch.zeros(count, channels, edge, edge)
    cells = 2
    while cells <= edge:
        noise = torch.randn(count, channels, cells, cells) / cells**0.5
        pictures += functional.interpolate(noise, size=(edge, edge), mode="bilinear")
        cells *= 2
    return 0.5 * pictures / pictures.std()


@contextlib.contextmanager
def drawn_from(generator: torch.Generator) -> Iterator[None]:
    """Inside, what torch draws by itself follows ``generator``; the global one is put back as it was."""
    seed = int(torch.randint(2**62, (1,), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def unchanged_names(network: Any) -> dict[str, StoredTensor]:
    """How a file holds the network if nothing has another name, type or shape."""
    return {name: StoredTensor(name, tensor.dtype, tensor.shape) for name, tensor in network.state_dict().items()}
