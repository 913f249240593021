"""The tables of rights tell all that the chart grants, with a reason each, and what is rendered is what they tell."""

from pathlib import Path

import pytest

from tests.charts.rendering import RELEASE, Helm, of_kind
from tools import rights_docs
from tools.rights_docs import PAGES, RightsError, Rule, renewed, rules


def _told(people: bool) -> set[tuple[str, str, str]]:
    mine = [rule for rule in rules() if rule.for_people is people]
    return {
        (group, name, verb) for rule in mine for group in rule.groups for name in rule.resources for verb in rule.verbs
    }


def test_the_tables_tell_all_rights_that_are_rendered_and_no_other(helm: Helm) -> None:
    objects = helm.objects("--set", "dcgm.enabled=true,watchNamespaces={cams}")
    rendered: dict[bool, set[tuple[str, str, str]]] = {True: set(), False: set()}
    for role in of_kind(objects, "Role", "ClusterRole"):
        people = role["metadata"]["name"].removeprefix(f"{RELEASE}-") in ("view", "edit", "top", "viewer")
        for rule in role["rules"]:
            for group in rule["apiGroups"]:
                rendered[people] |= {(group, name, verb) for name in rule["resources"] for verb in rule["verbs"]}
    assert rendered == {True: _told(True), False: _told(False)}
    assert len(rendered[False]) > 50


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_the_pages_are_up_to_date(page: Path) -> None:
    text, found = page.read_text(), rules()
    for kind in PAGES[page]:
        assert renewed(text, kind, found) == text, "run make generate"


def test_a_rule_without_a_reason_is_refused(tmp_path: Path) -> None:
    bare = "rules:\n- apiGroups: [apps]\n  resources: [daemonsets]\n  verbs: [get]\n"
    (tmp_path / "clusterrole.yaml").write_text(bare)
    with pytest.raises(RightsError, match=r"clusterrole.yaml: the rule on daemonsets has no comment"):
        rules(tmp_path)
    (tmp_path / "clusterrole.yaml").write_text(bare.replace("- api", "# For the fun\n# of it.\n- api"))
    assert rules(tmp_path) == [Rule("whole cluster", ("apps",), ("daemonsets",), ("get",), "For the fun of it.", False)]


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(RightsError, match="put them back"):
        rights_docs.renewed("# Security\n", "rights", [])
