"""YAML files as plain data that remembers where each key stood, so that every error can say line and column.

Only a small, unambiguous part of YAML 1.2 is read: one document, no aliases, tags or directives, text keys, and numbers
as JSON writes them. ``NO`` and ``on`` are text; so is a date, until a model asks for one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    NodeEvent,
    ScalarEvent,
)
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from compliance_unlearn.api.errors import PolicyError

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
SELECTORS = frozenset({"where", "showable"})
"""Keys whose values are selectors; an error names nothing that stands inside them."""

Location = tuple[str | int, ...]
"""Keys and list indices from the top of a file down to a value."""

Position = tuple[int, int]
"""Line and column, both counted from 1."""

# The only words of the file that the parser quotes; single characters and names of tokens help and betray nobody.
_QUOTED = re.compile(r"(?<=tag handle) '.*'")
_TAG = "tag:yaml.org,2002:"
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,15})")
_FLOAT = re.compile(r"-?(0|[1-9][0-9]{0,15})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?")


@dataclass(frozen=True)
class Located:
    """Data of a YAML file, and the position of everything in it.

    Attributes:
        path: the file.
        data: dicts, lists and scalars; dates are still text.
        keys: position of the key (or list item) at each location.
        values: position of the value at each location.
    """

    path: Path
    data: dict[str, Any]
    keys: Mapping[Location, Position] = field(repr=False)
    values: Mapping[Location, Position] = field(repr=False)

    def within(self, location: Location) -> Location:
        """The part of a pydantic error location that exists in the file; tags of unions are left out."""
        found: Location = ()
        for part in location:
            if (*found, part) in self.values:
                found = (*found, part)
        return found

    def position(self, location: Location, *, of_key: bool = False) -> Position:
        """Line and column of a value, or of its key; of the nearest mapping around it if it is absent."""
        found = self.within(location)
        return (self.keys if of_key and found else self.values)[found]


def dotted(location: Location) -> str:
    """A location as people write it: `accept.noise-envelope`, `models[0]`."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def speakable(location: Location) -> Location:
    """A location without the part inside a selector: a slip of the pen puts a subject there."""
    for index, part in enumerate(location):
        if part in SELECTORS:
            return location[: index + 1]
    return location


def display_path(path: Path) -> str:
    """The path as a person would type it: relative to the current folder where that is shorter."""
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return str(path)


def load_yaml(path: Path) -> Located:
    """Read a YAML file strictly.

    Raises:
        PolicyError: the file cannot be read, is too large, or is not the YAML that we take; with line and column.
    """
    text = _read_text(path)
    try:
        _refuse_fancy_yaml(path, text)
        node = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = _QUOTED.sub("", " ".join(part for part in (error.context, error.problem) if part))
        _fail(path, (mark.line + 1, mark.column + 1) if mark else (1, 1), f"not valid YAML: {problem}")
    except YAMLError as error:
        _fail(path, _offset_position(text, getattr(error, "position", 0)), "not valid YAML: a control character")
    if not isinstance(node, MappingNode):
        _fail(path, (1, 1), "the file must hold keys and values, such as `version: 1`")
    builder = _Builder(path)
    data = builder.build(node, ())
    return Located(path, data, builder.keys, builder.values)


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise PolicyError(f"{display_path(path)}: cannot be read: {error.strerror}") from error
    if len(raw) > MAX_BYTES:
        raise PolicyError(f"{display_path(path)}:1:1: the file is larger than {MAX_BYTES // 1024} KiB")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8-sig", errors="replace")
        _fail(path, _offset_position(before, len(before)), "the file is not UTF-8 text")


def _offset_position(text: str, offset: int) -> Position:
    before = text[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1


def _fail(path: Path, position: Position, message: str) -> NoReturn:
    raise PolicyError(f"{display_path(path)}:{position[0]}:{position[1]}: {message}")


def _refuse_fancy_yaml(path: Path, text: str) -> None:
    """Look at the events before anything is built, so that no alias or depth can blow up memory."""
    documents = depth = 0
    for event in YAML(typ="safe", pure=True).parse(text):
        at = (event.start_mark.line + 1, event.start_mark.column + 1)
        if isinstance(event, DocumentStartEvent):
            documents += 1
            if documents > 1:
                _fail(path, at, "a second document begins; one file holds one document")
            if event.version or event.tags:
                _fail(path, at, "directives such as %YAML are not allowed")
        if isinstance(event, AliasEvent) or (isinstance(event, NodeEvent) and event.anchor):
            _fail(path, at, "anchors and aliases (& and *) are not allowed; write the value out")
        if isinstance(event, ScalarEvent | CollectionStartEvent) and event.ctag is not None:
            _fail(path, at, "tags (!) are not allowed")
        depth += isinstance(event, CollectionStartEvent)
        depth -= isinstance(event, CollectionEndEvent)
        if depth > MAX_DEPTH:
            _fail(path, at, f"nested deeper than {MAX_DEPTH} levels")


class _Builder:
    """Turns nodes into plain data and notes where each stood."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keys: dict[Location, Position] = {}
        self.values: dict[Location, Position] = {}

    def build(self, node: Node, location: Location) -> Any:
        self.values[location] = _start(node)
        if isinstance(node, MappingNode):
            return self._mapping(node, location)
        if isinstance(node, SequenceNode):
            items = []
            for index, item in enumerate(node.value):
                self.keys[(*location, index)] = _start(item)
                items.append(self.build(item, (*location, index)))
            return items
        assert isinstance(node, ScalarNode)
        return self._scalar(node)

    def _mapping(self, node: MappingNode, location: Location) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode) or key_node.tag not in (_TAG + "str", _TAG + "timestamp"):
                _fail(self.path, _start(key_node), "keys must be plain text; put quotes around it")
            key = str(key_node.value)
            if key in data:
                shown = dotted(speakable((*location, key)))
                _fail(self.path, _start(key_node), f"{shown}: {_twice(location)}")
            self.keys[(*location, key)] = _start(key_node)
            data[key] = self.build(value_node, (*location, key))
        return data

    def _scalar(self, node: ScalarNode) -> str | int | float | bool | None:
        tag, text = str(node.tag).removeprefix(_TAG), str(node.value)
        if tag == "null":
            return None
        if tag == "bool":
            return text.lower() == "true"
        if tag == "int" and _INTEGER.fullmatch(text) and abs(int(text)) < 2**53:
            return int(text)
        if tag == "float" and _FLOAT.fullmatch(text):
            return float(text)
        if tag in ("int", "float"):
            _fail(self.path, _start(node), "this number can be read in two ways; quote it if it is text")
        return text


def _twice(location: Location) -> str:
    inside = speakable((*location, "")) != (*location, "")
    return "a key inside this selector stands there twice" if inside else "this key stands here twice"


def _start(node: Node) -> Position:
    return node.start_mark.line + 1, node.start_mark.column + 1
