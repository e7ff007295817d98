"""Relearning: how fast does an attacker bring the forgotten pictures back who has a tenth of them?

The attacker goes on training the encoder, the decoder (everything else) or all of the unlearned model with the model's
own training loss, until 90 % of the original's mean PSNR returns on forget pictures that the attacker does not have, or
the budget of steps is spent (Golatkar et al., 2020, "relearn time"). The control is the same attack on a model that
never saw the pictures, where a run trained one; otherwise an attacker on the same unlearned model who has as many
pictures of others instead.

Statistic: PSNR (dB, generated pixels) of each picture where the attack ends, minus that of the control after as many
steps. Both keep the weights that were best so far, since the first steps of an optimiser may do harm. Null hypothesis:
the mean gain is at least the margin. Passed when the one-sided upper 95 % bound (Student's t, by picture) is within it,
for each of the three attackers: an intersection-union test (Berger, 1982).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from cu_audit.records import CheckResult, Control, Lines, Question, Verdict

from compliance_unlearn.api import Check, CheckContext, LoopSettings, Measurement, ModelAdapter, ModelError, World
from cu_standard.attacks import Gain, Pictures, attacked_and_others, fine_tune, pictures_of_others, quality
from cu_standard.params import RelearningParams
from cu_standard.statistics import at_most, finite_mean

ATTACKERS = ("encoder", "decoder", "everything")
"""What each attacker may change."""

RETURNED = 0.9
"""Share of the original's mean PSNR at which the pictures count as brought back."""

LOOKS = 10
"""How often an attack is looked at: more densely at its beginning, where forgotten pictures return."""

BATCH = 16


@dataclass(frozen=True)
class Attack:
    """What an attack brought back.

    Attributes:
        curve: number of steps -> PSNR in dB of each picture that the attacker does not have, ``[n]``, with the weights
            that were best so far.
        own_gain: by how many dB the mean PSNR of the attacker's own pictures rose.
    """

    curve: dict[int, torch.Tensor]
    own_gain: float

    @property
    def last(self) -> int:
        """Steps after which it ended."""
        return max(self.curve)

    def steps_to(self, height: float) -> int | None:
        """Steps until the mean PSNR reached ``height``, as far as was looked; None if it did not."""
        return next((step for step, values in self.curve.items() if float(values.mean()) >= height), None)

    def means(self) -> tuple[tuple[float, float], ...]:
        """The curve of the mean, up to the first that is not finite."""
        means = {step: finite_mean(values) for step, values in self.curve.items()}
        return tuple((step, mean) for step, mean in means.items() if mean is not None)


@dataclass(frozen=True)
class Scene:
    """What all attacks share.

    Attributes:
        own: forget pictures that the attacker has.
        others: forget pictures on which success is measured.
        original: PSNR in dB that the original has on those, ``[n]``.
        noise: mean PSNR in dB of what the original makes of noise in place of those.
    """

    own: Pictures
    others: Pictures
    original: torch.Tensor
    noise: float

    @property
    def height(self) -> float:
        """Mean PSNR in dB at which the pictures count as brought back."""
        return RETURNED * float(self.original.mean())


