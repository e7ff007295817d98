"""The page of a run in MLflow: texts of a policy, a workspace or a plugin stay texts in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cu_audit.bundle import Bundle
from cu_audit.records import BeforeAfter, RunResult
from cu_mlflow.description import describe_run, describe_version
from markdown_it import MarkdownIt
from markdown_it.token import Token

EVIL = [
    "![x](http://example.org/pixel.png)",
    "[click](https://example.org) <img src=http://example.org/x.png>",
    "[a]: http://example.org ![a] [a][a] <https://example.org>",
    "\\![x](http://example.org) \\\\[x](http://example.org)",
    "`![x](http://example.org)`",
    "| cell | ![x](http://example.org) \\| **bold** ~~gone~~ _slanted_",
    "&#33;&#91;x&#93;(http&#58;//example.org)",
    "line\n\n# heading\n\n- ![x](http://example.org)",
]


def evil_result(result: RunResult, text: str) -> RunResult:
    """The result of a run in which every free text is ``text``."""
    [model] = result.models
    checks = tuple(
        check.model_copy(update={"name": text, "set": text, "unit": text, "reason": text, "not_tested": text})
        for check in model.checks
    )
    weights = {"path": text}
    model = model.model_copy(
        update={
            "name": text,
            "strategy": text,
            "source": model.source.model_copy(update=weights),
            "candidate": model.candidate.model_copy(update=weights),
            "metrics": {text: {text: BeforeAfter(before=1.0, after=2.0)}},
            "checks": checks,
        }
    )
    return result.model_copy(
        update={
            "request": result.request.model_copy(update={"ground": text, "received": text, "due": text, "id": text}),
            "sentence": text,
            "lineage": result.lineage.model_copy(update={"dataset": text, "revision": text, "digest": text}),
            "models": (model, model.model_copy(update={"name": text * 2})),
            "not_reached": (text,),
        }
    )


def tokens(markdown: str) -> Iterator[Token]:
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown):
        yield token
        yield from token.children or ()


@pytest.mark.parametrize("text", EVIL)
def test_no_text_becomes_an_image_a_link_or_other_markup(bundle: Bundle, text: str) -> None:
    bundle.result = evil_result(bundle.result, text)
    for page in (describe_run(bundle), *(describe_version(bundle, model) for model in bundle.result.models)):
        found = list(tokens(page))
        kinds = {token.type for token in found}
        assert not kinds & {"image", "link_open", "html_inline", "html_block", "s_open", "em_open", "heading"}
        assert {token.tag for token in found if token.type == "heading_open"} <= {"h3"}
        shown = "".join(token.content for token in found if token.type == "text")
        assert "http://" not in shown, "renderers make links of bare addresses"
        assert "https://" not in shown


@pytest.mark.parametrize("text", ["Art. 17(1)(b) *GDPR*", "a_b [c] `d` ~e~ 1 < 2 & 3 \\ 4 | 5!", "&amp; is written so"])
def test_a_text_is_shown_as_it_was_written(bundle: Bundle, text: str) -> None:
    request = bundle.result.request.model_copy(update={"ground": text})
    bundle.result = bundle.result.model_copy(update={"request": request})
    shown = "".join(token.content for token in tokens(describe_run(bundle)) if token.type in ("text", "text_special"))
    assert text in shown


def test_addresses_without_a_scheme_become_no_links_either(bundle: Bundle) -> None:
    bundle.result = bundle.result.model_copy(update={"not_reached": ("see WWW.example.org or ask eve@example.org",)})
    page = describe_run(bundle)
    assert "WWW.example" not in page
    assert "eve@" not in page
