"""What the two sources make of real folders and manifests, good and bad."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from cu_standard.sources.image_folder import ImageFolderSource
from cu_standard.sources.images import decode_image
from cu_standard.sources.manifest import ManifestSource
from cu_standard.sources.params import ImageFolderParams, ManifestParams
from PIL import Image
from pyarrow import parquet

from compliance_unlearn.api import DECODING_NOTES, Compare, DataError, Ids, Not, Operator, Record
from compliance_unlearn.testing.trees import FolderTree

from .conftest import save_digits


def manifest(folder: Path, content: str | dict[str, Any], **params: str) -> ManifestSource:
    """A data set of three digits with a manifest: text becomes CSV, columns become Parquet."""
    save_digits(folder, ["a.png", "b.png", "c.png"])
    if isinstance(content, str):
        (folder / "manifest.csv").write_text(content)
    else:
        params = {"manifest": "manifest.parquet", **params}
        parquet.write_table(pa.table(content), folder / "manifest.parquet")
    return ManifestSource(ManifestParams.model_validate(params), FolderTree(folder))


def image_folder(folder: Path, *names: str) -> ImageFolderSource:
    save_digits(folder, names)
    return ImageFolderSource(ImageFolderParams(), FolderTree(folder))


def equals(column: str, value: str | int) -> Compare:
    return Compare(column, Operator.EQUALS, (value,))


def test_names_stay_text_in_csv(tmp_path: Path) -> None:
    source = manifest(tmp_path, "path,id,subject,age\na.png,01,007,7\nb.png,1,7,8\nc.png,2,NA,9\n")
    assert [record.id for record in source.resolve(equals("subject", "007"))] == ["01"]
    assert [record.id for record in source.resolve(equals("subject", 7))] == ["1"]
    assert [record.id for record in source.resolve(equals("subject", "NA"))] == ["2"]
    assert [record.id for record in source.resolve(equals("age", "7"))] == ["01"]


def test_an_empty_field_is_a_missing_value_that_a_negation_selects(tmp_path: Path) -> None:
    source = manifest(tmp_path, 'path,subject\na.png,s1\nb.png,\nc.png,""\n')
    assert len(source.resolve(Not(equals("subject", "s1")))) == 2
    assert source.missing_values(equals("subject", "s1")) == 2
    assert source.resolve(None)[1].subject is None


def test_columns_may_have_other_names_and_keep_them(tmp_path: Path) -> None:
    content = {"file": ["a.png", "b.png", "c.png"], "person": pa.array(["x", None, "y"]).dictionary_encode()}
    source = manifest(tmp_path, content, path_column="file", subject_column="person")
    assert list(source.resolve(equals("subject", "x"))) == list(source.resolve(equals("person", "x")))
    assert source.resolve(None)[0] == Record("a.png", "a.png", "x", None, None)


def test_numbers_as_names_become_text(tmp_path: Path) -> None:
    source = manifest(tmp_path, {"path": ["a.png", "b.png"], "id": [10, 9], "subject": [1, 2]})
    assert [record.id for record in source.resolve(None)] == ["10", "9"]
    assert [record.path for record in source.resolve(Ids(frozenset({"9", "no such"})))] == ["b.png"]


def test_a_column_that_the_manifest_lacks_is_unknown_to_selectors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a column that the data set does not have; it has: id, path"):
        manifest(tmp_path, "path\na.png\n").resolve(Not(equals("subject", "s1")))


def test_the_manifest_is_read_as_it_was_pinned(tmp_path: Path) -> None:
    source = manifest(tmp_path, "path\na.png\nb.png\n")
    (tmp_path / "manifest.csv").write_text("path\na.png\n")
    assert len(source.resolve(None)) == 2


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("path\na.png\nsecret.png\n", "1 of 2 records have a path that is not a file"),
        ("path\n../a.png\n", "1 of 1 records"),
        ("path\na.png\na.png\n", "2 records share 1 files"),
        ("path,id\na.png,secret\nb.png,secret\n", "2 records but 1 different ids"),
        ('path,id\na.png,""\n', "1 of 1 records have no id"),
        ("secret.png,secret\na.png,secret\n", "no column 'path' among its 2; the first line of a CSV file must be"),
        ("path,secret\na.png,x\n", "no column 'person' among its 2"),
        ("path,label,label\na.png,1,2\n", "two columns of the same name"),
        ("path,subject\na.png,secret\nb.png\n", "not CSV"),
        ("", "not CSV"),
        ({"path": ["a.png"], "subject": [["secret"]]}, "column 'subject' of the manifest holds list"),
    ],
)
def test_a_bad_manifest_is_an_error_that_names_no_record(tmp_path: Path, content: Any, match: str) -> None:
    source = manifest(tmp_path, content, **({"subject_column": "person"} if "person" in match else {}))
    with pytest.raises(DataError, match=match) as caught:
        source.resolve(None)
    assert "secret" not in str(caught.value)


def test_bytes_that_are_no_manifest_are_an_error(tmp_path: Path) -> None:
    save_digits(tmp_path, ["a.png"])
    (tmp_path / "manifest.csv").write_bytes(b"path,subject\na.png,\xff\xfe\n")
    parquet.write_table(pa.table({"path": ["a.png"] * 100}), tmp_path / "manifest.parquet")
    content = (tmp_path / "manifest.parquet").read_bytes()
    (tmp_path / "manifest.parquet").write_bytes(content[: len(content) // 2])
    for name in ("manifest.csv", "manifest.parquet", "absent.csv"):
        with pytest.raises(DataError) as caught:
            ManifestSource(ManifestParams(manifest=name), FolderTree(tmp_path)).resolve(None)
        assert "raised" not in str(caught.value)


def test_two_columns_cannot_claim_one_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has a column 'subject', but the workspace says that it is 'person'"):
        manifest(tmp_path, "path,subject,person\na.png,1,2\n", subject_column="person").resolve(None)


def test_only_csv_and_parquet_are_manifests() -> None:
    with pytest.raises(ValueError, match="manifest must be"):
        ManifestParams(manifest="manifest.pkl")


@pytest.mark.parametrize(
    ("name", "split", "label"),
    [
        ("cat/1.jpg", "train", "cat"),
        ("n0144/n0144_18.JPEG", "train", "n0144"),
        ("train/n0144/n0144_18.JPEG", "train", "n0144"),
        ("val/cat/1.png", "val", "cat"),
        ("val/ILSVRC2012_val_00000001.JPEG", "val", None),
        ("train/a/airfield/00000001.jpg", "train", "a/airfield"),
        ("1.png", "train", None),
    ],
)
def test_folders_give_label_and_split(tmp_path: Path, name: str, split: str | None, label: str | None) -> None:
    assert list(image_folder(tmp_path, name).resolve(None)) == [Record(name, name, None, label, split)]


def test_without_split_folders_every_image_was_trained_on(tmp_path: Path) -> None:
    source = image_folder(tmp_path, "cat/1.jpg", "dog/2.jpg", "dog/deeper/3.jpg")
    assert len(source.resolve(equals("split", "train"))) == 3


def test_hidden_files_and_other_files_are_left_out(tmp_path: Path) -> None:
    save_digits(tmp_path, [".cache/cat/1.png", "cat/._1.png"])
    (tmp_path / "README.md").write_text("about")
    (tmp_path / "cat" / "notes.txt").write_text("about")
    assert [record.id for record in image_folder(tmp_path, "cat/1.png").resolve(None)] == ["cat/1.png"]


def test_a_class_without_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "1.txt").write_text("not an image")
    with pytest.raises(DataError, match="1 folders of the data set hold no images"):
        image_folder(tmp_path, "cat/1.png").resolve(None)
    with pytest.raises(DataError, match="holds no images"):
        ImageFolderSource(ImageFolderParams(), FolderTree(tmp_path / "dog")).resolve(None)


@pytest.mark.parametrize("left", ["", "dog/.gitkeep", "dog/deeper/.gitkeep", "dog/notes.txt"])
@pytest.mark.parametrize("pinned", [True, False], ids=["before", "afterwards"])
def test_a_folder_that_lost_its_images_is_an_error_and_not_named(tmp_path: Path, left: str, pinned: bool) -> None:
    source = image_folder(tmp_path, "cat/1.png")
    (tmp_path / "dog" / "deeper").mkdir(parents=True)
    if left:
        (tmp_path / left).touch()
    if pinned:
        source = image_folder(tmp_path, "cat/1.png")
    with pytest.raises(DataError, match="2 folders of the data set hold no images") as caught:
        source.resolve(None)
    assert "dog" not in str(caught.value)


def test_a_class_that_is_newer_than_the_revision_is_no_error(tmp_path: Path) -> None:
    source = image_folder(tmp_path, "cat/1.png")
    save_digits(tmp_path, ["dog/deeper/1.png"])
    (tmp_path / "cat" / ".cache" / "empty").mkdir(parents=True)
    assert len(source.resolve(None)) == 1


def test_a_class_that_was_moved_away_is_still_known(tmp_path: Path) -> None:
    source = image_folder(tmp_path, "cat/1.png", "dog/1.png")
    (tmp_path / "dog" / "1.png").unlink()
    assert len(source.resolve(None)) == 2


@pytest.mark.parametrize("name", ["1.jfif", "1.JPE", "1.dib", "1.apng"])
def test_rarer_endings_are_images_too(tmp_path: Path, name: str) -> None:
    Image.new("RGB", (3, 2)).save(tmp_path / name, {"dib": "DIB", "apng": "PNG"}.get(name[2:], "JPEG"))
    source = ImageFolderSource(ImageFolderParams(), FolderTree(tmp_path))
    assert source.open(source.resolve(None)[0]).size == (3, 2)


def test_splits_beside_classes_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="splits"):
        image_folder(tmp_path, "train/cat/1.png", "dog/1.png").resolve(None)


def test_a_class_may_be_called_test(tmp_path: Path) -> None:
    source = image_folder(tmp_path, "test/1.png", "dog/1.png")
    assert {record.label for record in source.resolve(None)} == {"test", "dog"}


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = image_folder(tmp_path, "cat/1.png")
    for limit in (64 * 64 // 3, 64 * 64 - 1):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(DataError, match="attack on memory"):
            source.open(source.resolve(None)[0])


def decoded(path: Path) -> tuple[Image.Image, list[str]]:
    """A picture as the source reads it, and what it says was lost."""
    image = decode_image(path)
    return image, image.info[DECODING_NOTES]


@pytest.mark.parametrize("name", ["1.gif", "1.png", "1.webp", "1.tif"])
def test_of_several_frames_the_first_is_taken_and_that_is_said(tmp_path: Path, name: str) -> None:
    frames = [Image.new("L", (16, 16), value) for value in (0, 128, 255)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    image, notes = decoded(tmp_path / name)
    assert image.convert("L").getextrema() == (0, 0)
    assert notes == ["cut down to the first of several frames"]


def test_a_picture_is_turned_as_its_exif_data_say(tmp_path: Path) -> None:
    plain = Image.new("L", (4, 2))
    plain.paste(255, (0, 0, 2, 2))
    exif = Image.Exif()
    exif[0x0112] = 6
    plain.save(tmp_path / "1.png", exif=exif)
    image, notes = decoded(tmp_path / "1.png")
    assert image.size == (2, 4)
    assert (image.getpixel((0, 0)), image.getpixel((0, 3))) == (255, 0)
    assert notes == ["turned upright as its EXIF data say"]


def test_exif_data_that_make_no_sense_are_left_alone(tmp_path: Path) -> None:
    Image.new("L", (4, 2)).save(tmp_path / "1.jpg", exif=b"Exif\x00\x00nonsense")
    image, notes = decoded(tmp_path / "1.jpg")
    assert (image.size, notes) == ((4, 2), [])


def test_sixteen_bits_that_become_eight_are_said(tmp_path: Path) -> None:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header, rows = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0), zlib.compress(b"\0" + b"\xff\x01" * 6)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    (tmp_path / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    (tmp_path / "1.ppm").write_bytes(b"P6 2 1 65535\n" + b"\xff\x01" * 6)
    (tmp_path / "2.ppm").write_bytes(b"P6 2 1 255\n" + b"\xff" * 6)
    assert decoded(tmp_path / "1.png")[1] == decoded(tmp_path / "1.ppm")[1] == ["converted from 16 to 8 bits"]
    assert decoded(tmp_path / "2.ppm")[1] == []