class Relearning(Check):
    """Three attackers, each against a control; how fast they are is reported as it is."""

    def __init__(self, params: RelearningParams) -> None:
        self._params = params

    def _run(self, context: CheckContext) -> Measurement:
        original = context.model(World.ORIGINAL)
        own, others = attacked_and_others(context, samples=original.samples)
        retrained = World.RETRAINED in context.worlds
        of_others = pictures_of_others(context, len(own))
        if len(others) < 2:
            asked = "at least 3 pictures to forget are needed: one for the attacker, two to look at"
            return Measurement(tuple(self._unmeasured(name, Verdict.INCONCLUSIVE, asked) for name in ATTACKERS))
        if not retrained and not len(of_others):
            missing = "there is nothing to compare with: no picture of others; run again with --with-reference"
            return Measurement(tuple(self._unmeasured(name, Verdict.SKIPPED, missing) for name in ATTACKERS))
        of_noise = quality(original, others, context.noise(len(others), "relearning"))
        scene = Scene(own, others, quality(original, others), float(of_noise.mean()))
        attacks, controls = {}, {}
        for name in ATTACKERS:
            attacks[name] = self._attack(context, World.CANDIDATE, name, scene, own)
            world, pictures = (World.RETRAINED, own) if retrained else (World.CANDIDATE, of_others)
            controls[name] = self._attack(context, world, name, scene, pictures, at_least=attacks[name].last)
        power = self._power(attacks["everything"])
        results = [
            self._result(name, scene, attacks[name], controls[name], power, retrained=retrained) for name in ATTACKERS
        ]
        return Measurement(results=tuple(results), plots=(_plot(scene, attacks, controls),))

    def _attack(
        self, context: CheckContext, world: World, name: str, scene: Scene, pictures: Pictures, at_least: int = 0
    ) -> Attack:
        """Attack until the pictures are back, but for ``at_least`` so many steps."""
        model = context.model(world)
        own = pictures[: len(scene.others)]
        before = quality(model, own).mean()
        curve = {0: quality(model, scene.others)}
        looks = _looks(self._params.steps)

        def watch(step: int) -> bool:
            best = curve[max(curve)]
            if step in looks:
                found = quality(model, scene.others)
                curve[step] = best = found if found.mean() > best.mean() else best
            return step < at_least or not float(best.mean()) >= scene.height

        if torch.isfinite(curve[0]).all() and watch(0):
            settings = LoopSettings(
                steps=self._params.steps, batch=BATCH, learning_rate=self._params.learning_rate, precision="auto"
            )
            parameters = _parameters(context, model, name)
            try:
                fine_tune(context, model, parameters, pictures.images, settings, f"relearning {name}", watch)
            except ModelError:  # it diverged, and nobody knows what a slower attacker would have found
                curve[next(look for look in looks if look > max(curve))] = torch.full_like(curve[0], torch.nan)
        return Attack(curve, float(quality(model, own).mean() - before))

    def _result(
        self, name: str, scene: Scene, attack: Attack, control: Attack, power: Control, *, retrained: bool
    ) -> CheckResult:
        margin, end = self._params.gain_at_most, attack.last
        against = control.curve.get(end, torch.full_like(scene.original, torch.nan))
        gain = Gain.of(attack.curve[end] - against, margin)
        controls = (_below(scene), *([self._never_seen(scene, control)] if retrained else []), power)
        verdict, reason = self._judge(scene, attack, gain, controls, retrained=retrained)
        if not reason:
            assert gain.interval is not None
            reason = (
                f"{RETURNED:.0%} of the original's PSNR ({scene.height:.1f} dB) {_returned(attack, scene)}; with the "
                f"control it {_returned(control, scene)}; after {end} steps the gain over the control is "
                f"{gain.mean:.2f} dB, upper bound {gain.interval.high:.2f} dB, allowed {margin:.2f} dB"
            )
        if verdict is Verdict.PASSED and not retrained and control.steps_to(scene.height) is not None:
            verdict = Verdict.INCONCLUSIVE
            reason += "; pictures of others bring the forgotten ones back as well, so they were never far away"
        than = "it teaches them to a model that never saw them" if retrained else "as many pictures of others do"
        return CheckResult(
            name="relearning",
            trained_anew=True,
            set=f"{name}-attacked",
            question=Question.RECOVERABLE,
            claim=(
                f"Training the {_changed(name)} for up to {self._params.steps} steps on {len(scene.own)} of the forget "
                f"pictures brings others of them back no faster than {than}, within the margin."
            ),
            verdict=verdict,
            gates=True,
            value=gain.mean,
            unit="dB",
            interval=gain.interval,
            threshold=margin,
            sample_size=len(scene.others),
            p_value=gain.p_value,
            detectable=gain.detectable,
            controls=controls,
            reason=reason,
            not_tested="Attackers with more pictures, more steps, other learning rates or another loss.",
        )

    def _judge(
        self, scene: Scene, attack: Attack, gain: Gain, controls: tuple[Control, ...], *, retrained: bool
    ) -> tuple[Verdict, str]:
        """The verdict, and the reason if it is not the interval."""
        *beforehand, power = controls
        broken = [control.name for control in beforehand if not control.behaved]
        if broken:
            return Verdict.VOID, f"PSNR cannot tell forgotten pictures from known ones: {', '.join(broken)}"
        if not torch.isfinite(attack.curve[0]).all():
            return Verdict.INCONCLUSIVE, "the unlearned model gives outputs that are not numbers: nothing to train"
        if attack.steps_to(scene.height) == 0 and not retrained:
            kept = float(attack.curve[0].mean())
            return Verdict.FAILED, (
                f"there is nothing to relearn: without any attack the pictures have {kept:.1f} dB, "
                f"and {RETURNED:.0%} of the original's PSNR are {scene.height:.1f} dB"
            )
        if attack.last > 0 and not power.behaved:
            return Verdict.VOID, "the attack does not even bring the attacker's own pictures back; allow more steps"
        if gain.interval is None:
            return Verdict.INCONCLUSIVE, (
                f"PSNR is not finite after {attack.last} steps of the attack or of its control; lower the learning rate"
            )
        return at_most(gain.interval, self._params.gain_at_most), ""

    def _never_seen(self, scene: Scene, control: Attack) -> Control:
        gap = float((scene.original - control.curve[0]).mean())
        return Control(
            name="original model",
            expected="fails: without an attack it is better than the model that never saw the pictures, by the margin",
            value=_finite(gap),
            behaved=gap > self._params.gain_at_most,
        )

    def _power(self, attack: Attack) -> Control:
        return Control(
            name="pictures that the attacker has, everything trained",
            expected="come back: their PSNR in dB rises by more than the margin",
            value=_finite(attack.own_gain),
            behaved=attack.own_gain > self._params.gain_at_most,
        )

    def _unmeasured(self, name: str, verdict: Verdict, reason: str) -> CheckResult:
        return CheckResult(
            name="relearning",
            set=f"{name}-attacked",
            question=Question.RECOVERABLE,
            claim=f"Training the {_changed(name)} on a few of the forget pictures does not bring others of them back.",
            verdict=verdict,
            gates=True,
            value=None,
            unit="dB",
            interval=None,
            threshold=self._params.gain_at_most,
            sample_size=0,
            reason=reason,
        )


