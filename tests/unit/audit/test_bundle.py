"""A bundle that was touched after it was sealed is noticed."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import rfc8785
from cu_audit.bundle import MANIFEST, PLAN, REQUIRED, RESULT, STATEMENT, Bundle, BundleError, seal
from cu_audit.canonical import canonical, file_sha256, files_sha256, folder_files, keyed, sha256
from cu_audit.records import BeforeAfter, Evidence, Interval, ModelResult, Outcome, RunResult
from pydantic import ValidationError

from tests.bundles import build_bundle, build_result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return build_bundle(tmp_path / "bundle", steps=3).folder


def test_a_bundle_opens_and_knows_itself(folder: Path) -> None:
    bundle = Bundle(folder)
    assert bundle.sha256 == file_sha256(folder / MANIFEST)
    assert bundle.result == build_result(("face-mae",), Outcome.COMPLIANT, 3)
    assert set(bundle.manifest.files) == set(REQUIRED)


@pytest.mark.parametrize("name", [*REQUIRED, MANIFEST])
def test_a_missing_file_is_noticed_and_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BundleError, match=f"{name}.* missing"):
        Bundle(folder)


@pytest.mark.parametrize("name", REQUIRED)
def test_a_changed_byte_is_noticed_and_named(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(bytes(data))
    with pytest.raises(BundleError, match=f"{name}: changed"):
        Bundle(folder)


@pytest.mark.parametrize("name", ["extra.txt", "deeper/extra.txt", ".hidden"])
def test_an_added_file_is_noticed_and_named(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("x")
    with pytest.raises(BundleError, match=f"{name}: not listed"):
        Bundle(folder)


def test_a_required_file_that_the_manifest_forgets_is_missing(folder: Path) -> None:
    (folder / "plan.json").unlink()
    (folder / MANIFEST).unlink()
    seal(folder)
    with pytest.raises(BundleError, match=r"plan\.json: missing"):
        Bundle(folder)


def spoil(change: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    """Change the result and seal again, as somebody would who knows the format."""

    def act(folder: Path) -> None:
        content = json.loads((folder / RESULT).read_bytes())
        change(content)
        reseal(folder, RESULT, content)

    return act


def reseal(folder: Path, name: str, content: object) -> None:
    """Replace a file, and make the manifest fit."""
    (folder / name).write_bytes(canonical(content))
    (folder / MANIFEST).unlink()
    seal(folder)


@pytest.mark.parametrize(
    "act",
    [
        spoil(lambda content: content.update(format="compliance-unlearn/result/2")),
        spoil(lambda content: content.update(surprise=1)),
        spoil(lambda content: content.pop("verdict")),
        spoil(lambda content: content.update(verdict="erased")),
        lambda folder: (folder / MANIFEST).write_text("{"),
        lambda folder: (folder / MANIFEST).write_text('{"format": "compliance-unlearn/bundle/1", "files": {"a": "b"}}'),
    ],
    ids=["other version", "unknown key", "key absent", "unknown verdict", "no JSON", "no digest"],
)
def test_a_record_of_another_form_is_refused(folder: Path, act: Callable[[Path], object]) -> None:
    act(folder)
    with pytest.raises(BundleError, match="cannot be read"):
        Bundle(folder)


OTHER = "0" * 64


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("resultSha256", OTHER),
        ("planSha256", OTHER),
        ("planDigest", f"hmac-sha256:{OTHER}"),
        ("request", "gdpr-req-124"),
        ("verdict", "not-compliant"),
    ],
)
def test_a_statement_about_something_else_is_noticed(folder: Path, name: str, value: str) -> None:
    content = json.loads((folder / STATEMENT).read_bytes())
    content["predicate"][name] = value
    reseal(folder, STATEMENT, content)
    with pytest.raises(BundleError, match=rf"statement\.json: {name}: not what the other files say"):
        Bundle(folder)


def test_a_result_that_was_replaced_contradicts_the_statement(folder: Path) -> None:
    content = json.loads((folder / RESULT).read_bytes())
    content["verdict"] = "inconclusive"
    reseal(folder, RESULT, content)
    with pytest.raises(BundleError, match=r"statement\.json: resultSha256, verdict: not"):
        Bundle(folder)


def test_a_plan_that_was_replaced_contradicts_the_statement(folder: Path) -> None:
    reseal(folder, PLAN, {})
    with pytest.raises(BundleError, match=r"statement\.json: planSha256: not"):
        Bundle(folder)


@pytest.mark.parametrize("content", [[], {}, {"predicate": {"request": "gdpr-req-123"}}])
def test_a_statement_of_another_form_is_refused(folder: Path, content: object) -> None:
    reseal(folder, STATEMENT, content)
    with pytest.raises(BundleError, match="cannot be read"):
        Bundle(folder)


def test_an_absent_bundle_is_a_bundle_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="missing"):
        Bundle(tmp_path / "nothing")


@pytest.mark.parametrize("where", ["bundle", "bundle/manifest.json"])
def test_a_file_for_a_folder_and_the_other_way_round_are_bundle_errors(folder: Path, where: str) -> None:
    path = folder.parent / where
    if path.is_dir():
        shutil.rmtree(path)
        path.write_text("x")
    else:
        path.unlink()
        path.mkdir()
    with pytest.raises(BundleError):
        Bundle(folder)


def test_a_new_seal_gives_a_new_identity(folder: Path) -> None:
    before = Bundle(folder).sha256
    (folder / "report.html").write_text("other")
    (folder / MANIFEST).unlink()
    seal(folder)
    assert Bundle(folder).sha256 != before


def test_canonical_json_is_that_of_rfc_8785() -> None:
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 1e-27],
        "€": '\u20ac$\u000f\nA\'B"\\\\"/',
        "literals": [None, True],
    }
    assert (
        canonical(value)
        == (
            '{"literals":[null,true],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
            '"€":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
        ).encode()
    )


def test_canonical_json_does_not_depend_on_the_order_of_keys() -> None:
    assert canonical({"b": 1, "a": {"d": 2, "c": 3}}) == canonical({"a": {"c": 3, "d": 2}, "b": 1})


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_enter_no_record_and_no_json(number: float) -> None:
    with pytest.raises(rfc8785.CanonicalizationError):
        canonical({"value": number})
    with pytest.raises(ValidationError):
        BeforeAfter(before=number, after=0.0)
    with pytest.raises(ValidationError):
        Interval(low=0.0, high=number, method="none")


def test_no_record_has_a_field_that_takes_a_number_that_is_not_finite() -> None:
    records = Evidence.__subclasses__()
    assert RunResult in records
    for record in records:
        for name, field in record.model_fields.items():
            assert field.annotation is not float or any(
                getattr(part, "allow_inf_nan", True) is False for part in field.metadata
            ), f"{record.__name__}.{name} is a bare float"
    text = canonical(build_result(("face-mae",), Outcome.COMPLIANT, 3)).decode()
    assert "NaN" not in text
    assert "Infinity" not in text


def test_parameters_hold_no_number_that_is_not_finite() -> None:
    model = build_result(("face-mae",), Outcome.COMPLIANT, 3).models[0]
    with pytest.raises(ValidationError):
        ModelResult.model_validate({**model.model_dump(), "parameters": {"alpha": math.nan}})


def test_digests_of_a_folder_depend_on_names_and_bytes_alone(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name / "deep").mkdir(parents=True)
    for first in ("one", "other"):
        for path in ("b", "deep/a") if first == "one" else ("deep/a", "b"):
            (tmp_path / first / path).write_text(path)
    one, other = folder_files(tmp_path / "one"), folder_files(tmp_path / "other")
    assert list(one) == ["b", "deep/a"]
    assert files_sha256(one) == files_sha256(other) == files_sha256(dict(reversed(one.items())))
    (tmp_path / "other" / "b").rename(tmp_path / "other" / "c")
    assert files_sha256(folder_files(tmp_path / "other")) != files_sha256(one)


def test_keyed_digests_are_hmac_sha256() -> None:
    # RFC 4231, test case 2.
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert keyed(b"Jefe", b"what do ya want for nothing?") == f"hmac-sha256:{expected}"
    assert sha256(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
