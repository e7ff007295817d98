"""Artefact: the exported files are what they claim to be. Exact; there is nothing to sample."""

from __future__ import annotations

from pathlib import Path

import torch
from cu_audit.canonical import file_sha256
from cu_audit.records import CheckResult, Control, Question, Verdict

from compliance_unlearn.api import Check, CheckContext, Measurement
from cu_standard.params import NoParams

Tensors = dict[str, torch.Tensor]


class Artefact(Check):
    """Only encoder tensors differ from the original, at least one does, and nothing else is shipped."""

    def __init__(self, params: NoParams) -> None:
        self._params = params

    def _run(self, context: CheckContext) -> Measurement:
        before, after = read_tensors(context.original), read_tensors(context.candidate)
        problems = [
            *compare(before, after, context.encoder_tensors),
            *compare_headers(context.original, context.candidate),
            *compare_files(context.original, context.candidate),
        ]
        controls = _controls(before, after, context.encoder_tensors)
        if not all(control.behaved for control in controls):
            verdict, reason = Verdict.VOID, "a control misbehaved: the comparison cannot be trusted"
        elif problems:
            verdict, reason = Verdict.FAILED, "; ".join(problems)
        else:
            fixed = len(set(before) - context.encoder_tensors)
            verdict = Verdict.PASSED
            reason = (
                f"all {fixed} tensors outside of the encoder are bit-identical, the encoder differs, nothing was added"
            )
        result = CheckResult(
            name="artefact",
            set="weights",
            question=Question.WEIGHTS,
            claim="Only the encoder changed, and the exported folder holds nothing but the model.",
            verdict=verdict,
            gates=True,
            value=float(len(problems)),
            unit="problems",
            interval=None,
            threshold=0.0,
            sample_size=len(before),
            controls=controls,
            reason=reason,
            not_tested="What the changed encoder still knows; the other checks speak about that.",
        )
        return Measurement(results=(result,))


def read_tensors(folder: Path) -> Tensors:
    """All tensors of all safetensors files of a folder and of the folders in it."""
    from safetensors.torch import load_file

    tensors: Tensors = {}
    for path in sorted(folder.rglob("*.safetensors")):
        tensors.update(load_file(path))
    return tensors


def compare(before: Tensors, after: Tensors, encoder: frozenset[str]) -> list[str]:
    """Problems of the tensors, in words; names of tensors are not personal data."""
    problems = []
    if set(before) != set(after):
        problems.append(f"{len(set(before) ^ set(after))} tensors were added or removed")
    common = sorted(set(before) & set(after))
    differing = {name for name in common if not identical(before[name], after[name])}
    reshaped = [name for name in common if _kind(before[name]) != _kind(after[name])]
    if reshaped:
        problems.append(f"{len(reshaped)} tensors have another type or shape, the first is {reshaped[0]}")
    outside = sorted(differing - encoder)
    if outside:
        problems.append(f"{len(outside)} tensors outside of the encoder changed, the first is {outside[0]}")
    if not differing & encoder:
        problems.append("the encoder did not change")
    return problems


def identical(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Equal in type, shape and every bit: NaN equals the same NaN, and 0.0 differs from -0.0."""
    if _kind(one) != _kind(other):
        return False
    return torch.equal(one.contiguous().view(-1).view(torch.uint8), other.contiguous().view(-1).view(torch.uint8))


def _kind(tensor: torch.Tensor) -> tuple[torch.dtype, torch.Size]:
    return tensor.dtype, tensor.shape


def compare_headers(original: Path, candidate: Path) -> list[str]:
    """Problems of the headers of the safetensors files: what a second tensor of one name, or a note, could hide."""
    names, notes = read_headers(candidate)
    problems = []
    if len(names) != len(set(names)):
        problems.append(f"{len(names) - len(set(names))} tensors are shipped twice")
    added = notes - read_headers(original)[1]
    if added:
        problems.append(f"{len(added)} notes in the headers are not part of the original model")
    return problems


def read_headers(folder: Path) -> tuple[list[str], set[tuple[str, str]]]:
    """Names of the tensors of all safetensors files of a folder, and the notes (metadata) in their headers."""
    from safetensors import safe_open

    names: list[str] = []
    notes: set[tuple[str, str]] = set()
    for path in sorted(folder.rglob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            names += file.keys()
            notes |= set((file.metadata() or {}).items())
    return names, notes


def compare_files(original: Path, candidate: Path) -> list[str]:
    """Problems of the files: all must be known from the original, and all but those with tensors byte for byte."""
    problems = []
    for path in sorted(candidate.rglob("*")):
        name = path.relative_to(candidate)
        twin = original / name
        if (path.is_dir(), path.is_file()) != (twin.is_dir(), twin.is_file()):
            problems.append(f"{name} is not part of the original model")
        elif path.is_file() and path.suffix != ".safetensors" and file_sha256(path) != file_sha256(twin):
            problems.append(f"{name} differs from the original's")
    return problems


def _controls(before: Tensors, after: Tensors, encoder: frozenset[str]) -> tuple[Control, ...]:
    unchanged = compare(before, before, encoder)
    fixed = next((name for name in sorted(before) if name not in encoder and before[name].numel()), None)
    caught = False
    if fixed is not None:
        flipped = before[fixed].contiguous().clone()
        flipped.view(-1).view(torch.uint8)[0] ^= 1
        found = compare(before, {**after, fixed: flipped}, encoder)
        caught = any("outside of the encoder" in problem for problem in found)
    return (
        Control(
            name="original against itself",
            expected="fails: the encoder did not change",
            value=float(len(unchanged)),
            behaved=unchanged == ["the encoder did not change"],
        ),
        Control(
            name="one flipped bit outside of the encoder",
            expected="fails: the bit is found",
            value=float(caught),
            behaved=caught,
        ),
    )
