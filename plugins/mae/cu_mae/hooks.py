"""What this plugin brings to `cu`."""

from __future__ import annotations

from collections.abc import Sequence

from compliance_unlearn.api import AdapterSpec, hookimpl


@hookimpl
def cu_register_model_adapters() -> Sequence[AdapterSpec]:
    """The masked autoencoder."""
    return [
        AdapterSpec(
            name="mae",
            summary="masked autoencoders: ViTMAEForPreTraining of transformers, or checkpoints of the authors",
            params="cu_mae.params:MaeParams",
            factory="cu_mae.adapter:MaeAdapter",
            tasks=("inpaint", "outpaint", "random-mask"),
        )
    ]
