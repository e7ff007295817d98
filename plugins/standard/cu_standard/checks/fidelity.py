"""Fidelity: PSNR and SSIM on generated pixels, before and after, for every set. Reported; decides nothing."""

from __future__ import annotations

from cu_audit.records import SETS, BeforeAfter

from compliance_unlearn.api import Check, CheckContext, Measurement, World
from cu_standard.params import NoParams
from cu_standard.statistics import finite_mean, peak_signal_noise_ratio, structural_similarity


class Fidelity(Check):
    """Mean over the images of a set; PSNR in dB, SSIM in [-1, 1]."""

    def __init__(self, params: NoParams) -> None:
        self._params = params

    def _run(self, context: CheckContext) -> Measurement:
        figures = {"psnr": peak_signal_noise_ratio, "ssim": structural_similarity}
        sets = [name for name in SETS if context.counts.get(name)]
        metrics = {
            metric: {
                name: BeforeAfter(
                    before=finite_mean(figure(context.outputs(World.ORIGINAL, name))),
                    after=finite_mean(figure(context.outputs(World.CANDIDATE, name))),
                )
                for name in sets
            }
            for metric, figure in figures.items()
        }
        return Measurement(metrics=metrics)
