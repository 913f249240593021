"""The page in pieces says what the library's own page says, and no piece is long."""

from __future__ import annotations

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from yolofleet.handlers.exposition import PIECE, pieces
from yolofleet.handlers.figures import Figure
from yolofleet.handlers.metrics import Metrics
from yolofleet.observe.cache import Key
from yolofleet.planning.scaling.memory import Figures

CONDITIONS = (("Ready", "True", "Serving"), ("Placed", "True", "Placed"))


def filled(count: int) -> Metrics:
    metrics = Metrics()
    metrics.passes.inc()
    for number in range(count):
        demand = Figures(declared=60.0 + number, observed=None, planned=0.1)
        figure = Figure(2, "AtMinReplicas", 1e-7, demand, None, CONDITIONS, 1, number % 2, 50)
        metrics.figures.take(Key("YoloDeployment", "cams", f"gate-{number}"), figure)
    return metrics


def read(page: bytes) -> dict[str, set[tuple[object, ...]]]:
    families = text_string_to_metric_families(page.decode())
    return {
        f.name: {(f.type, f.documentation, s.name, *sorted(s.labels.items()), s.value) for s in f.samples}
        for f in families
    }


def test_it_says_what_the_library_says() -> None:
    metrics = filled(3)
    said = read(b"".join(pieces(metrics.registry)))
    assert said == read(generate_latest(metrics.registry))
    assert len(said["yolofleet_condition"]) == 6
    assert next(iter(said["yolofleet_ready_replicas"]))[:3] == (
        "gauge",
        "Replicas that serve.",
        "yolofleet_ready_replicas",
    )


def test_no_piece_is_long() -> None:
    made = list(pieces(filled(1500).registry))
    assert len(made) > 5
    assert max(piece.count(b"\n") for piece in made) <= 2 * PIECE
