"""Recognition: would a recogniser still find the person in the output?

The generated region of each output is embedded by a named feature network and compared with the generated regions of
true pictures: at most 100 others of the same subject, the record's own left out, and at most 1,000 of other subjects;
of the subject only so many that chance stays below a third of the threshold.
An output is recognised if the nearest one is of the same subject; of equal distances the subject's comes last. Where a
data set does not say who its subjects are, all pictures to forget are one subject, as with a class. Distance: cosine,
by the Euclidean distance of normalised embeddings; for dlib-face the Euclidean one that it was trained with.

Statistic: share recognised; chance is the share of the subject's pictures among those compared with. Null hypothesis:
the share is above the threshold. Passed when the upper 95 % bound (Clopper and Pearson, 1934) is within it. Records are
taken one by one, although outputs that all look alike are recognised together, all or none. An output that is not
finite counts as recognised for the upper bound and as not recognised for the lower one, and with one nothing passes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from cu_audit.records import FORGET, FORGET_ALL, FORGET_HELD_OUT, SETS, CheckResult, Question, Verdict

from compliance_unlearn.api import Check, CheckContext, FeatureNet, Measurement, Outputs, World, generated_region
from cu_standard.nets import named_net
from cu_standard.params import RecognitionParams
from cu_standard.retrieval import Found, find_controls, pictures_needed, subject_sets, undiluted
from cu_standard.statistics import percent_up

OTHERS_AT_MOST = 1000
"""Pictures of other subjects that are compared with."""

OWN_AT_MOST = 100
"""Pictures of one subject that are compared with; fewer where chance would be a third of the threshold or more."""

FACES = "dlib-face"
"""The one network that was made to recognise people, by Euclidean distance."""

ROUNDING = 1e-5
"""Distances of embeddings, which have a length of about 1, that differ by less are equal: pictures that are the same
have embeddings whose last bits depend on the machine."""

NOBODY = -2
"""Stands for the subject of pictures that are not to be forgotten, where it is unknown."""


class Recogniser:
    """Compares outputs with true pictures, as a network sees them."""

    def __init__(self, context: CheckContext, net: FeatureNet, chance_at_most: float = 0.1) -> None:
        """Choose the pictures to compare with.

        Args:
            context: that holds them.
            net: that sees them.
            chance_at_most: share of them, at most, that is of one subject, where there are enough others.
        """
        self.net = net
        self._chance = chance_at_most
        self._context = context
        truths = {name: context.outputs(World.TRUTH, name) for name in SETS if context.counts.get(name)}
        self._subjects = {name: _subjects(name, truth) for name, truth in truths.items()}
        self._places = dict(zip(truths, _numbered([len(truth) for truth in truths.values()]), strict=True))
        self._shown_places = self._drawn()
        self._shown_subjects = torch.cat(list(self._subjects.values()))[self._shown_places]
        self._shown = self._embedded_truths(truths)

    def __len__(self) -> int:
        return len(self._shown_places)

    def own(self, sets: Sequence[str]) -> torch.Tensor:
        """How many pictures of its subject each record is compared with, integer ``[n]``."""
        return torch.cat([self._same(name).sum(dim=1) for name in sets])

    def found(self, world: World, sets: Sequence[str]) -> Found:
        """How often the subject is recognised, among records that have another picture of it."""
        return Found.together([self._found(world, name) for name in sets])

    @torch.no_grad()
    def _found(self, world: World, name: str) -> Found:
        same = self._same(name)
        known = same.any(dim=1)
        embedded = self._comparable(self._context.embeddings(self.net, self._context.outputs(world, name)))
        broken = ~torch.isfinite(embedded).all(dim=1)
        distances = torch.cdist(embedded, self._shown)
        nearest = distances.masked_fill(~same, math.inf).min(dim=1).values
        of_another = distances.masked_fill(~self._other(name), math.inf).min(dim=1).values
        recognised = (nearest + ROUNDING < of_another) & ~broken
        return Found(*(int((each & known).sum()) for each in (recognised, broken, known)))

    def _same(self, name: str) -> torch.Tensor:
        """Which true pictures are others of the subject of each record, boolean ``[n, m]``."""
        return ~self._other(name) & (self._places[name][:, None] != self._shown_places)

    def _other(self, name: str) -> torch.Tensor:
        return self._subjects[name][:, None] != self._shown_subjects

    def _drawn(self) -> torch.Tensor:
        """Which true pictures are compared with, ascending, in a fixed random choice."""
        subjects = torch.cat(list(self._subjects.values()))
        to_forget = torch.cat([self._subjects[name] for name in (FORGET, FORGET_HELD_OUT) if name in self._subjects])
        order = torch.randperm(len(subjects), generator=self._context.generator("recognition gallery"))
        others = order[~torch.isin(subjects[order], to_forget)][:OTHERS_AT_MOST]
        # Two at least, since a record is not compared with itself.
        count = min(OWN_AT_MOST, max(2, int(len(others) * self._chance / (1.0 - self._chance))))
        own = [order[subjects[order] == subject][:count] for subject in torch.unique(to_forget)]
        return torch.cat([*own, others]).sort().values

    @torch.no_grad()
    def _embedded_truths(self, truths: Mapping[str, Outputs]) -> torch.Tensor:
        parts = []
        for name, truth in truths.items():
            shown = torch.isin(self._places[name], self._shown_places)
            if shown.all():
                parts.append(self._context.embeddings(self.net, truth))
            elif shown.any():
                parts.append(self.net.embed(generated_region(truth.images, truth.generated)[shown]))
        return self._comparable(torch.cat(parts))

    def _comparable(self, embedded: torch.Tensor) -> torch.Tensor:
        """Embeddings whose Euclidean distance is the network's."""
        rows = embedded.cpu().double()
        return rows if self.net.name == FACES else torch.nn.functional.normalize(rows, dim=1)


