"""The demonstrations that there are: which data each has, and which files come with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from compliance_unlearn.api import PolicyError
from compliance_unlearn.demo.digits import write_digits
from compliance_unlearn.demo.faces import write_faces
from compliance_unlearn.demo.garments import DEBIAN, write_garments

WORKSPACE, POLICIES = "workspace.yaml", Path("policies")


@dataclass(frozen=True)
class Example:
    """One demonstration.

    Attributes:
        dataset: name of its data set in its workspace.
        folder: of its workspace file and its policies, in the repository and where it is built.
        policies: file names of its policies, in the order in which to apply them.
        write: writes the data set into a folder that does not exist yet; does nothing where it exists.
    """

    dataset: str
    folder: Path
    policies: tuple[str, ...]
    write: Callable[[Path], None]


def find_example(name: str, source: Path | None = None) -> Example:
    """The demonstration of that name.

    Args:
        name: faces, digits or garments.
        source: folder of the original files, for a demonstration whose pictures do not come with a package.

    Raises:
        PolicyError: there is none, or it takes no source.
    """
    garments = partial(write_garments, source=source or DEBIAN)
    examples = {
        "faces": Example("faces", POLICIES, ("gdpr_req_123.yaml",), write_faces),
        "digits": Example(
            "digits", POLICIES / "examples/digits", ("forget_digit.yaml", "forget_digit_diffusion.yaml"), write_digits
        ),
        "garments": Example("garments", POLICIES / "examples/garments", ("forget_garment.yaml",), garments),
    }
    if name not in examples:
        raise PolicyError(f"--example: there is no `{name}`; there are: {', '.join(examples)}")
    if source is not None and name != "garments":
        raise PolicyError(
            f"--from: the pictures of `{name}` come with a package; garments alone are read from a folder"
        )
    return examples[name]


def write_policies(example: Example, folder: Path) -> None:
    """Write workspace file and policies, from the installed package or from its repository; overwrites nothing."""
    packaged = Path(__file__).parent / "templates"
    source = (packaged if packaged.exists() else Path(__file__).parents[2]) / example.folder
    folder.mkdir(parents=True, exist_ok=True)
    for name in (WORKSPACE, *example.policies):
        if not (folder / name).exists():
            (folder / name).write_bytes((source / name).read_bytes())
