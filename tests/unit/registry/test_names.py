"""Every name and parameter that a request touches is checked without data, and each error stands in its own file."""

from pathlib import Path

import pytest

from compliance_unlearn.api import ComplianceError, PluginError, PolicyError
from compliance_unlearn.policy import LoadedPolicy
from compliance_unlearn.registry import Registry, check_names
from compliance_unlearn.workspace import Workspace
from tests.unit.policy.examples import policy_file
from tests.unit.registry.conftest import Load
from tests.unit.registry.generated import CHECK, write_plugin
from tests.unit.workspace.examples import workspace_file

Change = tuple[str, str]


def errors(folder: Path, registry: Registry, policy: Change | None, workspace: Change | None = None) -> str:
    """What is wrong with the example after one change in the policy, the workspace, or both."""
    loaded = LoadedPolicy.load(policy_file(folder, *([policy] if policy else [])))
    opened = Workspace.load(workspace_file(folder, *([workspace] if workspace else [])))
    with pytest.raises(ComplianceError) as caught:
        check_names(loaded, opened, registry)
    assert type(caught.value) is PolicyError
    return str(caught.value)


def test_the_example_is_right_and_needs_no_workspace_on_disk(tmp_path: Path, echo: Registry) -> None:
    workspace = Workspace.load(workspace_file(tmp_path))
    check_names(LoadedPolicy.load(policy_file(tmp_path)), workspace, echo)
    assert not workspace.root.exists()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("dataset: faces", "dataset: facse"), "7:12: forget.dataset: the workspace has no data set `facse`; did you"),
        (("affected", "[face-echo]"), "9:10: models[0]: the workspace has no model `face-echo`; did you mean `faces-"),
        (("echo-alignment", "echo-alignmnt"), "10:11: strategy: there is no strategy `echo-alignmnt`; did you mean"),
        (("echo-drift", "noise"), "12:3: accept.noise: there is no check `noise` (known: echo-counts, echo-drift)"),
        (("at_most", "at_mots"), "12:16: accept.echo-drift.at_mots: unknown key; did you mean `at_most`?"),
        (("at_most: 0.5", "at_most: -1"), "12:25: accept.echo-drift.at_most: must be greater than or equal to 0"),
        (("at_most: 0.5", "at_most: much"), "12:25: accept.echo-drift.at_most: must be a valid number"),
        (
            ("affected", "affected\nretain: {use: proxy, dataset: objects}"),
            "10:31: retain.dataset: the workspace has no data set `objects`",
        ),
        (
            ("echo-alignment", "{use: echo-alignment, params: {weight: 1}}"),
            "10:42: strategy.params.weight: unknown key; did you mean `retain_weight`?",
        ),
        (
            ("echo-alignment", "{use: echo-alignment, params: {forget_weight: 0}}"),
            "10:57: strategy.params.forget_weight: must be greater than 0",
        ),
    ],
)
def test_an_error_in_the_policy_stands_in_the_policy(tmp_path: Path, echo: Registry, change: Change, line: str) -> None:
    assert f"request.yaml:{line}" in errors(tmp_path, echo, change)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("lineage: echo-journal", "lineage: git"), "3:10: lineage: there is no lineage store `git`"),
        (("source: echo-folder", "source: folder"), "6:13: datasets.faces.source: there is no data source `folder`"),
        (("adapter: echo", "adapter: ecco"), "11:14: models.faces-echo.adapter: there is no model adapter `ecco`"),
        (
            ("{kind: random-mask, ratio: 0.5}", "{kind: outpaint}"),
            "13:11: models.faces-echo.task: `echo` cannot do `outpaint`; it can do: inpaint, random-mask",
        ),
        (
            ("{dataset: faces}", "{dataset: objects}"),
            "14:25: models.faces-echo.training.dataset: the workspace has no data set `objects`",
        ),
        (
            ("echo-alignment:", "alignment:"),
            "16:7: models.faces-echo.strategies.alignment: there is no strategy `alignment`",
        ),
        (
            ("forget_weight: 2.0", "forget_weight: no"),
            "17:33: models.faces-echo.strategies.echo-alignment.params.forget_weight: must be a valid number",
        ),
        (("echo-folder: {}", "tracker: {}"), "21:5: evidence.sinks.tracker: there is no evidence sink `tracker`"),
        (
            ("echo-folder: {}", "echo-folder: {folder: 3}"),
            "21:27: evidence.sinks.echo-folder.folder: must be text",
        ),
    ],
)
def test_an_error_in_the_workspace_stands_in_the_workspace(
    tmp_path: Path, echo: Registry, change: Change, line: str
) -> None:
    assert f"workspace.yaml:{line}" in errors(tmp_path, echo, None, change)


def test_a_parameter_that_nobody_gives_is_missed_in_the_policy(tmp_path: Path, echo: Registry) -> None:
    change = ("params: {forget_weight: 2.0}", "params: {}")
    assert "request.yaml:10:11: strategy.forget_weight: this key is missing" in errors(tmp_path, echo, None, change)


def test_the_word_of_the_policy_wins_over_a_default_of_the_workspace(tmp_path: Path, echo: Registry) -> None:
    policy = policy_file(tmp_path, ("echo-alignment", "{use: echo-alignment, params: {forget_weight: 3}}"))
    workspace = workspace_file(tmp_path, ("forget_weight: 2.0", "forget_weight: no"))
    check_names(LoadedPolicy.load(policy), Workspace.load(workspace), echo)


def test_errors_of_both_files_are_told_at_once(tmp_path: Path, echo: Registry) -> None:
    text = errors(tmp_path, echo, ("echo-drift", "noise"), ("adapter: echo", "adapter: ecco"))
    assert [line.split("/")[-1].split(":")[0] for line in text.splitlines()] == ["workspace.yaml", "request.yaml"]


def test_a_model_that_the_policy_leaves_alone_may_need_an_absent_plugin(tmp_path: Path, echo: Registry) -> None:
    other = "  other: {adapter: absent, weights: w, task: {kind: inpaint}, training: {dataset: faces}}\n"
    workspace = Workspace.load(workspace_file(tmp_path, ("models:\n", "models:\n" + other)))
    check_names(LoadedPolicy.load(policy_file(tmp_path, ("affected", "[faces-echo]"))), workspace, echo)
    with pytest.raises(PolicyError, match=r"models\.other\.adapter"):
        check_names(LoadedPolicy.load(policy_file(tmp_path)), workspace, echo)


def test_a_broken_plugin_is_fatal_only_for_a_policy_that_names_it(tmp_path: Path, plugins: Path, load: Load) -> None:
    write_plugin(plugins, "broken", CHECK.replace("{name}", "theirs").replace('"a check"', "3"))
    workspace = Workspace.load(workspace_file(tmp_path))
    check_names(LoadedPolicy.load(policy_file(tmp_path)), workspace, load())
    policy = LoadedPolicy.load(policy_file(tmp_path, ("echo-drift: {at_most: 0.5}", "theirs: {}")))
    with pytest.raises(PluginError, match=r"request\.yaml:12:3: accept\.theirs: .*plugin `broken` .* is broken"):
        check_names(policy, workspace, load())


def test_a_policy_must_name_a_check_that_tests_forgetting(tmp_path: Path, echo: Registry) -> None:
    text = errors(tmp_path, echo, ("echo-drift: {at_most: 0.5}", "echo-counts: {}"))
    assert "accept: names no check that tests forgetting; name one of: echo-drift" in text
