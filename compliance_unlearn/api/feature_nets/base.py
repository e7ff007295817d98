"""What all feature networks have in common."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import TYPE_CHECKING, final

from compliance_unlearn.api.errors import ModelError

if TYPE_CHECKING:
    import torch

CHUNK = 64
"""Images that are embedded at once."""


class FeatureNet(ABC):
    """A frozen image network with published weights.

    Images are ``[n, 3 or 1, height, width]`` in [0, 1]; grey ones are repeated to three channels.

    Attributes:
        name: of the network.
        sha256: of the file of its weights, and of what else decides its figures, if that is not in our code.
        edge: images are resized to ``edge`` × ``edge`` pixels before they are embedded or classified.
        classifies: whether it has `class_probabilities`.
    """

    classifies = False

    def __init__(self, name: str, sha256: str, edge: int) -> None:
        self.name = name
        self.sha256 = sha256
        self.edge = edge

    @property
    def label(self) -> str:
        """What must stand beside every figure that the network gives: another label, another figure."""
        return f"{self.name} (weights {self.sha256[:8]}, pictures at {self.edge} × {self.edge} pixels)"

    @final
    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Features of each image, ``[n, d]``; NaN for an image that is not finite."""
        import torch

        colours = self._colours(images)
        finite = torch.isfinite(images).flatten(1).all(dim=1, keepdim=True)
        embedded = torch.cat([self._embed(chunk) for chunk in torch.split(torch.nan_to_num(colours), CHUNK)])
        return embedded.float().masked_fill(~finite, torch.nan)

    def class_probabilities(self, embeddings: torch.Tensor) -> torch.Tensor:  # noqa: ARG002 - not every net can
        """Probabilities of the classes that the network knows from what `embed` gave, ``[n, classes]``.

        Raises:
            ModelError: it knows no classes.
        """
        raise ModelError(f"feature network `{self.name}` knows no classes")

    def probabilities(self, images: torch.Tensor) -> torch.Tensor:
        """Probabilities of the classes that the network knows, ``[n, classes]``; see `class_probabilities`."""
        return self.class_probabilities(self.embed(images))

    def maps(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:  # noqa: ARG002 - not every net can
        """Feature maps at several depths, for perceptual losses; gradients flow to the images.

        Raises:
            ModelError: it hands out no maps.
        """
        raise ModelError(f"feature network `{self.name}` hands out no maps for perceptual losses")

    @abstractmethod
    def _embed(self, images: torch.Tensor) -> torch.Tensor:
        """Features ``[n, d]`` of finite colour images ``[n, 3, height, width]``."""

    def _colours(self, images: torch.Tensor) -> torch.Tensor:
        if images.dim() != 4 or images.shape[1] not in (1, 3):
            raise ModelError(f"{self.name} takes images [n, 3 or 1, height, width], got {tuple(images.shape)}")
        return images.expand(-1, 3, -1, -1)


def resized(images: torch.Tensor, edge: int, mode: str = "bilinear") -> torch.Tensor:
    """Images at ``edge`` × ``edge`` pixels, antialiased, in [0, 1]."""
    from torch.nn.functional import interpolate

    return interpolate(images, (edge, edge), mode=mode, antialias=True).clamp(0, 1)


def as_bytes(images: torch.Tensor) -> torch.Tensor:
    """Images in [0, 1] as whole numbers from 0 to 255."""
    import torch

    return images.mul(255).round().clamp(0, 255).to(torch.uint8)


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def shipped_file(net: str, distribution: str, file_name: str, sha256: str, advice: str) -> Path:
    """A file of weights that an installed distribution brings, with the hash that was published.

    Raises:
        ModelError: it is not there, or another file.
    """
    try:
        entry = next(entry for entry in files(distribution) or [] if entry.name == file_name)
        found = Path(str(entry.locate()))
        content = found.read_bytes()
    except (PackageNotFoundError, StopIteration, OSError) as error:
        raise ModelError(f"the weights of feature network `{net}` are not installed; {advice}") from error
    if digest(content) != sha256:
        raise ModelError(f"the weights of feature network `{net}` are damaged or changed; {advice}")
    return found


def missing_weights(net: str, path: Path | None, advice: str) -> ModelError:
    """The error of a network whose weights the user must name: none were named, or they are not there."""
    named = "were not named" if path is None else f"are not in {path}"
    return ModelError(f"the weights of feature network `{net}` {named}; {advice}")


def refuse_path(net: str, path: Path | None) -> None:
    """Of networks whose weights an installed package brings.

    Raises:
        ModelError: a path was given.
    """
    if path is not None:
        raise ModelError(f"feature network `{net}` comes with its package and takes no path, got {path}")


def require_edge(net: str, own: int, asked: int | None) -> int:
    """The edge of a network that embeds pictures of one size only.

    Raises:
        ModelError: another one was asked for.
    """
    if asked not in (None, own):
        raise ModelError(f"feature network `{net}` embeds pictures of {own} × {own} pixels only, not of {asked}")
    return own
