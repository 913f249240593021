"""Objects of one kind, kept as JSON: a quarter of what they take as dictionaries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from typing import Any, NamedTuple

import orjson

Object = dict[str, Any]


class Key(NamedTuple):
    """A kind, a namespace ('' for cluster-scoped kinds) and a name."""

    kind: str
    namespace: str
    name: str


class Packed(MutableMapping[Key, Object]):
    """A mapping whose values are made anew at each reading: a few microseconds, for what is seldom read."""

    def __init__(self) -> None:
        self._packed: dict[Key, tuple[int, bytes]] = {}

    def __getitem__(self, key: Key) -> Object:
        made: Object = orjson.loads(self._packed[key][1])
        return made

    def __setitem__(self, key: Key, obj: Object) -> None:
        text = bytes(memoryview(orjson.dumps(obj)))  # copied: orjson's own has up to twice the room that it needs
        self._packed[key] = (int(obj["metadata"]["resourceVersion"]), text)

    def __delitem__(self, key: Key) -> None:
        del self._packed[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._packed)

    def __len__(self) -> int:
        return len(self._packed)

    def version(self, key: Key) -> int:
        """Return an object's resourceVersion, -1 when it is not there."""
        found = self._packed.get(key)
        return found[0] if found else -1

    def versions(self) -> Iterable[tuple[Key, int]]:
        """Return every object's resourceVersion."""
        return ((key, version) for key, (version, _) in self._packed.items())
