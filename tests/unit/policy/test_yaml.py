"""Only a small, unambiguous part of YAML is read, and every refusal says file, line and column."""

from pathlib import Path

import pytest

from compliance_unlearn.api import PolicyError
from compliance_unlearn.policy import load_yaml


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "file.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("a: 1\nb: {x: 1, x: 2}\n", "2:11", "b.x: this key stands here twice"),
        ("a: &x 1\n", "1:4", "anchors and aliases"),
        ("a: *x\n", "1:4", "anchors and aliases"),
        ("a: !!python/object:os.system 1\n", "1:4", "tags"),
        ("a: !custom 1\n", "1:4", "tags"),
        ("%YAML 1.1\n---\na: NO\n", "2:1", "directives"),
        ("a: 1\n---\nb: 2\n", "2:1", "a second document begins"),
        ("<<: {a: 1}\n", "1:1", "keys must be plain text"),
        ("a: 1\n1: x\n", "2:1", "keys must be plain text"),
        ("? [a]\n: 1\n", "1:3", "keys must be plain text"),
        ("- a\n- b\n", "1:1", "must hold keys and values"),
        ("", "1:1", "must hold keys and values"),
        ("just words", "1:1", "must hold keys and values"),
        ("a: [1,\n", "2:1", "not valid YAML"),
        ("a: b: c\n", "1:5", "not valid YAML"),
        ("a: 1\nb: \x00\n", "2:4", "not valid YAML"),
        (b"a: 1\nb: \xff\n", "2:4", "not UTF-8"),
        ("a: " + "[" * 40 + "]" * 40, "1:35", "nested deeper"),
        ("a: 017\n", "1:4", "read in two ways"),
        ("a: 0x1f\n", "1:4", "read in two ways"),
        ("a: .nan\n", "1:4", "read in two ways"),
        ("a: 99999999999999999999\n", "1:4", "read in two ways"),
    ],
)
def test_what_is_not_plain_yaml_is_refused_at_its_place(
    tmp_path: Path, text: str | bytes, place: str, problem: str
) -> None:
    with pytest.raises(PolicyError) as caught:
        load_yaml(write(tmp_path, text))
    assert f"file.yaml:{place}: " in str(caught.value)
    assert problem in str(caught.value)


def test_ten_megabytes_are_refused_without_being_read(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="larger than 256 KiB"):
        load_yaml(write(tmp_path, b"a: [" + b"1," * 5_000_000 + b"]"))


def test_a_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"absent\.yaml: cannot be read: No such file"):
        load_yaml(tmp_path / "absent.yaml")


def test_words_and_dates_stay_text_and_numbers_are_numbers(tmp_path: Path) -> None:
    text = "country: NO\nswitch: on\nanswer: yes\nday: 2026-11-02\ntruth: true\nnothing: ~\nint: -3\nfloat: 2.5e-1\n"
    assert load_yaml(write(tmp_path, text)).data == {
        "country": "NO",
        "switch": "on",
        "answer": "yes",
        "day": "2026-11-02",
        "truth": True,
        "nothing": None,
        "int": -3,
        "float": 0.25,
    }


def test_every_value_has_a_position_and_absent_ones_that_of_what_is_around_them(tmp_path: Path) -> None:
    located = load_yaml(write(tmp_path, "a:\n  b:\n    - x\n    - {c: 1}\n"))
    assert located.position(("a", "b", 1, "c")) == (4, 11)
    assert located.position(("a", "b", 1, "c"), of_key=True) == (4, 8)
    assert located.position(("a", "absent")) == located.position(("a",)) == (2, 3)


def test_files_are_named_as_a_person_would_type_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PolicyError, match=r"^file\.yaml:1:4: "):
        load_yaml(write(tmp_path, "a: *x\n"))
