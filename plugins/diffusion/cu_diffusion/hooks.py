"""What this plugin brings to `cu`."""

from __future__ import annotations

from collections.abc import Sequence

from compliance_unlearn.api import AdapterSpec, hookimpl


@hookimpl
def cu_register_model_adapters() -> Sequence[AdapterSpec]:
    """Conditional denoising models of diffusers, and of the Palette release."""
    return [
        AdapterSpec(
            name="diffusion",
            summary="conditional diffusion models in pixel space: the UNet2DModel of diffusers, and Palette",
            params="cu_diffusion.params:DiffusionParams",
            factory="cu_diffusion.adapter:DiffusionAdapter",
            tasks=("inpaint", "outpaint", "random-mask", "super-resolve", "colourise"),
        )
    ]
