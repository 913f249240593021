import os
import subprocess
import sys

import pytest

from e2e.clusters.bare.layout import ClusterPlace
from e2e.clusters.bare.prerequisites import MissingPrerequisiteError, Tool, check
from e2e.clusters.bare.processes import Process, ProcessTable, process_of, processes_below, start_time
from e2e.waiting import DeadlineMissedError, wait_for


@pytest.fixture
def sleeper():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as running:
        yield running
        running.kill()


def test_a_recorded_process_is_ended(tmp_path, sleeper):
    table = ProcessTable(tmp_path)
    table.record("sleeper", process_of(sleeper.pid))
    assert table.alive("sleeper")
    table.end("sleeper")
    assert sleeper.wait(5) == -9
    assert table.names() == []


def test_a_pid_that_another_process_has_now_is_left_alone(tmp_path, sleeper):
    table = ProcessTable(tmp_path)
    table.record("sleeper", Process(sleeper.pid, process_of(sleeper.pid).started - 1))
    assert not table.alive("sleeper")
    table.end("sleeper")
    assert sleeper.poll() is None


def test_only_processes_of_our_control_group_are_found():
    assert processes_below("yolofleet-no-such-cluster", "time.sleep(60)") == []


def test_a_dead_process_has_no_start_time():
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    assert start_time(done.pid) is None


@pytest.mark.parametrize("name", ["", "Bench", "a/b", "x" * 21, "-a", "a-"])
def test_a_cluster_name_that_cannot_be_a_path_is_refused(name):
    with pytest.raises(ValueError, match="cluster name"):
        ClusterPlace(name)


def test_waiting_tells_what_for_and_what_was_seen():
    with pytest.raises(DeadlineMissedError, match=r"0.01 s for the moon; last: ValueError: cloudy\nseen: stars"):
        wait_for("the moon", _raise, timeout_s=0.01, seen=lambda: "stars")


def _raise():
    raise ValueError("cloudy")


def test_waiting_returns_what_it_waited_for():
    answers = iter([None, 0, "there"])
    assert wait_for("something", lambda: next(answers), interval_s=0) == "there"


def test_all_missing_tools_are_named_with_what_brings_them(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    tools = (Tool("no-such-a", "apt: package-a"), Tool("no-such-b", "Go 1.26 or newer"), Tool("sh", "apt: dash"))
    with pytest.raises(MissingPrerequisiteError) as missing:
        check(tools=tools)
    assert "no-such-a: apt: package-a" in str(missing.value)
    assert "no-such-b: Go 1.26" in str(missing.value)
    assert str(missing.value).endswith("apt-get install --no-install-recommends package-a")


def test_the_bench_is_for_root_only(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(MissingPrerequisiteError, match="root"):
        check(tools=())
