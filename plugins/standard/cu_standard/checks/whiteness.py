"""Whiteness: is what the model generates on the records to forget as structureless as what it makes of noise, O(n)?

Each picture's generated region is taken after its own mean, for each channel. Two figures of a picture, both without
unit, and both of O(n) as well, since a decoder's answer to noise is not white either:

- lag-1 autocorrelation: mean product of neighbouring generated pixels, beside and below each other, divided by the mean
  square; 0 for white noise, near 1 for smooth pictures;
- spectral flatness (Johnston, 1988): geometric by arithmetic mean of the power spectrum without its constant part;
  about 0.56 for white noise, near 0 for smooth pictures. It needs one full rectangle; a hole would show in the
  spectrum as structure, so that with frames and scattered masks it is left out.

Statistic: the difference of the medians, forget outputs minus O(n), with a bootstrap interval by image (Efron, 1979).
Nothing is decided: whiteness says nothing about content.
"""

from __future__ import annotations

import torch
from cu_audit.records import FORGET, CheckResult, Control, Interval, Question, Verdict

from compliance_unlearn.api import Check, CheckContext, Measurement, Outputs, World
from cu_standard.params import WhitenessParams
from cu_standard.samples import unfinished
from cu_standard.statistics import BOUND_LEVEL

RECORDS_AT_LEAST = 10
NOISE_AT_LEAST = 256
"""Noise outputs that are compared with, or as many as there are records if they are more."""

SMALLEST_EDGE = 4
"""In pixels; a spectrum of a smaller rectangle has too few values."""

FLAT = 1.0 / 255.0 / 12.0**0.5
"""Standard deviation of rounding to 8 bits: below it a picture is plain, and has no structure to measure."""

CONTROL_LEVEL = 0.999
"""Confidence of each bound of a control, so that noise against noise seldom differs by chance."""

UNDECIDED = "no difference was found, which does not show that there is none"


