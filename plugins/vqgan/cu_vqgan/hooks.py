"""What this plugin brings to `cu`."""

from __future__ import annotations

from collections.abc import Sequence

from compliance_unlearn.api import AdapterSpec, hookimpl


@hookimpl
def cu_register_model_adapters() -> Sequence[AdapterSpec]:
    """The plain VQ-GAN."""
    return [
        AdapterSpec(
            name="vqgan",
            summary="VQ-GANs: the VQModel of diffusers, and checkpoints of taming-transformers",
            params="cu_vqgan.params:VqganParams",
            factory="cu_vqgan.adapter:VqganAdapter",
            tasks=("inpaint", "outpaint", "random-mask", "super-resolve", "colourise"),
        )
    ]
