"""Story: a bad manifest is refused at the door, in words that name the field and the value, or the rule.

The first line of each file says what the API server's message must contain; the file is sent as it stands.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from e2e.api_server import ApiServer
from yolofleet.api.migpool import MigPool
from yolofleet.api.yolodeployment import YoloDeployment
from yolofleet.api.yoloengine import YoloEngine

BAD = sorted((Path(__file__).parent / "bad_manifests").glob("*.yaml"))
MODELS = {model.kind: model for model in (YoloDeployment, YoloEngine, MigPool)}
EXPECT = "# expect: "
ONLY_AT_THE_DOOR = ("unknown field", "already set in map")
"""What the operator ignores, or never sees: fields of tomorrow, and what YAML's readers already made one of."""

pytestmark = pytest.mark.e2e
pytest_plugins = ("e2e.api_fixture",)


def expected(path: Path) -> str:
    first = path.read_text().splitlines()[0]
    assert first.startswith(EXPECT), f"{path.name}: the first line must be {EXPECT!r} and a part of the message"
    return first.removeprefix(EXPECT)


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_the_api_server_refuses_it_and_says_why(api: ApiServer, path: Path) -> None:
    kind = str(yaml.safe_load(path.read_text())["kind"])
    answer = api.dry_run(path.read_bytes(), kind=kind)
    assert not answer.accepted, f"{path.name} was accepted"
    assert expected(path) in answer.message


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_the_operator_would_refuse_it_too(path: Path) -> None:
    told = yaml.safe_load(path.read_text())
    if any(words in expected(path) for words in ONLY_AT_THE_DOOR):
        MODELS[told["kind"]].model_validate(told)
        return
    with pytest.raises(ValidationError):
        MODELS[told["kind"]].model_validate(told)


def test_there_are_enough_of_them_and_no_two_are_the_same() -> None:
    manifests = {yaml.safe_dump(yaml.safe_load(path.read_text())) for path in BAD}
    assert len(manifests) == len(BAD) >= 30
