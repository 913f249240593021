"""Who may do what, as tables: the rules in the chart's templates, each with the comment above it as its reason.

The operator's rules stand in docs/security.md and in the chart's README, people's in docs/security.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = ROOT / "charts/yolofleet/templates"
RULE = re.compile(r"((?:^#(?: .*)?\n)*)(^- apiGroups: .*\n(?:  \w+: .*\n)+)", re.MULTILINE)
DEFINE = re.compile(r'^\{\{-? define "([^"]+)"', re.MULTILINE)
ROLE = re.compile(r"^  name: (.*)$", re.MULTILINE)
WHERE = {
    "clusterrole.yaml": "whole cluster",
    "yolofleet.namespacedRules": "served namespaces",
    "yolofleet.eventRules": "served namespaces; `default` for MigPools",
    "roles.yaml": "namespace of dcgm-exporter, if `dcgm.enabled`",
}
PEOPLE = ("top.yaml", "user-roles.yaml")
PAGES = {
    ROOT / "docs/security.md": ("rights", "people"),
    ROOT / "charts/yolofleet/README.md": ("rights",),
}
HEAD = {
    "rights": "| On | Verbs | Where | Why |\n|---|---|---|---|\n",
    "people": "| Role | On | Verbs | Why |\n|---|---|---|---|\n",
}


class RightsError(Exception):
    """A rule has no reason, or a page no place for the table; the message names it and the remedy."""


@dataclass(frozen=True)
class Rule:
    """One rule of a role, where it holds, and why it is there."""

    where: str
    groups: tuple[str, ...]
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    why: str
    for_people: bool

    def on(self) -> str:
        """Return the resources as kubectl names them."""
        return ", ".join(f"`{name}{self._group(name)}`" for name in self.resources)

    def _group(self, _name: str) -> str:
        return f".{self.groups[0]}" if self.groups[0] and "/" not in _name else ""


def rules(templates: Path = TEMPLATES) -> list[Rule]:
    """Return every rule of every role in the templates, in their order."""
    found: list[Rule] = []
    for path in sorted(templates.glob("*")):
        if path.is_file():
            found += _rules_of(path.name, path.read_text())
    return found


def _rules_of(name: str, text: str) -> Iterator[Rule]:
    for match in RULE.finditer(text):
        (rule,) = yaml.safe_load(match[2])
        if "verbs" not in rule:
            continue
        why = " ".join(line.removeprefix("#").strip() for line in match[1].splitlines())
        if not why:
            told = (
                f"charts/yolofleet/templates/{name}: the rule on {', '.join(rule['resources'])} has no comment above it"
            )
            raise RightsError(f"{told}; say there why the right is needed")
        place = _place(name, text[: match.start()])
        yield Rule(place, *(tuple(rule[key]) for key in ("apiGroups", "resources", "verbs")), why, name in PEOPLE)


def _place(name: str, before: str) -> str:
    if name in PEOPLE:
        return ROLE.findall(before)[-1].replace("{{ $name }}-", "")
    inside = DEFINE.findall(before)[-1] if name.startswith("_") else name
    return WHERE.get(inside, f"`{inside}`")


def table(kind: str, found: list[Rule]) -> str:
    """Return the rights of the operator, or those of people, as Markdown."""
    mine = [rule for rule in found if rule.for_people == (kind == "people")]
    rows = [_row(kind, rule) for rule in mine]
    return HEAD[kind] + "".join(rows)


def _row(kind: str, rule: Rule) -> str:
    verbs = ", ".join(rule.verbs)
    if kind == "people":
        return f"| {rule.where} | {rule.on()} | {verbs} | {rule.why} |\n"
    return f"| {rule.on()} | {verbs} | {rule.where} | {rule.why} |\n"


def renewed(page: str, kind: str, found: list[Rule]) -> str:
    """Return a page with one table renewed between its two marks."""
    begin = f"<!-- {kind}: generated from the chart's templates by `make generate` -->"
    end = f"<!-- end of {kind} -->"
    before, opened, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not (opened and closed):
        raise RightsError(f"the marks {begin!r} and {end!r} are gone; put them back")
    return f"{before}{begin}\n\n{table(kind, found)}\n{end}{after}"


def write() -> None:
    """Renew the tables of every page."""
    found = rules()
    for path, kinds in PAGES.items():
        page = path.read_text()
        for kind in kinds:
            page = renewed(page, kind, found)
        path.write_text(page)


if __name__ == "__main__":
    write()
