"""The page of metrics in pieces: thousands of deployments neither block the passes with it nor fill the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.samples import Sample

PIECE = 1000
"""Lines of one piece: a few milliseconds."""
Row = tuple[tuple[str, ...], float]
"""The values of the labels, and the sample's."""


class Gauges(Metric):
    """A family of gauges whose samples are made when they are asked for; label values are plain names."""

    def __init__(self, name: str, told: str, labels: Sequence[str], rows: Callable[[], Iterable[Row]]) -> None:
        self._labels = tuple(labels)
        self._rows = rows
        super().__init__(name, told, "gauge")

    @property
    def samples(self) -> list[Sample]:
        """Return the samples as the library has them."""
        return [
            Sample(self.name, dict(zip(self._labels, values, strict=True)), value) for values, value in self._rows()
        ]

    @samples.setter
    def samples(self, _none: list[Sample]) -> None:
        """Take no notice of the library's empty list."""

    def lines(self) -> Iterator[str]:
        """Yield the lines of the text format; names and words of closed lists need no escapes."""
        yield f"# HELP {self.name} {self.documentation}\n# TYPE {self.name} gauge\n"
        line = "".join([self.name, "{", ",".join([f'{label}="%s"' for label in self._labels]), "} %s\n"])
        for values, value in self._rows():
            yield line % (*values, float(value))


class _Plain(CollectorRegistry):
    """Some families, as the library's own writer takes them."""

    def __init__(self, families: list[Metric]) -> None:
        super().__init__()
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)


def pieces(registry: CollectorRegistry) -> Iterator[bytes]:
    """Yield the page: what the library writes, and then the large families piece by piece."""
    families = list(registry.collect())
    yield generate_latest(_Plain([family for family in families if not isinstance(family, Gauges)]))
    lines = (line for family in families if isinstance(family, Gauges) for line in family.lines())
    while piece := "".join(islice(lines, PIECE)):
        yield piece.encode()
