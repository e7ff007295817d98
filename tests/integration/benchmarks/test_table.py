"""The benchmark runs from pictures to pages, and goes on where it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.table.command import main
from benchmarks.table.trials import ORIGINAL, RETRAINED, ROWS

LARGEST_PICTURE = 200_000


@pytest.mark.slow
def test_quick_writes_every_row_and_does_nothing_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--quick", "--families", "mae", "--state", str(tmp_path / "state")]
    out = tmp_path / "results"
    assert main([*arguments, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "`python -m benchmarks.table --quick --families=mae`" in printed
    assert str(tmp_path) not in printed
    labels = [line.split("|")[1].strip() for line in printed.splitlines() if line.startswith("| ")][2:]
    assert labels == [ORIGINAL, *(trial.label for trial in ROWS), RETRAINED]
    assert (out / "table.md").read_text(encoding="utf-8").strip() == printed.strip()
    varied = (out / "ablations.md").read_text(encoding="utf-8")
    for name in ("α", "share of retain data", "mask ratio", "task"):
        assert f"## digits-mae: {name}\n" in varied
    drawn = sorted(out.glob("*.png"))
    assert [path.stem for path in drawn] == ["ablations-digits-mae", "pictures-digits-mae", "tsne-digits-mae"]
    assert all(path.stat().st_size < LARGEST_PICTURE for path in drawn)

    made = _written(tmp_path / "state")
    assert main([*arguments, "--out", str(out)]) == 0
    assert _written(tmp_path / "state") == made
    assert capsys.readouterr().out == printed


def test_a_family_that_the_example_does_not_have_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--quick", "--families", "unknown", "--state", str(tmp_path)]) == 2
    assert "no model of the example `digits`" in capsys.readouterr().err


def _written(folder: Path) -> dict[Path, int]:
    """When each model and each result was written."""
    names = ("trained", "unlearned", "results")
    return {path: path.stat().st_mtime_ns for name in names for path in folder.glob(f"*/{name}/**/*") if path.is_file()}
