"""Calibration: how often does a check say what is not so? Runs checks many times on planted worlds."""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from cu_audit.records import CheckResult, Outcome, Question, Verdict

from compliance_unlearn.api import Check, ModelError
from compliance_unlearn.api.plan import PlannedCheck
from compliance_unlearn.engine.checking import weighed
from compliance_unlearn.engine.kept_draws import KeptDraws, Verdicts
from compliance_unlearn.engine.measuring import ModelRun
from compliance_unlearn.engine.planning import ResolvedPlan
from compliance_unlearn.engine.planted import PlantedContext, PlantedWorld, Pool
from compliance_unlearn.engine.reporting import Reporter
from compliance_unlearn.engine.verdict import decide, holm

ALLOWED = 0.05
"""Share of wrong answers that a check may give where it decides."""


@dataclass(frozen=True)
class Rates:
    """What one result said of one planted world.

    Attributes:
        check: its name.
        set: of pictures.
        world: that was planted.
        forget: pictures to forget in each run.
        verdicts: how often it said what.
        is_true: whether the claim is true there; None where nobody knows.
    """

    check: str
    set: str
    world: PlantedWorld
    forget: int
    verdicts: Mapping[Verdict, int]
    is_true: bool | None

    @property
    def runs(self) -> int:
        """How often it was asked."""
        return sum(self.verdicts.values())

    @property
    def wrong(self) -> int | None:
        """How often it passed a false claim, or failed a true one; None where nobody knows."""
        if self.is_true is None:
            return None
        return self.verdicts.get(Verdict.FAILED if self.is_true else Verdict.PASSED, 0)

    def share(self, count: int) -> tuple[float, float, float]:
        """A count as a share of the runs, with its Clopper-Pearson interval at 95 %."""
        from scipy.stats import binomtest

        interval = binomtest(count, self.runs).proportion_ci(0.95, method="exact")
        return count / self.runs, float(interval.low), float(interval.high)


@dataclass(frozen=True)
class Outcomes:
    """How whole runs ended on one planted world."""

    world: PlantedWorld
    forget: int
    outcomes: Mapping[Outcome, int]


@dataclass(frozen=True)
class Calibration:
    """Rates of all results, outcomes of whole runs, and names of checks that planted worlds cannot show."""

    rates: tuple[Rates, ...]
    outcomes: tuple[Outcomes, ...]
    left_out: tuple[str, ...]

    @property
    def unfit(self) -> tuple[Rates, ...]:
        """Where a check passed "nothing forgotten" more often than it may: there it must not decide."""
        return tuple(
            rate
            for rate in self.rates
            if rate.world is PlantedWorld.NOTHING_FORGOTTEN
            if rate.is_true is False and (rate.wrong or 0) / rate.runs > ALLOWED
        )


@dataclass(frozen=True)
class Draw:
    """One planted world of one size, to be drawn several times."""

    world: PlantedWorld
    forget: int


def draws(pool: Pool, sizes: Sequence[int]) -> list[Draw]:
    """The worlds and sizes that the data allow, from small to large."""
    return [Draw(world, size) for size in sorted(set(sizes)) for world in PlantedWorld if size <= pool.largest(world)]


def calibrate(
    pool: Pool,
    checks: Sequence[tuple[PlannedCheck, Check]],
    planned: Sequence[Draw],
    runs: int,
    advance: Callable[[int], None],
    kept: KeptDraws | None = None,
) -> Calibration:
    """Run checks on planted worlds.

    Args:
        pool: what worlds are drawn from.
        checks: as a plan has them; those that look at weights are left out.
        planned: what to draw; see `draws`.
        runs: draws of each, with seeds from 0 on.
        advance: called with 1 after each draw.
        kept: draws that are known already, and where new ones go.

    Returns:
        Rates in the order of the worlds.
    """
    kept = kept or KeptDraws()
    checks, left_out = _shown_by_planted_worlds(pool, checks, planned[-1:])
    rates: list[Rates] = []
    outcomes: list[Outcomes] = []
    for draw in planned:
        verdicts: dict[tuple[str, str], Counter[Verdict]] = defaultdict(Counter)
        truths: dict[tuple[str, str], bool | None] = {}
        ended: Counter[Outcome] = Counter()
        for seed in range(runs):
            said = kept.get(f"{draw.world}, {draw.forget}, {seed}", partial(_said, pool, draw, seed, checks))
            ended[Outcome(said.outcome)] += 1
            for name, set_name, verdict, is_true in said.results:
                verdicts[name, set_name][Verdict(verdict)] += 1
                truths[name, set_name] = is_true
            advance(1)
        rates += [Rates(*key, draw.world, draw.forget, dict(count), truths[key]) for key, count in verdicts.items()]
        outcomes.append(Outcomes(draw.world, draw.forget, dict(ended)))
    return Calibration(tuple(rates), tuple(outcomes), left_out)


