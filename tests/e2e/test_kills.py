import time

import pytest

from e2e import kills as module
from e2e.kills import Replicas, random_kills
from e2e.waiting import wait_for

GAP_S = 0.06


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Gaps of hundredths of a second: what they do to an operator is no matter here."""
    monkeypatch.setattr(module, "SHORTEST_GAP_S", 0.05)


class Operators:
    """A cluster in which an operator is always there to be hit."""

    @property
    def faults(self):
        return self

    def runs(self, program):
        return True

    def kubectl(self, *arguments, timeout_s):
        return ""

    def crash(self, program):
        return True


def test_the_same_seed_kills_in_the_same_ways():
    def ways():
        with random_kills(Operators(), count=6, mean_gap_s=GAP_S, seed=7) as kills:
            kills.enter("story", share=6)
            wait_for("all kills", kills.all_done, interval_s=0.02)
        return [kill.how for kill in kills.done]

    first = ways()
    assert set(first) == {"pod", "process"}
    assert first == ways()


def test_a_step_down_is_seen_and_a_repeated_count_is_none():
    replicas = Replicas()
    for count in (2, 2, 4, 4, 3, 5):
        replicas.take(count)
    assert [count for _, count in replicas.seen] == [2, 4, 3, 5]
    assert replicas.fell() == [(4, 3)]
    assert replicas.fell(since=2) == []


def test_a_phase_has_no_more_kills_than_its_share():
    with random_kills(Operators(), count=6, mean_gap_s=GAP_S, seed=7) as kills:
        kills.enter("build", share=1)
        wait_for("the first kill", lambda: kills.done, interval_s=0.02)
        time.sleep(10 * GAP_S)
        assert [kill.phase for kill in kills.done] == ["build"]
        assert not kills.all_done()