def _looks(steps: int) -> list[int]:
    """Numbers of steps after which an attack is looked at, evenly spaced on a logarithmic scale."""
    return sorted({round(steps ** (look / LOOKS)) for look in range(LOOKS + 1)})


def _parameters(context: CheckContext, model: ModelAdapter, name: str) -> dict[str, torch.nn.Parameter]:
    return {
        tensor: parameter
        for tensor, parameter in model.module.named_parameters()
        if name == "everything" or (name == "encoder") == (tensor in context.encoder_tensors)
    }


def _below(scene: Scene) -> Control:
    return Control(
        name="original model on noise",
        expected=f"passes: its PSNR in dB is below the {scene.height:.1f} that count as brought back",
        value=_finite(scene.noise),
        behaved=scene.noise < scene.height,
    )


def _plot(scene: Scene, attacks: dict[str, Attack], controls: dict[str, Attack]) -> Lines:
    lines = {f"{name} attacked": attacks[name].means() for name in ATTACKERS}
    lines |= {f"{name}, control": controls[name].means() for name in ATTACKERS}
    return Lines(
        title="What training brings back of the forget pictures",
        axes=("steps of the attack", "mean PSNR in dB"),
        lines={name: points for name, points in lines.items() if points},
        marks={f"{RETURNED:.0%} of the original": scene.height} if math.isfinite(scene.height) else {},
        caption="A curve that rises above that of its control shows that something of the pictures was left.",
        question=Question.RECOVERABLE,
    )


def _returned(attack: Attack, scene: Scene) -> str:
    steps = attack.steps_to(scene.height)
    return f"is not back within {attack.last} steps" if steps is None else f"is back after {steps} steps"


def _changed(name: str) -> str:
    return "whole model" if name == "everything" else name


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
