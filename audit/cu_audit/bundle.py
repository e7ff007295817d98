"""The evidence bundle: a folder of files and a manifest with the digest of each.

```
<bundle>/
  manifest.json    format, and path -> SHA-256 of every other file
  result.json      RunResult: verdict, checks, metrics, lineage, environment
  plan.json        what was going to be done, with keyed digests of what names the subject
  policy.yaml      the policy with its selectors redacted
  statement.json   in-toto Statement v1 over the candidates, result and plan
  report.html      the page for people
```

The bundle is what proves a run; a tracker only shows it. Its identity is the SHA-256 of ``manifest.json``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cu_audit.canonical import canonical, file_sha256, folder_files
from cu_audit.records import Evidence, RunResult, Sha256

MANIFEST = "manifest.json"
RESULT = "result.json"
PLAN = "plan.json"
POLICY = "policy.yaml"
STATEMENT = "statement.json"
REPORT = "report.html"
REQUIRED = (RESULT, PLAN, POLICY, STATEMENT, REPORT)


class BundleError(Exception):
    """A bundle is incomplete, was changed after it was sealed, contradicts itself, or is of another format."""


class Manifest(Evidence):
    """Table of contents of a bundle."""

    format: Literal["compliance-unlearn/bundle/1"] = "compliance-unlearn/bundle/1"
    files: dict[str, Sha256]


class _Predicate(BaseModel):
    """What the statement claims about the other files; what else it says is not read here."""

    model_config = ConfigDict(frozen=True)

    request: str
    plan_digest: str = Field(alias="planDigest")
    plan_sha256: Sha256 = Field(alias="planSha256")
    result_sha256: Sha256 = Field(alias="resultSha256")
    verdict: str


class _Statement(BaseModel):
    model_config = ConfigDict(frozen=True)

    predicate: _Predicate


class Bundle:
    """A sealed bundle on disk, verified when it is opened.

    Attributes:
        folder: where it lies.
        manifest: its table of contents.
        result: the parsed ``result.json``.
        sha256: identity of the bundle, the SHA-256 of its manifest.
    """

    def __init__(self, folder: Path) -> None:
        """Open and verify.

        Raises:
            BundleError: a file is missing, added or changed, a record cannot be read, or the statement speaks of
                another result or plan.
        """
        self.folder = folder
        try:
            self.manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
            self._verify()
            self.result = RunResult.model_validate_json((folder / RESULT).read_bytes())
            self._compare(_Statement.model_validate_json((folder / STATEMENT).read_bytes()).predicate)
        except FileNotFoundError as error:
            raise BundleError(f"{folder.name}: {Path(error.filename).name} is missing") from error
        except OSError as error:
            raise BundleError(f"{folder.name}: it is not a folder of files that can be read") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise BundleError(f"{folder.name}: a record cannot be read: {where}: {first['msg']}") from error
        self.sha256 = file_sha256(folder / MANIFEST)

    def _verify(self) -> None:
        found = folder_files(self.folder)
        found.pop(MANIFEST)
        stated = self.manifest.files
        missing = sorted({*stated, *REQUIRED} - set(found))
        added = sorted(set(found) - set(stated))
        changed = sorted(path for path in stated if path in found and found[path] != stated[path])
        for files, what in ((missing, "missing"), (added, "not listed in the manifest"), (changed, "changed")):
            if files:
                raise BundleError(f"{self.folder.name}: {', '.join(files)}: {what}")

    def _compare(self, stated: _Predicate) -> None:
        """Whether the statement, the part that gets signed, is about these very files and says what they say."""
        found = {
            "resultSha256": (stated.result_sha256, self.manifest.files[RESULT]),
            "planSha256": (stated.plan_sha256, self.manifest.files[PLAN]),
            "verdict": (stated.verdict, self.result.verdict.value),
            "request": (stated.request, self.result.request.id),
            "planDigest": (stated.plan_digest, self.result.plan_digest),
        }
        wrong = [name for name, (said, is_so) in found.items() if said != is_so]
        if wrong:
            raise BundleError(f"{self.folder.name}: {STATEMENT}: {', '.join(wrong)}: not what the other files say")


def seal(folder: Path) -> Manifest:
    """Write the manifest of a folder that holds all the other files; the caller makes it durable."""
    manifest = Manifest(files=folder_files(folder))
    (folder / MANIFEST).write_bytes(canonical(manifest))
    return manifest
