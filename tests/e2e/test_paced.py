"""What the paced client says of a stream's waits: the longest of each second; and the p99 of a span of them."""

from e2e.clients.paced import Seconds
from e2e.pacing import p99_ms


def test_the_p99_of_a_span_leaves_out_one_frame_in_a_hundred() -> None:
    told = Seconds([100] * 6)
    for second in range(6):
        for place in range(100):
            told.ended(second, 0.2 if place == 0 else 0.01)
    told.ended(0, 3.0, "reset")
    assert told.longest_ms() == [3000, 200, 200, 200, 200, 200]
    assert p99_ms(told.waits_ms, 0.3, 5.4) == 200, "six of 501 are more than one in a hundred"
    assert p99_ms(told.waits_ms, 5, 6) == 10, "one of a hundred is not"
    assert sum(told.failed) == 1


def test_a_second_without_frames_has_no_wait() -> None:
    assert Seconds([0] * 10).longest_ms() == [0] * 10