@dataclass(frozen=True)
class Seen:
    """What was recognised in one set.

    Attributes:
        candidate: in what the unlearned model generates.
        original: in what the original does.
        noise: in what the original makes of noise.
        own: of how many pictures of its subject each record might have been recognised by, integer ``[n]``.
        pictures: that it was compared with.
    """

    candidate: Found
    original: Found
    noise: Found
    own: torch.Tensor
    pictures: int

    @property
    def chance(self) -> float:
        """Share of the subject's pictures among those compared with, the mean over records that have any."""
        known = self.own[self.own > 0].double()
        return float((known / self.pictures).mean())

    @property
    def alone(self) -> int:
        """Records without another picture of their subject."""
        return int((self.own == 0).sum())


class Recognition(Check):
    """Share of outputs whose nearest true picture is of the subject; that of all the subject's pictures decides."""

    def __init__(self, params: RecognitionParams) -> None:
        self._params = params

    def _require(self) -> None:
        named_net(self._params)

    def _run(self, context: CheckContext) -> Measurement:
        sets = subject_sets(context)
        if not sets:
            return Measurement()
        recogniser = Recogniser(context, named_net(self._params), self._params.at_most / 3)
        results = [self._result(recogniser, name, sets, gates=name == sets[-1]) for name in sets]
        return Measurement(results=tuple(undiluted(results)))

    def _result(self, recogniser: Recogniser, name: str, sets: Sequence[str], *, gates: bool) -> CheckResult:
        limit = self._params.at_most
        parts = [each for each in sets if each != FORGET_ALL] if name == FORGET_ALL else [name]
        candidate, original, noise = (
            recogniser.found(world, parts) for world in (World.CANDIDATE, World.ORIGINAL, World.NOISE)
        )
        seen = Seen(candidate, original, noise, recogniser.own(parts), len(recogniser))
        measured = candidate.count > 0
        controls = find_controls(original, noise, limit, "recognised") if measured else ()
        verdict, reason = self._judged(seen, behaved=all(control.behaved for control in controls))
        return CheckResult(
            name="recognition",
            set=name,
            question=Question.FORGOTTEN,
            claim=f"To {recogniser.net.name}, what the model generates does not look like the subject's pictures.",
            verdict=verdict,
            gates=gates,
            value=candidate.share if measured else None,
            unit="share",
            interval=candidate.interval() if measured else None,
            threshold=limit,
            sample_size=candidate.count,
            p_value=candidate.p_value(limit) if measured else None,
            detectable=candidate.detectable if measured else None,
            controls=controls,
            reason="; ".join(filter(None, (reason, candidate.remark, recogniser.net.label))),
            not_tested=_not_tested(recogniser.net, seen.alone),
        )

    def _judged(self, seen: Seen, *, behaved: bool) -> tuple[Verdict, str]:
        limit, found = self._params.at_most, seen.candidate
        if not found.count:
            return Verdict.INCONCLUSIVE, "the subject has 1 picture, and at least 2 are needed"
        if seen.chance > limit / 3:
            needed = math.ceil(int(seen.own.max()) * (3 / limit - 1))
            return (
                Verdict.INCONCLUSIVE,
                f"chance alone recognises {seen.chance:.0%}; at least {needed} pictures of others are needed",
            )
        if not behaved:
            return Verdict.VOID, _misbehaviour(seen, limit)
        verdict = found.verdict(limit)
        reason = (
            f"recognised {found.hits} times of {found.count} among {seen.pictures} pictures, its own left "
            f"out, where chance gives {seen.chance:.1%}; a share of up to {percent_up(found.interval().high)} "
            "cannot be excluded"
        )
        if verdict is Verdict.INCONCLUSIVE and found.count < pictures_needed(limit):
            reason += f"; at least {pictures_needed(limit)} pictures are needed"
        return verdict, reason


def _subjects(name: str, outputs: Outputs) -> torch.Tensor:
    """Whose pictures these are; those to forget whose subject is unknown are of one, -1, and others of nobody."""
    if name in (FORGET, FORGET_HELD_OUT):
        return outputs.subjects
    return torch.where(outputs.subjects < 0, NOBODY, outputs.subjects)


def _numbered(counts: Sequence[int]) -> tuple[torch.Tensor, ...]:
    """Numbers of the pictures of each set, those of all sets in one row."""
    return torch.split(torch.arange(sum(counts)), list(counts))


def _misbehaviour(seen: Seen, limit: float) -> str:
    if seen.original.least <= limit:
        return "this network does not recognise the subject even in what the original model generates"
    return "this network finds the subject in what the original model makes of noise"


def _not_tested(net: FeatureNet, alone: int) -> str:
    said = [
        "Other networks, what the visible part of the pictures shows, and other unlearnings: outputs that all look "
        "alike are recognised together, all or none."
    ]
    if net.name != FACES:
        said.append(f"A face recogniser: this network knows objects, `net: {FACES}` knows faces.")
    if alone:
        said.append(f"Pictures that are the only ones of their subject: {alone}.")
    return " ".join(said)
