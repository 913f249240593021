"""`rollout`: what it says of a rollout, and that a verb is one annotation, asked for only where it means something."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import yaml

from tests.cli.test_standing import obj
from tests.fake_api_server import FakeApiServer, serve
from yolofleet.api.rollout import ROLLOUT_ANNOTATION
from yolofleet.cli.__main__ import parsed
from yolofleet.cli.printing import consoles
from yolofleet.cli.rollout import run
from yolofleet.cli.session import Flags, Session
from yolofleet.errors import CannotAskError

ENDED = {"engine": "e-1", "phase": "Promoted", "reason": "AsGood", "message": "as good", "time": "2026-01-01T00:00:00Z"}
ROLLOUT = {
    "engine": "e-2",
    "image": "triton:2",
    "previousEngine": "e-1",
    "reason": "Errors",
    "message": "50 of 500 requests failed (10.0%) against 0 of 1500 (0.0%)",
    "since": "2026-01-01T12:00:00Z",
    "history": [ENDED],
}


async def call(folder: Path, capsys, phase: str | None, *arguments: str, answers: bool = True, measured=None):
    """Run `rollout …` on a deployment in a phase; return its exit code, what it prints, and the annotation."""
    fake = FakeApiServer()
    server = await serve(fake)
    made = {"apiVersion": "yolofleet.dev/v1alpha1", "kind": "YoloDeployment"} | obj()
    if phase is not None:
        made["status"]["rollout"] = ROLLOUT | {"phase": phase}
    fake.put(made)
    for name, figures in (measured or {}).items():
        gate = {"accuracy": {"map50": figures[0], "map50To95": figures[1], "images": 500, "objects": 1234}}
        stands = {"metadata": {"name": name, "namespace": "cams"}, "spec": {}, "status": {"gate": gate}}
        fake.put({"apiVersion": "yolofleet.dev/v1alpha1", "kind": "YoloEngine"} | stands)
    config = folder / "config"
    document = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "cams"}}],
        "clusters": [{"name": "c", "cluster": {"server": str(server.make_url("")).rstrip("/")}}],
        "users": [{"name": "u", "user": {}}],
    }
    config.write_text(yaml.safe_dump(document))
    told = parsed(["rollout", *arguments, "--kubeconfig", str(config)])
    session = Session(Flags(told.kubeconfig, told.context, told.namespace), *consoles())
    operator = asyncio.create_task(_operator(fake)) if answers else None
    try:
        code = await run(told, session)
    finally:
        if operator is not None:
            operator.cancel()
        await server.close()
    stands = fake.get("YoloDeployment", "gate")
    return code, capsys.readouterr().out, (stands["metadata"].get("annotations") or {}).get(ROLLOUT_ANNOTATION, "")


async def _operator(fake: FakeApiServer) -> None:
    """Carry out whatever is asked for, as the operator would."""
    while True:
        await asyncio.sleep(0.01)
        stands = fake.get("YoloDeployment", "gate") or {"metadata": {}}
        asked = (stands["metadata"].get("annotations") or {}).get(ROLLOUT_ANNOTATION)
        if asked and stands["status"]["rollout"].get("answered") != asked:
            phase = {"abort": "RolledBack", "promote": "Promoting", "retry": "Canary"}[asked.split()[0]]
            stands["status"]["rollout"] |= {"answered": asked, "phase": phase}
            fake.put(stands)


@pytest.mark.parametrize(
    ("phase", "code"), [("Promoted", 0), ("Withdrawn", 0), ("RolledBack", 1), ("Canary", 3), ("Building", 3)]
)
async def test_status_says_the_numbers_and_its_code_how_it_stands(phase, code, tmp_path, capsys) -> None:
    got, told, _ = await call(tmp_path, capsys, phase, "status", "gate")
    assert got == code
    assert f"gate: {phase} since 2026-01-01T12:00:00Z: Errors" in told
    for words in ("e-2 on triton:2", "e-1", "50 of 500 requests failed", "Promoted", "AsGood", "as good"):
        assert words in told


async def test_status_says_what_both_engines_find_of_what_is_labelled(tmp_path, capsys) -> None:
    measured = {"e-1": ("0.9100", "0.7812"), "e-2": ("0.8000", "0.4123")}
    _, told, _ = await call(tmp_path, capsys, "RolledBack", "status", "gate", measured=measured)
    assert "new  e-2 on triton:2: mAP50 0.8000, mAP50-95 0.4123 over 500 labelled pictures" in told
    assert "old  e-1: mAP50 0.9100, mAP50-95 0.7812 over 500 labelled pictures" in told
    _, told, _ = await call(tmp_path, capsys, "RolledBack", "status", "gate", "-o", "json", measured=measured)
    assert json.loads(told)["accuracy"]["engine"]["map50To95"] == "0.4123"


async def test_a_deployment_that_never_changed_says_so(tmp_path, capsys) -> None:
    code, told, _ = await call(tmp_path, capsys, None, "status", "gate")
    assert (code, told.strip()) == (0, "gate: nothing has been rolled out since it began to serve.")


@pytest.mark.parametrize(
    ("phase", "verb", "code"),
    [("Canary", "promote", 3), ("Canary", "abort", 1), ("RolledBack", "retry", 3), ("RolledBack", "promote", 3)],
)
async def test_a_verb_is_an_annotation_for_this_engine_that_is_carried_out(phase, verb, code, tmp_path, capsys) -> None:
    got, told, asked = await call(tmp_path, capsys, phase, verb, "gate", "-o", "json")
    assert (got, asked.split()[:2]) == (code, [verb, "e-2"])
    assert json.loads(told)["rollout"]["answered"] == asked


@pytest.mark.parametrize(("phase", "verb"), [("Promoted", "abort"), ("Canary", "retry"), (None, "promote")])
async def test_a_verb_that_means_nothing_now_changes_nothing(phase, verb, tmp_path, capsys) -> None:
    with pytest.raises(CannotAskError, match="nothing was changed"):
        await call(tmp_path, capsys, phase, verb, "gate")


async def test_an_operator_that_does_not_answer_is_said(tmp_path, capsys) -> None:
    with pytest.raises(CannotAskError, match="has not answered yet"):
        await call(tmp_path, capsys, "Canary", "abort", "gate", "--timeout", "0", answers=False)


async def test_who_is_not_there_is_said(tmp_path, capsys) -> None:
    with pytest.raises(CannotAskError, match="not found"):
        await call(tmp_path, capsys, "Canary", "status", "yard")
