"""Other people's pods: counted node by node, and left out where nobody may see them."""

from __future__ import annotations

from typing import Any

from yolofleet.errors import ApiServerError
from yolofleet.observe.cache import Cache
from yolofleet.observe.neighbours import SELDOM, Neighbours

MIG = "nvidia.com/mig-1g.10gb"


class Answers:
    """An API server of one answer per node; an error stands for a refusal."""

    def __init__(self, **told: list[dict[str, Any]] | ApiServerError) -> None:
        self.told, self.asked = told, []

    async def request(self, method: str, path: str, *, params: dict[str, str]) -> dict[str, Any]:
        self.asked.append((method, path, params["fieldSelector"], params["labelSelector"]))
        answer = self.told[params["fieldSelector"].split(",")[0].removeprefix("spec.nodeName=")]
        if isinstance(answer, ApiServerError):
            raise answer
        return {"items": answer}


def holding(count: int, phase: str = "Running") -> dict[str, Any]:
    container = {"resources": {"limits": {MIG: str(count), "cpu": "1"}}}
    return {
        "metadata": {"name": "p"},
        "spec": {"nodeName": "n1", "containers": [container]},
        "status": {"phase": phase},
    }


def cache(**nodes: str) -> Cache:
    made = Cache()
    for at, (name, resource) in enumerate(nodes.items(), 1):
        status = {"allocatable": {resource: "7"}, "conditions": [{"type": "Ready", "status": "True"}]}
        made.put("Node", {"metadata": {"name": name, "resourceVersion": str(at)}, "spec": {}, "status": status})
    return made


async def test_devices_of_others_are_counted_on_nodes_that_offer_some() -> None:
    kube = Answers(n1=[holding(2), holding(1), holding(4, "Succeeded")])
    seen = Neighbours(cache(n1=MIG, n2="cpu"))
    await seen.look(kube, each_s=0)  # type: ignore[arg-type]
    assert dict(seen.used()) == {("n1", MIG): 3}
    ((method, path, of, without),) = kube.asked
    assert (method, path) == ("GET", "/api/v1/pods")
    assert of.startswith("spec.nodeName=n1,")
    assert without == "app.kubernetes.io/managed-by!=yolofleet"


async def test_who_may_not_look_stops_asking_and_whoever_does_not_answer_is_asked_again() -> None:
    gone = ApiServerError(status=503, reason="Unavailable", message="later")
    kube = Answers(n1=gone)
    seen = Neighbours(cache(n1=MIG))
    await seen.look(kube, each_s=0)  # type: ignore[arg-type]
    kube.told["n1"] = [holding(1)]
    await seen.look(kube, each_s=0)  # type: ignore[arg-type]
    assert dict(seen.used()) == {("n1", MIG): 1}
    kube.told["n1"] = ApiServerError(status=403, reason="Forbidden", message="no")
    await seen.run(kube, needed=lambda: True, pause_s=0)  # type: ignore[arg-type]
    assert len(kube.asked) == 3


async def test_they_are_asked_seldom_while_nobody_decides_by_them() -> None:
    refusals = iter([0, 0, 1])

    class Rounds(Neighbours):
        async def look(self, kube: Any, *, each_s: float = 0) -> None:
            rounds.append(len(periods))
            self._forbidden = bool(next(refusals))

    rounds: list[int] = []
    periods: list[None] = []
    await Rounds(cache(n1=MIG)).run(Answers(), needed=lambda: bool(periods.append(None)), pause_s=0)  # type: ignore[arg-type]
    assert rounds == [1, 1 + SELDOM, 1 + 2 * SELDOM]
