"""A policy that is right, and a way to make it wrong."""

from pathlib import Path

POLICY = """\
version: 1
request:
  id: gdpr-req-123
  ground: GDPR Art. 17(1)(b)
  received: 2026-11-02
forget:
  dataset: faces
  where: {subject: s17}
models: affected
strategy: echo-alignment
accept:
  echo-drift: {at_most: 0.5}
"""


def policy_file(folder: Path, *changes: tuple[str, str]) -> Path:
    """Write the policy with some of its text replaced."""
    text = POLICY
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "request.yaml"
    path.write_text(text, encoding="utf-8")
    return path
