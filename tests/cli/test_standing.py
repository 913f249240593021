"""How a YoloDeployment stands, in a word, and which of its conditions a person must hear of."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from yolofleet.api.conditions import Reason
from yolofleet.cli.remedies import TO_DO
from yolofleet.cli.standing import Told, standing
from yolofleet.cli.status import show
from yolofleet.render.events import ALARMING

WELL = {"Ready": "Serving", "EngineReady": "EngineReady", "Placed": "Placed"}


def obj(*, ready: int = 2, desired: int = 2, fps: str = "-/720", seen: int = 3, **changed: Any) -> dict[str, Any]:
    """Return a YoloDeployment that serves; `changed` maps a condition to (status, reason)."""
    told = {kind: ("True", reason) for kind, reason in WELL.items()} | {"Progressing": ("False", "Stable")}
    told |= {kind: value for kind, value in changed.items() if kind != "suspend"}
    return {
        "metadata": {"namespace": "cams", "name": "gate", "generation": 3},
        "spec": {"suspend": changed.get("suspend", False)},
        "status": {
            "observedGeneration": seen,
            "replicas": desired,
            "readyReplicas": ready,
            "scaling": {"desiredReplicas": desired},
            "summary": {"fps": fps, "slices": "2/2x 1g.10gb", "engine": "EngineReady"},
            "conditions": [
                {"type": kind, "status": status, "reason": reason, "message": f"{kind} is told"}
                for kind, (status, reason) in told.items()
            ],
        },
    }


@pytest.mark.parametrize(
    ("given", "verdict", "ok"),
    [
        (obj(), "ready", True),
        (obj(seen=2), "not seen yet", False),
        (obj(ready=1), "serving, stuck", False),
        (obj(ready=1, Progressing=("True", "Scaling")), "serving, changing", False),
        (obj(EngineReady=("False", "BuildRefused")), "serving, stuck", False),
        (obj(Progressing=("True", "RollingOut")), "serving, changing", False),
        (obj(ready=0, Ready=("False", "NotServing")), "not serving", False),
        (obj(ready=0, desired=0, suspend=True, Ready=("False", "Suspended")), "suspended", True),
        (obj(ready=1, desired=0, suspend=True, Ready=("False", "Suspended")), "stopping", False),
        (obj() | {"metadata": {"name": "gate", "deletionTimestamp": "2026-01-01T00:00:00Z"}}, "being deleted", False),
        ({"metadata": {"name": "gate", "namespace": "cams", "generation": 1}}, "not seen yet", False),
    ],
)
def test_a_word_for_each_way_to_stand(given, verdict, ok) -> None:
    told = standing(given)
    assert (told.verdict, told.ok) == (verdict, ok)


def test_no_replica_at_all_is_not_ready_even_if_none_is_desired() -> None:
    assert not standing(obj(ready=0, desired=0)).ok


@pytest.mark.parametrize(
    ("fps", "served", "demanded"), [("-/720", None, 720.0), ("700/720", 700.0, 720.0), ("", None, None)]
)
def test_a_figure_that_nobody_knows_is_null_and_never_zero(fps, served, demanded) -> None:
    assert standing(obj(fps=fps)).wire()["framesPerSecond"] == {"served": served, "demanded": demanded}


@pytest.mark.parametrize(
    ("kind", "status", "reason", "heard"),
    [
        ("Ready", "True", "Serving", False),
        ("Ready", "False", "NotServing", True),
        ("Ready", "False", "Suspended", False),
        ("Progressing", "False", "Stable", False),
        ("Progressing", "True", "RollingOut", True),
        ("Progressing", "False", "HeldBack", True),
        ("ObjectiveMet", "Unknown", "NotMeasured", False),
        ("ScalingActive", "True", "FollowingDemand", False),
        ("ScalingActive", "True", "AtMaxReplicas", True),
        ("ScalingActive", "False", "SignalsMissing", True),
        ("ScalingActive", "False", "External", False),
    ],
)
def test_what_a_person_must_hear_of(kind, status, reason, heard) -> None:
    assert Told(kind, status, reason, "", "").needs_words is heard


def test_every_alarm_has_a_next_step() -> None:
    assert {reason.value for reason in ALARMING} <= set(TO_DO)


def test_no_next_step_is_for_a_reason_that_nobody_gives() -> None:
    scaling = {"SignalsMissing", "AtMaxReplicas", "AutoscalerIgnored"}
    assert set(TO_DO) - scaling <= {reason.value for reason in Reason}


def test_one_reason_is_told_once_in_its_fullest_words() -> None:
    given = obj(
        ready=0,
        Ready=("False", "NotServing"),
        EngineReady=("False", "NoRoom"),
        Placed=("False", "NoRoom"),
    )
    given["status"]["conditions"][2]["message"] = "no slice is free: the longest words of all"
    out = io.StringIO()
    show([standing(given)], Console(file=out, width=300, no_color=True), namespaces=False)
    lines = out.getvalue().splitlines()
    assert [line.strip() for line in lines[:2]] == [
        "NAME  READY  FPS    SLICES        ENGINE       STATE",
        "gate  0/2    -/720  2/2x 1g.10gb  EngineReady  not serving",
    ]
    told = [line for line in lines if "NoRoom" in line]
    assert told == ["  EngineReady=False, Placed=False NoRoom: no slice is free: the longest words of all"]
    assert sum("free a slice" in line for line in lines) == 1


def test_a_message_cannot_steer_the_terminal() -> None:
    given = obj(ready=0, Ready=("False", "NotServing"))
    given["status"]["conditions"][0]["message"] = "\x1b[2J\x07gone"
    out = io.StringIO()
    show([standing(given)], Console(file=out, width=300, no_color=True), namespaces=False)
    assert "gone" in out.getvalue()
    assert not {"\x1b", "\x07"} & set(out.getvalue())


@pytest.mark.parametrize(("width", "columns"), [(60, 4), (100, 6)])
def test_a_narrow_terminal_gets_a_table_that_fits(width, columns) -> None:
    out = io.StringIO()
    show([standing(obj())], Console(file=out, width=width, no_color=True), namespaces=False)
    lines = out.getvalue().splitlines()
    assert len(lines[0].split()) == columns
    assert len(lines) == 2
