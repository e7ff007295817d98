"""The ledger: appended once for each bundle, chained, and asked which runs still stand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cu_audit.bundle import MANIFEST, Bundle, seal
from cu_audit.canonical import canonical, sha256
from cu_audit.ledger import LedgerError, read_ledger
from cu_audit.records import Candidate, Outcome

from compliance_unlearn.api import WorkspaceError
from compliance_unlearn.evidence.ledger import Ledger
from tests.bundles import MODEL, build_bundle, seal_with

NOW = datetime(2026, 11, 5, 10, tzinfo=UTC)


def weights(name: str) -> Candidate:
    """A version of the model, told apart by its name."""
    return Candidate(path=f"models/{MODEL}/{name}", sha256=sha256(name.encode()), files={})


def a_run(evidence: Path, name: str, source: str, candidate: str, *, promoted: bool = True) -> Bundle:
    """A sealed bundle of a run that made ``candidate`` from ``source``."""
    outcome = Outcome.COMPLIANT if promoted else Outcome.NOT_COMPLIANT
    folder = build_bundle(evidence / name, outcome=outcome, steps=1).folder
    result = Bundle(folder).result
    model = result.models[0].model_copy(
        update={"source": weights(source), "candidate": weights(candidate), "promoted": promoted}
    )
    return seal_with(folder, result.model_copy(update={"models": (model,)}))


@pytest.fixture
def filled(tmp_path: Path) -> Ledger:
    """original -> one -> two -> three, and a failed run on top of each of the first two."""
    ledger = Ledger(tmp_path)
    for number, (source, candidate, promoted) in enumerate(
        [
            ("original", "zero", False),
            ("original", "one", True),
            ("one", "failed", False),
            ("one", "two", True),
            ("two", "three", True),
        ]
    ):
        ledger.append(a_run(tmp_path, f"run-{number}", source, candidate, promoted=promoted), NOW)
    return ledger


def test_entries_are_numbered_and_chained(filled: Ledger, tmp_path: Path) -> None:
    lines = (tmp_path / "ledger.jsonl").read_bytes().splitlines()
    assert [entry.index for entry in filled.entries] == [0, 1, 2, 3, 4]
    assert filled.entries[0].previous is None
    assert [entry.previous for entry in filled.entries[1:]] == [sha256(line) for line in lines[:-1]]
    assert Ledger(tmp_path).entries == filled.entries
    assert lines == [canonical(entry) for entry in filled.entries]


def test_a_bundle_that_is_recorded_already_is_not_recorded_again(filled: Ledger, tmp_path: Path) -> None:
    before = (tmp_path / "ledger.jsonl").read_bytes()
    for ledger in (filled, Ledger(tmp_path)):
        assert ledger.append(Bundle(tmp_path / "run-1"), NOW + timedelta(days=1)) == filled.entries[1]
    assert (tmp_path / "ledger.jsonl").read_bytes() == before


def test_an_absent_ledger_is_empty(tmp_path: Path) -> None:
    assert Ledger(tmp_path).entries == []


LAST = 4


@pytest.mark.parametrize("line", range(LAST))
def test_a_changed_line_breaks_the_chain_at_the_next_one(filled: Ledger, tmp_path: Path, line: int) -> None:
    path = tmp_path / "ledger.jsonl"
    lines = path.read_bytes().splitlines()
    lines[line] = lines[line].replace(b'"request":"gdpr-req-123"', b'"request":"gdpr-req-124"')
    path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(LedgerError, match=f"line {line + 2} does not follow"):
        read_ledger(path)
    with pytest.raises(WorkspaceError, match="the ledger is damaged"):
        Ledger(tmp_path)


@pytest.mark.parametrize("line", range(LAST))
def test_a_removed_line_breaks_the_chain(filled: Ledger, tmp_path: Path, line: int) -> None:
    path = tmp_path / "ledger.jsonl"
    lines = path.read_bytes().splitlines()
    del lines[line]
    path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(LedgerError, match=f"line {line + 1} does not follow"):
        read_ledger(path)


def test_the_end_of_the_chain_is_vouched_for_by_nothing_in_the_file(filled: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    lines = path.read_bytes().splitlines()
    lines[LAST] = lines[LAST].replace(b'"verdict":"compliant"', b'"verdict":"inconclusive"')
    path.write_bytes(b"\n".join(lines) + b"\n")
    assert read_ledger(path)[LAST].verdict is Outcome.INCONCLUSIVE
    path.write_bytes(b"\n".join(lines[:2]) + b"\n")
    assert len(read_ledger(path)) == 2
    path.unlink()
    assert read_ledger(path) == []


def test_lines_that_changed_places_break_the_chain(filled: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    lines = path.read_bytes().splitlines()
    lines[1], lines[2] = lines[2], lines[1]
    path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(LedgerError, match="line 2 does not follow"):
        read_ledger(path)


@pytest.mark.parametrize("junk", [b"{", b"", b'{"index": 5}', b"\xff\xfe"])
def test_a_line_that_is_no_entry_is_refused(filled: Ledger, tmp_path: Path, junk: bytes) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(path.read_bytes() + junk + b"\n")
    with pytest.raises(LedgerError, match="line 6 is not a ledger entry"):
        read_ledger(path)


def test_evidence_that_is_not_what_was_recorded_is_refused(filled: Ledger, tmp_path: Path) -> None:
    folder = tmp_path / "run-1"
    (folder / "report.html").write_text("other")
    with pytest.raises(WorkspaceError, match=r"report\.html: changed"):
        filled.bundle(filled.entries[1])
    (folder / MANIFEST).unlink()
    seal(folder)
    with pytest.raises(WorkspaceError, match=r"evidence is damaged: .*run-1"):
        filled.bundle(filled.entries[1])


@pytest.mark.parametrize(
    ("run", "current", "stands"),
    [
        (1, "one", True),
        (1, "two", True),
        (1, "three", True),
        (1, "retrained from elsewhere", False),
        (3, "three", True),
        (4, "three", True),
        (0, "original", True),
        (2, "one", True),
        (2, "original", False),
    ],
)
def test_a_run_stands_while_the_model_is_its_candidate_or_was_derived_from_it(
    filled: Ledger, run: int, current: str, stands: bool
) -> None:
    assert filled.in_force(filled.result(filled.entries[run]), {MODEL: weights(current)}) is stands


def test_a_circle_of_versions_ends(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.append(a_run(tmp_path, "there", "a", "b"), NOW)
    ledger.append(a_run(tmp_path, "back", "b", "a"), NOW)
    assert not ledger.in_force(Bundle(tmp_path / "there").result, {MODEL: weights("c")})
    elsewhere = Bundle(tmp_path / "there").result.models[0].model_copy(update={"candidate": weights("d")})
    earlier = Bundle(tmp_path / "there").result.model_copy(update={"models": (elsewhere,)})
    assert not ledger.in_force(earlier, {MODEL: weights("b")})


def test_entries_of_a_request_are_found(filled: Ledger) -> None:
    assert filled.of_request("gdpr-req-123") == filled.entries
    assert filled.of_request("another") == []
