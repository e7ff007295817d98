"""The digest of a policy follows its meaning, and its public copy tells nothing about the subject."""

from pathlib import Path

import pytest

from compliance_unlearn.policy import LoadedPolicy, canonical_policy, redacted, redacted_yaml
from tests.unit.policy.examples import POLICY, policy_file


def load(folder: Path, text: str) -> LoadedPolicy:
    path = folder / "policy.yaml"
    path.write_text(text)
    return LoadedPolicy.load(path)


def test_order_layout_comments_and_shorthand_do_not_count(tmp_path: Path) -> None:
    rewritten = """\
# the same in other words
accept: {echo-drift: {at_most: 0.50}}
strategy: {use: echo-alignment}
retain: {use: dataset}
models: affected
forget: {where: {subject: {equals: s17}}, dataset: faces}
request: {received: "2026-11-02", ground: GDPR Art. 17(1)(b), id: gdpr-req-123}
version: 1
"""
    assert canonical_policy(load(tmp_path, POLICY)) == canonical_policy(load(tmp_path, rewritten))


@pytest.mark.parametrize(
    ("old", "new"),
    [("s17", "s18"), ("0.5", "0.6"), ("affected", "[faces-mae]"), ("2026-11-02", "2026-11-03")],
)
def test_every_change_of_meaning_counts(tmp_path: Path, old: str, new: str) -> None:
    before = canonical_policy(LoadedPolicy.load(policy_file(tmp_path)))
    assert canonical_policy(LoadedPolicy.load(policy_file(tmp_path, (old, new)))) != before


def test_the_ids_in_a_file_count(tmp_path: Path) -> None:
    digests = set()
    for ids in ("r1\nr2\n", "r2\n# comment\nr1\n", "r1\nr3\n"):
        (tmp_path / "ids.txt").write_text(ids)
        loaded = LoadedPolicy.load(policy_file(tmp_path, ("{subject: s17}", "{ids_file: ids.txt}")))
        digests.add(canonical_policy(loaded))
    assert len(digests) == 2


def test_the_redacted_copy_holds_no_selector(tmp_path: Path) -> None:
    loaded = LoadedPolicy.load(
        policy_file(
            tmp_path,
            ("models: affected", "models: affected # s17\nretain: {use: dataset, where: {not: {subject: s16}}}"),
        )
    )
    text = redacted_yaml(loaded, b"k" * 32)
    assert "s17" not in text
    assert "s16" not in text
    assert "subject" not in text
    assert text.count("hmac-sha256:") == 2
    assert "gdpr-req-123" in text


def test_redaction_matches_only_under_the_same_key(tmp_path: Path) -> None:
    loaded = LoadedPolicy.load(policy_file(tmp_path))
    assert redacted(loaded, b"a" * 32) == redacted(loaded, b"a" * 32)
    assert redacted(loaded, b"a" * 32)["forget"] != redacted(loaded, b"b" * 32)["forget"]
