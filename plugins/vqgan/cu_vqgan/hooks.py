"""What this plugin brings to `cu`."""

from __future__ import annotations

from collections.abc import Sequence

from compliance_unlearn.api import AdapterSpec, hookimpl


@hookimpl
def cu_register_model_adapters() -> Sequence[AdapterSpec]:
    """The plain VQ-GAN, and the masked generative encoder over the tokens of one."""
    return [
        AdapterSpec(
            name="vqgan",
            summary="VQ-GANs: the VQModel of diffusers, and checkpoints of taming-transformers",
            params="cu_vqgan.params:VqganParams",
            factory="cu_vqgan.adapter:VqganAdapter",
            tasks=("inpaint", "outpaint", "random-mask", "super-resolve", "colourise"),
        ),
        AdapterSpec(
            name="mage",
            summary="MAGE: masked generative encoders over VQ-GAN tokens, and the checkpoints of their authors",
            params="cu_vqgan.mage.params:MageParams",
            factory="cu_vqgan.mage.adapter:MageAdapter",
            tasks=("inpaint", "outpaint", "random-mask"),
        ),
    ]
