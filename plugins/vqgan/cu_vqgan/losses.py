"""The training loss of a VQ-GAN (Esser, Rombach, Ommer 2021, "Taming Transformers", section 3.1)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from compliance_unlearn.api.features import FeatureNet

SMALLEST_NORM = 1e-4
LARGEST_WEIGHT = 1e4


def perceptual_loss(net: FeatureNet, made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Distance of features whose channels have unit norm at each place (Zhang et al. 2018, equation 1, all w = 1).

    Args:
        net: a frozen network, whose maps at several depths are compared.
        made: ``[n, channels, height, width]`` in [-1, 1].
        wanted: of the same shape.
    """
    with torch.no_grad():
        expected = net.maps(wanted * 0.5 + 0.5)
    pairs = zip(net.maps(made * 0.5 + 0.5), expected, strict=True)
    return torch.stack([(_unit(one) - _unit(other)).square().sum(dim=1).mean() for one, other in pairs]).sum()


def _unit(features: torch.Tensor) -> torch.Tensor:
    return functional.normalize(features.float(), dim=1, eps=1e-5)


def adversarial_loss(
    discriminator: nn.Module, made: torch.Tensor, wanted: torch.Tensor, fidelity: torch.Tensor, last_layer: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both sides of the game as terms of one sum, for one optimiser: neither has a gradient for the other's weights.

    Args:
        discriminator: gives logits for images.
        made: what the model makes, with gradients.
        wanted: real images of the same shape.
        fidelity: the loss that the generator's side is weighed against.
        last_layer: of the decoder, where the weighing happens (equation 7).

    Returns:
        The generator's hinge loss, weighed, and the discriminator's.
    """
    fixed = {name: parameter.detach() for name, parameter in discriminator.named_parameters()}
    fooling = -torch.func.functional_call(discriminator, fixed, (made,)).float().mean()
    weight = _gradient_norm(fidelity, last_layer) / (_gradient_norm(fooling, last_layer) + SMALLEST_NORM)
    real, fake = discriminator(torch.cat([wanted, made.detach()])).float().chunk(2)
    telling = 0.5 * (functional.relu(1.0 - real).mean() + functional.relu(1.0 + fake).mean())
    return weight.clamp(max=LARGEST_WEIGHT) * fooling, telling


def _gradient_norm(loss: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    (gradient,) = torch.autograd.grad(loss, parameter, retain_graph=True)
    return gradient.square().sum().sqrt()
