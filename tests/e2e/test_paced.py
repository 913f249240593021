"""What the paced client says of a stream's waits: the longest of each second, the p99 of each window."""

from e2e.clients.paced import WINDOW_S, Seconds


def test_the_p99_of_a_window_leaves_out_one_frame_in_a_hundred() -> None:
    told = Seconds([100] * (WINDOW_S + 1))
    for second in range(WINDOW_S + 1):
        for place in range(100):
            told.ended(second, 0.2 if place == 0 else 0.01)
    told.ended(0, 3.0, "reset")
    assert told.longest_ms() == [3000, 200, 200, 200, 200, 200]
    assert told.p99_ms() == [200, 10], "six of 501 are more than one in a hundred, one of 100 is not"
    assert sum(told.failed) == 1


def test_a_second_without_frames_has_no_wait() -> None:
    told = Seconds([0] * (2 * WINDOW_S))
    assert told.longest_ms() == [0] * 2 * WINDOW_S
    assert told.p99_ms() == [0, 0]
