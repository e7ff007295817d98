"""Writes the tables as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cu_audit.records import FORGET, RETAIN

from benchmarks.table.measure import FIGURES
from benchmarks.table.run import Result, Row, Varied
from benchmarks.table.summary import Mean, figure, mean_of, order
from benchmarks.table.trials import ORIGINAL
from compliance_unlearn.api import FeatureNet

SHOWN = {
    "frechet": ("Fréchet", 1.0, 0),
    "kernel": ("KID", 1.0, 2),
    "classes": ("class score", 1.0, 2),
    "similarity": ("similarity", 1.0, 3),
    "psnr": ("PSNR", 1.0, 2),
}
"""Figure -> its column, the factor that it is shown with, and its decimals."""


@dataclass(frozen=True)
class About:
    """What the reader must know of a benchmark run."""

    command: str
    example: str
    net: FeatureNet
    counts: Mapping[str, int]
    seeds: Sequence[int]
    proxy: str
    code: Mapping[str, str]


def table_page(about: About, tables: Mapping[str, Sequence[Row]]) -> str:
    """`table.md`: a table for each model."""
    parts = ["# What each strategy does to what must go and to what must stay", _preface(about, tables.values())]
    for name, rows in tables.items():
        shown = [[row.label, *_figures(row.results), _inside(row.results), _seconds(row.results)] for row in rows]
        head = ["", *_heads("forget"), *_heads("retain"), "inside noise", "processor seconds"]
        verdicts = "".join(f"- {line}.\n" for line in order(rows))
        parts.append(f"## {name}\n\n{markdown(head, shown)}\n\nAgainst the paper's baselines:\n\n{verdicts}")
    return "\n\n".join(part.strip() for part in parts) + "\n"


def ablation_page(about: About, tables: Mapping[str, Sequence[Varied]]) -> str:
    """`ablations.md`: a table for each model and each setting that was varied."""
    runs = [[row for varied in found for pair in varied.pairs for row in pair] for found in tables.values()]
    parts = ["# What the settings of encoder alignment do", _preface(about, runs)]
    for name, found in tables.items():
        for varied in found:
            head = [varied.ablation.name, *_heads("forget"), *_heads("retain"), "inside noise"]
            shown = [[label, *_figures(row.results), _inside(row.results)] for label, row in _ablation_rows(varied)]
            parts.append(f"## {name}: {varied.ablation.name}\n\n{markdown(head, shown)}")
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _ablation_rows(varied: Varied) -> list[tuple[str, Row]]:
    """The original once if it is the same for all values, else before each of them."""
    labels = [trial.label for trial in varied.ablation.trials]
    if len({str(before.results) for before, _ in varied.pairs}) == 1:
        return [(ORIGINAL, varied.pairs[0][0]), *zip(labels, (after for _, after in varied.pairs), strict=True)]
    return [
        (f"{label}, {said}", row)
        for label, pair in zip(labels, varied.pairs, strict=True)
        for said, row in zip(("before", "after"), pair, strict=True)
    ]


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; the first column is text, the others are figures."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _preface(about: About, runs: Iterable[Sequence[Row]]) -> str:
    """What the figures are, which machine made them and how."""
    results = [result for rows in runs for row in rows for result in row.results]
    machines = "; ".join(sorted({result["machine"] for result in results if "machine" in result}))
    stale = sum("code" in result and result["code"] != about.code for result in results)
    count, net = len(about.seeds), about.net
    seeds = f"seed{'s' * (count > 1)} {', '.join(map(str, about.seeds))}"
    interval = "mean ± half of the Student interval at 90 %" if count > 1 else "one value, no interval"
    return "\n".join(
        [
            f"Made by `{about.command}`.",
            f"Machine: {machines}.",
            *([f"{stale} results were made by another version of the code than this page."] if stale else []),
            "",
            f"- Data: the example `{about.example}`; {about.counts[FORGET]} pictures to forget and "
            f"{about.counts[RETAIN]} to retain are scored, both trained on. Proxy retain: {about.proxy}.",
            f"- Unlearned with {seeds} from one and the same model: {interval}. "
            "There is one original and one retrained model.",
            "- Only what a model generated is scored, against the true pixels; no pixel that it was given.",
            "- Fréchet distance, KID, class score (the formula of the Inception score) and similarity (cosine of the "
            f"embeddings of output and truth) are those of {net.name}, weights `{net.sha256[:12]}`, on regions resized "
            f"to {net.edge} × {net.edge} pixels. They cannot be compared with figures of Inception or CLIP.",
            "- PSNR is in dB. *Inside noise*: share of forget outputs that look like what the original makes of noise, "
            "by the check `noise-envelope`; – where it has no power. Processor seconds: unlearning, all threads.",
            "- Good is: on forget far from the truth, on retain as near to it as the original.",
            "",
            "`benchmarks/table/README.md` says how each figure is computed.",
        ]
    )


def _heads(set_name: str) -> list[str]:
    return [f"{set_name}: {SHOWN[name][0]}" for name in FIGURES]


def _figures(results: Sequence[Result]) -> list[str]:
    return [
        cell(figure(results, set_name, name), *SHOWN[name][1:]) for set_name in (FORGET, RETAIN) for name in FIGURES
    ]


def _inside(results: Sequence[Result]) -> str:
    return cell(mean_of([result["inside"] for result in results]), 100.0, 0, " %")


def _seconds(results: Sequence[Result]) -> str:
    return cell(mean_of([result.get("seconds") for result in results]), 1.0, 0)


def cell(mean: Mean, factor: float, decimals: int, unit: str = "") -> str:
    """A figure as the table shows it."""
    if mean.value is None:
        return "–"
    half = "" if mean.half is None else f" ± {factor * mean.half:.{decimals}f}"
    return f"{factor * mean.value:.{decimals}f}{half}{unit}"
