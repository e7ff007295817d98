"""Proxy pictures stand in for retained ones, and hold none that must be forgotten."""

from __future__ import annotations

from pathlib import Path

from benchmarks.table.data import open_proxy
from compliance_unlearn.api import Compare, ImageShape, Operator
from compliance_unlearn.engine.images import RecordImages
from compliance_unlearn.registry import load_registry

FOUR = Compare("label", Operator.EQUALS, ("4",))


def test_the_proxy_of_the_digits_has_all_but_the_forgotten_one(tmp_path: Path) -> None:
    opened = open_proxy("digits", tmp_path / "proxy", load_registry(), FOUR)
    assert opened is not None
    dataset, records = opened
    assert {record.label for record in records} == set("012356789")
    assert len(records) == 1797 - 181
    images = RecordImages(dataset.source, records[:20], ImageShape(1, 32, 32))
    assert not images.all()[..., :6, :].any(), "the border of the digits of MNIST"
    assert images.all().amax(dim=(1, 2, 3)).min() > 0.9
    assert not images.conversions


def test_faces_have_no_proxy(tmp_path: Path) -> None:
    assert open_proxy("faces", tmp_path / "proxy", load_registry(), FOUR) is None