class Whiteness(Check):
    """Medians of two figures of structure, against noise outputs; reported only."""

    def __init__(self, params: WhitenessParams) -> None:
        self._params = params

    def _run(self, context: CheckContext) -> Measurement:
        if not context.counts.get(FORGET):
            return Measurement()
        return Measurement(
            results=(
                self._result(context, "whiteness", "lag-1 autocorrelation"),
                self._result(context, "whiteness-flatness", "spectral flatness"),
            )
        )

    def _result(self, context: CheckContext, name: str, figure: str) -> CheckResult:
        after = context.outputs(World.CANDIDATE, FORGET)
        noise = context.noise_outputs("whiteness", max(len(after), NOISE_AT_LEAST))
        result = CheckResult(
            name=name,
            set=FORGET,
            question=Question.FORGOTTEN,
            claim=f"The {figure} of forget outputs is that of noise outputs.",
            verdict=Verdict.INCONCLUSIVE,
            gates=False,
            value=None,
            unit=f"difference of median {figure}",
            interval=None,
            threshold=None,
            sample_size=len(after),
            reason="",
            not_tested="What outputs show: structure is not content, and content can hide in what looks like noise.",
        )
        measure = lag_one_autocorrelation if name == "whiteness" else spectral_flatness
        if measure is spectral_flatness and not (has_rectangle(after) and has_rectangle(noise)):
            reason = f"needs one generated rectangle of {SMALLEST_EDGE} pixels or more a side; this task has none"
            return result.model_copy(update={"verdict": Verdict.SKIPPED, "reason": reason})
        figures = measure(after)
        reference = measure(noise)
        reason = _unmeasured(after, figures, reference)
        if reason:
            return result.model_copy(update={"reason": reason})
        generator = context.generator("whiteness bootstrap")
        differences = self._resampled(figures, reference, generator)
        interval = _interval(differences, BOUND_LEVEL)
        controls = (
            self._control(context, "original model", measure(context.outputs(World.ORIGINAL, FORGET)), reference),
            self._control(context, "original model on noise", measure(context.outputs(World.NOISE, FORGET)), reference),
        )
        median, usual = float(figures.median()), float(reference.median())
        said = (
            f"median {median:.3f}, of noise outputs {usual:.3f}; difference {interval.low:.3f} to {interval.high:.3f}"
        )
        if not all(control.behaved for control in controls):
            verdict, reason = Verdict.VOID, f"a control misbehaved: this figure cannot tell pictures from noise; {said}"
        elif interval.low <= 0.0 <= interval.high:
            verdict, reason = Verdict.INCONCLUSIVE, f"{said}: {UNDECIDED}"
        else:
            verdict, reason = Verdict.FAILED, f"{said}: forget outputs are conspicuous in this figure"
        return result.model_copy(
            update={
                "verdict": verdict,
                "value": median - usual,
                "interval": interval,
                "controls": controls,
                "reason": reason,
            }
        )

    def _control(self, context: CheckContext, name: str, figures: torch.Tensor, reference: torch.Tensor) -> Control:
        differs_as_expected = name == "original model"
        measured = bool(torch.isfinite(figures).all())
        differs = False
        if measured:
            interval = _interval(
                self._resampled(figures, reference, context.generator("whiteness controls")), CONTROL_LEVEL
            )
            differs = not interval.low <= 0.0 <= interval.high
        return Control(
            name=name,
            expected="fails: differs from noise outputs" if differs_as_expected else "passes: no difference is shown",
            value=float(figures.median() - reference.median()) if measured else None,
            behaved=measured and differs == differs_as_expected,
        )

    def _resampled(self, figures: torch.Tensor, reference: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Differences of medians, of pictures that were drawn anew, ``[resamples]``."""
        one, other = (
            values[torch.randint(len(values), (self._params.resamples, len(values)), generator=generator)]
            for values in (figures, reference)
        )
        return one.median(dim=1).values - other.median(dim=1).values


def lag_one_autocorrelation(outputs: Outputs) -> torch.Tensor:
    """Of each generated region, ``[n]``, within about [-1, 1]; NaN if plain, not finite, or without neighbours."""
    residual, generated = _residual(outputs)
    products, pairs = torch.zeros(len(residual)).double(), torch.zeros(len(residual)).double()
    for axis in (2, 3):
        length = residual.shape[axis] - 1
        one, other = residual.narrow(axis, 0, length), residual.narrow(axis, 1, length)
        both = generated.narrow(axis, 0, length) & generated.narrow(axis, 1, length)
        products += torch.where(both, one * other, 0.0).mean(dim=1).flatten(1).sum(dim=1)
        pairs += both.flatten(1).sum(dim=1)
    return products / pairs / _variance(residual, generated)


def spectral_flatness(outputs: Outputs) -> torch.Tensor:
    """Of each generated rectangle, ``[n]``, in [0, 1]; NaN where it is plain or not finite. See `has_rectangle`."""
    residual, generated = _residual(outputs)
    inside = generated[0, 0]
    height, width = int(inside.any(dim=1).sum()), int(inside.any(dim=0).sum())
    regions = residual[:, :, inside].view(*residual.shape[:2], height, width)
    power = torch.fft.fft2(regions).abs().square().flatten(2)[:, :, 1:].mean(dim=1)
    flatness = power.clamp(min=1e-12).log().mean(dim=1).exp() / power.mean(dim=1)
    return torch.where(_variance(residual, generated).isfinite(), flatness, torch.nan)


def has_rectangle(outputs: Outputs) -> bool:
    """Whether the generated pixels are one full rectangle, the same in each picture."""
    inside = outputs.generated[0, 0]
    rows, columns = (torch.nonzero(inside.any(dim=axis)).flatten() for axis in (1, 0))
    if min(len(rows), len(columns)) < SMALLEST_EDGE:
        return False
    box = inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return bool(box.all()) and bool((outputs.generated == outputs.generated[:1]).all())


def _residual(outputs: Outputs) -> tuple[torch.Tensor, torch.Tensor]:
    """Generated pixels after the mean of each picture and channel, 0 elsewhere, and where they are."""
    generated = outputs.generated
    images = torch.where(generated, outputs.images.double(), 0.0)
    mean = images.sum(dim=(2, 3), keepdim=True) / generated.sum(dim=(2, 3), keepdim=True)
    return torch.where(generated, images - mean, 0.0), generated


def _variance(residual: torch.Tensor, generated: torch.Tensor) -> torch.Tensor:
    """Of each generated region, ``[n]``; NaN where it is plain or not finite."""
    variance = residual.square().mean(dim=1).flatten(1).sum(dim=1) / generated.flatten(1).sum(dim=1)
    return torch.where(variance > FLAT**2, variance, torch.nan)


def _unmeasured(after: Outputs, figures: torch.Tensor, reference: torch.Tensor) -> str:
    """Why there is no figure; empty if there is one."""
    broken, plain = unfinished(after), int((~torch.isfinite(figures)).sum())
    if broken:
        return f"{broken} of {len(after)} outputs are not finite numbers"
    if plain:
        return f"{plain} of {len(after)} outputs have no structure that 8-bit pictures can show: conspicuously plain"
    if not torch.isfinite(reference).all():
        return "some noise outputs have no structure that 8-bit pictures can show: there is nothing to compare with"
    if len(after) < RECORDS_AT_LEAST:
        return f"only {len(after)} images: at least {RECORDS_AT_LEAST} are needed"
    return ""


def _interval(differences: torch.Tensor, level: float) -> Interval:
    low, high = torch.quantile(differences, torch.tensor([1.0 - level, level], dtype=torch.float64)).tolist()
    return Interval(
        low=low, high=high, level=2.0 * level - 1.0, method=f"bootstrap by image, each bound at {100 * level:g} %"
    )
