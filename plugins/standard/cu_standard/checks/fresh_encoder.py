"""Fresh encoder: what does the untouched decoder still know of the forgotten pictures?

Encoder-only unlearning leaves the decoder as it was. An attacker replaces the encoder by a new one, random with the
mean and standard deviation of each tensor, and trains it against the fixed decoder with the model's own training loss,
on retained pictures and a tenth of the forget pictures, or on retained pictures alone.

Statistic: PSNR (dB, generated pixels) of the original minus that of the attacked model, of each forget picture that the
attacker does not have. Null hypothesis: the mean loss is at most the margin. Passed when the one-sided lower 95 % bound
(Student's t, by picture) reaches it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from cu_audit.records import CheckResult, Control, Question, Verdict

from compliance_unlearn.api import Check, CheckContext, LoopSettings, Measurement, ModelAdapter, ModelError, World
from cu_standard.attacks import Gain, Pictures, attacked_and_others, fine_tune, pictures_of_others, quality
from cu_standard.params import FreshEncoderParams
from cu_standard.statistics import at_least

BATCH = 16

ATTACKERS = ("with-forget-pictures", "without-forget-pictures")
"""What each attacker trains on, beside retained pictures."""


@dataclass(frozen=True)
class Scene:
    """What both attacks share.

    Attributes:
        own: forget pictures that an attacker has.
        others: forget pictures on which success is measured.
        training: retained pictures that an attacker has.
        retained: those on which it is measured whether the attack works at all.
        original: the original model.
    """

    own: Pictures
    others: Pictures
    training: Pictures
    retained: Pictures
    original: ModelAdapter

    def loss(self, model: ModelAdapter, pictures: Pictures, fed: torch.Tensor | None = None) -> torch.Tensor:
        """By how many dB a model is worse than the original, for each picture, ``[n]``."""
        return quality(self.original, pictures) - quality(model, pictures, fed)


class FreshEncoder(Check):
    """How far the attacked model stays behind the original on what was to be forgotten."""

    def __init__(self, params: FreshEncoderParams) -> None:
        self._params = params

    def _run(self, context: CheckContext) -> Measurement:
        original = context.model(World.ORIGINAL)
        own, others = attacked_and_others(context, samples=original.samples)
        of_others = pictures_of_others(context)
        looked_at = min(len(others), len(of_others) // 2)
        scene = Scene(own, others, of_others[looked_at:], of_others[:looked_at], original)
        if len(others) < 2:
            asked = "at least 3 pictures to forget are needed: one for the attacker, two to look at"
            results = [self._unmeasured(name, Verdict.INCONCLUSIVE, asked) for name in ATTACKERS]
        elif not looked_at:
            missing = "no retained pictures of others to train an encoder on; keep some of the data set in the plan"
            results = [self._unmeasured(name, Verdict.SKIPPED, missing) for name in ATTACKERS]
        else:
            results = [
                self._result(context, name, scene).model_copy(update={"trained_anew": True}) for name in ATTACKERS
            ]
        return Measurement(tuple(results))

    def _result(self, context: CheckContext, name: str, scene: Scene) -> CheckResult:
        threshold = self._params.loss_at_least
        attacked = self._attack(context, World.CANDIDATE, name, scene)
        # The claim is a loss of at least the threshold: a gain over the original of at most its negative.
        loss = Gain.of(-scene.loss(attacked, scene.others), -threshold) if attacked else Gain(None, None)
        controls = self._controls(context, name, scene, attacked)
        broken = [control.name for control in controls if not control.behaved]
        if loss.interval is None or loss.mean is None:
            return self._unmeasured(name, Verdict.INCONCLUSIVE, "the attacked model gives outputs that are not numbers")
        interval = loss.interval.model_copy(update={"low": -loss.interval.high, "high": -loss.interval.low})
        if broken:
            verdict, reason = (
                Verdict.VOID,
                f"this attack cannot tell forgotten pictures from known: {'; '.join(broken)}",
            )
        else:
            verdict = at_least(interval, threshold)
            reason = (
                f"after {self._params.steps} steps the forget pictures are {-loss.mean:.2f} dB worse than with the "
                f"original, lower bound {interval.low:.2f} dB, asked for {threshold:.2f} dB; retained pictures "
                f"{controls[0].value:.2f} dB"
            )
        return self._unmeasured(name, verdict, reason).model_copy(
            update={
                "value": -loss.mean,
                "interval": interval,
                "sample_size": len(scene.others),
                "p_value": loss.p_value,
                "detectable": None if loss.detectable is None else -loss.detectable,
                "controls": controls,
            }
        )

    def _attack(self, context: CheckContext, world: World, name: str, scene: Scene) -> ModelAdapter | None:
        """A model with a fresh encoder that was trained; None if it diverged."""
        model = context.model(world)
        encoder = model.encoder_parameters()
        renew(encoder, context.generator("fresh encoder"))
        images = scene.training.images
        if name == ATTACKERS[0]:
            images = torch.cat([images, scene.own.images])
        settings = LoopSettings(
            steps=self._params.steps,
            batch=BATCH,
            learning_rate=self._params.learning_rate,
            warmup=self._params.steps // 10,
            schedule="cosine",
            precision="auto",
        )
        try:
            fine_tune(context, model, encoder, images, settings, f"fresh encoder {name}")
        except ModelError:
            return None
        return model

    def _controls(
        self, context: CheckContext, name: str, scene: Scene, attacked: ModelAdapter | None
    ) -> tuple[Control, ...]:
        threshold = self._params.loss_at_least
        learnt = _mean(scene.loss(attacked, scene.retained)) if attacked else None
        of_noise = _mean(scene.loss(scene.original, scene.others, context.noise(len(scene.others), "fresh encoder")))
        controls = [
            Control(
                name="retained pictures that the attacker does not have",
                expected=f"fail: the attack brings them back to within {threshold:.1f} dB",
                value=learnt,
                behaved=learnt is not None and learnt < threshold,
            ),
            Control(
                name="original model on noise",
                expected=f"passes: at least {threshold:.1f} dB worse",
                value=of_noise,
                behaved=of_noise is not None and of_noise >= threshold,
            ),
        ]
        if World.RETRAINED in context.worlds:
            never_seen = self._attack(context, World.RETRAINED, name, scene)
            lost = _mean(scene.loss(never_seen, scene.others)) if never_seen else None
            controls.append(
                Control(
                    name="decoder that never saw the pictures",
                    expected=f"passes: at least {threshold:.1f} dB worse",
                    value=lost,
                    behaved=lost is not None and lost >= threshold,
                )
            )
        return tuple(controls)

    def _unmeasured(self, name: str, verdict: Verdict, reason: str) -> CheckResult:
        shown = "retained pictures and a tenth of the forget pictures" if name == ATTACKERS[0] else "retained pictures"
        return CheckResult(
            name="fresh-encoder",
            set=name,
            question=Question.RECOVERABLE,
            claim=f"A fresh encoder trained for {self._params.steps} steps on {shown} does not bring the others back.",
            verdict=verdict,
            gates=True,
            value=None,
            unit="dB",
            interval=None,
            threshold=self._params.loss_at_least,
            sample_size=0,
            reason=reason,
            not_tested="Encoders of another architecture, and longer training.",
        )


@torch.no_grad()
def renew(parameters: dict[str, torch.nn.Parameter], generator: torch.Generator) -> None:
    """Replace each tensor by random numbers of the same mean and standard deviation."""
    for parameter in parameters.values():
        noise = torch.randn(parameter.shape, generator=generator).to(parameter)
        parameter.copy_(parameter.mean() + parameter.std(correction=0) * noise)


def _mean(values: torch.Tensor) -> float | None:
    return Gain.of(values, 0.0).mean