def _shown_by_planted_worlds(
    pool: Pool, checks: Sequence[tuple[PlannedCheck, Check]], planned: Sequence[Draw]
) -> tuple[list[tuple[PlannedCheck, Check]], tuple[str, ...]]:
    """The checks that can be calibrated, and the names of the others."""
    contexts = [PlantedContext(pool, draw.world, draw.forget, seed=0) for draw in planned]
    kept = [each for each in checks if all(_judges_outputs(each[1], context) for context in contexts)]
    names = {check.name for check, _ in kept}
    return kept, tuple(check.name for check, _ in checks if check.name not in names)


def _said(pool: Pool, draw: Draw, seed: int, checks: Sequence[tuple[PlannedCheck, Check]]) -> Verdicts:
    """Each check by itself; only what a whole run says is corrected for their number."""
    context = PlantedContext(pool, draw.world, draw.forget, seed)
    results = [weighed(result, planned, context) for planned, check in checks for result in check.run(context).results]
    return Verdicts(
        outcome=decide(holm(results)).value,
        results=tuple(
            (result.name, result.set, result.verdict.value, _is_true(result, draw.world)) for result in results
        ),
    )


def _judges_outputs(check: Check, context: PlantedContext) -> bool:
    """Whether a check has a verdict, and needs no model behind a candidate."""
    try:
        results = check.run(context).results
    except ModelError:
        return False
    return any(result.question is not Question.WEIGHTS for result in results)


def _is_true(result: CheckResult, world: PlantedWorld) -> bool | None:
    """Whether the claim of a result holds in a world; None where that is not planted."""
    if result.question in (Question.FORGOTTEN, Question.RECOVERABLE):
        # What can be read from features is planted with them. Whether a half is enough depends on the threshold.
        return None if world is PlantedWorld.HALF_FORGOTTEN else world.forget_is_noise
    if result.question is Question.RETAINED:
        return world is not PlantedWorld.BROKEN
    return None


def calibrate_plan(
    resolved: ResolvedPlan, sizes: Sequence[int], runs: int, *, reporter: Reporter, device: torch.device
) -> dict[str, Calibration]:
    """Calibrate the checks of a plan on each of its models; call it again after a kill and it goes on.

    Changes nothing that a run looks at: what is known of draws lies in the state of the workspace until all are done.

    Raises:
        ModelError: a model cannot be used, a task has other masks for each picture, or no size is small enough.
        DataError: a file is missing or changed.
    """
    found: dict[str, Calibration] = {}
    files: list[Path] = []
    with tempfile.TemporaryDirectory() as state:
        models = ModelRun(resolved, state=Path(state), name="calibration", reporter=reporter, device=device)
        models.checks.require()
        for model in resolved.plan.models:
            pool = Pool(models.prepare(model).worlds)
            planned = draws(pool, sizes)
            if not planned:
                largest = pool.largest(PlantedWorld.FORGOTTEN)
                raise ModelError(f"{model.name}: there are only {largest} pictures to forget; give a smaller --sizes")
            files.append(resolved.workspace.state / "calibration" / f"{model.name}-{models.fingerprint}.jsonl")
            with reporter.phase(f"Calibrating on {model.name}", len(planned) * runs) as advance:
                found[model.name] = calibrate(pool, models.checks.made, planned, runs, advance, KeptDraws(files[-1]))
    for file in files:
        file.unlink(missing_ok=True)
    return found
