"""Progress goes forward only, is told in a bounded way, and answers over HTTP."""

from __future__ import annotations

import io
import json
import socket
import time
import urllib.error
import urllib.request
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_repo_builder.progress import SPANS, Board, Log, line, overall
from model_repo_builder.progress_server import serving
from yolofleet.api.build import Progress, Stage

STAGES: tuple[Stage, ...] = get_args(Stage)
TOLD = st.tuples(st.sampled_from(STAGES), st.floats(allow_nan=False), st.text(max_size=400))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_every_stage_has_its_span_and_they_join() -> None:
    spans = [SPANS[stage] for stage in STAGES]
    assert spans[0][0] == 0
    assert spans[-1][1] == 100
    assert all(one[1] == next_[0] for one, next_ in pairwise(spans))


@given(st.lists(TOLD))
def test_progress_never_goes_back_and_is_always_valid(told: list[tuple[Stage, float, str]]) -> None:
    """Whatever a stage reports, the operator reads 0 to 100 and 256 characters at most, on one line."""
    heard: list[Progress] = []
    board = Board(listeners=(heard.append,))
    for stage, fraction, message in told:
        board.tell(stage, fraction, message)
    percents = [progress.percent for progress in heard]
    assert percents == sorted(percents)
    assert all(0 <= progress.percent <= 100 and "\n" not in progress.message for progress in heard)
    assert all(one != other for one, other in pairwise(heard))


@given(st.sampled_from(STAGES), st.floats(0, 1))
def test_a_stage_stays_in_its_span(stage: Stage, fraction: float) -> None:
    assert SPANS[stage][0] <= overall(stage, fraction) <= SPANS[stage][1]


def test_the_line_is_the_documented_one() -> None:
    told = Progress(stage="Export", percent=58, message="writing ONNX")
    assert line(told) == "Export  [######------]  58 %  writing ONNX"


def log(stream: io.StringIO) -> tuple[Log, list[float]]:
    clock = [0.0]
    return Log(stream, now=lambda: clock[0]), clock


def test_a_pods_log_has_a_line_for_each_change_at_most_every_two_seconds() -> None:
    stream = io.StringIO()
    shown, clock = log(stream)
    for step in range(100):
        clock[0] = step * 0.1
        shown.show(Progress(stage="Fetch", percent=step // 5, message=f"{step}"))
    assert [text.split()[-1] for text in stream.getvalue().splitlines()] == ["0", "20", "40", "60", "80"]


def test_a_new_stage_and_the_end_of_one_are_always_shown() -> None:
    stream = io.StringIO()
    shown, _ = log(stream)
    for told in (("Fetch", 0), ("Fetch", 10), ("Fetch", 25), ("Export", 25), ("Export", 30), ("Export", 55)):
        shown.show(Progress(stage=told[0], percent=told[1]))  # type: ignore[arg-type]
    assert [text.split()[0] + text.split()[-2] for text in stream.getvalue().splitlines()] == [
        "Fetch0",
        "Fetch25",
        "Export25",
        "Export55",
    ]


def test_a_terminal_has_one_live_line() -> None:
    stream = Terminal()
    shown, clock = log(stream)
    for step in range(5):
        clock[0] = float(step)
        shown.show(Progress(stage="Fetch", percent=step))
    shown.close()
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().count("\r\x1b[2K") == 5


def get(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_progress_is_answered_over_http() -> None:
    board = Board()
    with serving(board, port=0) as port:
        board.tell("Export", 0.5, "half")
        status, body = get(f"http://127.0.0.1:{port}/progress")
        assert (status, json.loads(body)) == (200, {"stage": "Export", "percent": 40, "message": "half"})
        assert Progress.model_validate_json(body) == board.latest()
        assert get(f"http://127.0.0.1:{port}/etc/passwd")[0] == 404
    with pytest.raises(OSError, match=r"refused|reset"):
        get(f"http://127.0.0.1:{port}/progress")


def test_a_caller_that_says_nothing_does_not_stop_the_others() -> None:
    board = Board()
    with serving(board, port=0) as port, socket.create_connection(("127.0.0.1", port)) as silent:
        began = time.monotonic()
        assert get(f"http://127.0.0.1:{port}/progress")[0] == 200
        assert time.monotonic() - began < 10
        assert silent.fileno() >= 0
