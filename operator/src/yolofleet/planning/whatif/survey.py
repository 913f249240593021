"""A snapshot's pools as problems of the planner: who sits where, what is asked for, and what had to be assumed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from yolofleet.api.migpool import DEFAULT_POOL
from yolofleet.api.snapshot import SnapshotDeployment, SnapshotFile, SnapshotNode, SnapshotPool
from yolofleet.planning.capabilities import Capability, Gpu, gpu_of
from yolofleet.planning.layouts.geometry import Lattice, lattice_of
from yolofleet.planning.layouts.overlay import FOREIGN, GpuState
from yolofleet.planning.layouts.spreading import Place
from yolofleet.planning.packing import Need, Product, stocks
from yolofleet.planning.scaling.replicas import planned_fps
from yolofleet.planning.sizing.curves import Curves, Kind, home_of
from yolofleet.planning.sizing.rates import Ask, Rate, Sized, allowed, decodes_on_gpu, endpoint_of, rate_on, sized
from yolofleet.planning.whatif.fleet import FIRST, links_of, reserves, useful
from yolofleet.planning.whatif.seating import name_of, seats_of

STAYS = "others' pods are on them where nobody saw which places they hold, or they are not cut"


@dataclass(frozen=True)
class Survey:
    """One pool: GPUs that may be cut anew, GPUs that stay as they are, what each deployment needs, what was assumed.

    `lattices` are all that may lie on a GPU, by product; `where` is zone and node by GPU.
    """

    pool: SnapshotPool
    today: tuple[GpuState, ...]
    fixed: tuple[GpuState, ...]
    stock: tuple[Product, ...]
    sized: tuple[Sized, ...]
    deployments: Mapping[str, SnapshotDeployment]
    lattices: Mapping[str, Lattice]
    where: Mapping[str, Place]
    notes: tuple[str, ...] = ()

    @property
    def priority(self) -> dict[str, int]:
        """Return the priority of each need: that of its deployment, and reserves before all."""
        told = {name: one.priority for name, one in self.deployments.items()}
        return {one.need.name: told.get(one.need.name, FIRST) for one in self.sized}


def surveyed(snapshot: SnapshotFile) -> tuple[Survey, ...]:
    """Return each pool's problem, by name of pool; deployments without a pool are told with the first."""
    curves = curves_of(snapshot)
    pools = {DEFAULT_POOL: SnapshotPool(name=DEFAULT_POOL)} | {one.name: one for one in snapshot.pools}
    homes: dict[str, list[SnapshotDeployment]] = defaultdict(list)
    for one in snapshot.deployments:
        homes[one.spec.placement.pool_ref.name].append(one)
    made = []
    for name in sorted(pools):
        nodes = [node for node in snapshot.nodes if node.pool == name]
        if nodes or homes[name]:
            made.append(_survey(pools[name], nodes, homes[name], curves))
    return tuple(made)


def curves_of(snapshot: SnapshotFile) -> Curves:
    """Return the engines' curves, by recipe."""
    return Curves(
        (one.namespace, one.name or f"#{at:06}", one.recipe, one.curves, one.work, one.target)
        for at, one in enumerate(snapshot.engines)
    )


def homeless(snapshot: SnapshotFile) -> tuple[str, ...]:
    """Say which deployments name a pool that is not there."""
    pools = {DEFAULT_POOL, *(one.name for one in snapshot.pools)}
    lost = [one for one in snapshot.deployments if one.spec.placement.pool_ref.name not in pools]
    return tuple(
        f"{name_of(one)}: placement.poolRef.name: no MigPool is named {one.spec.placement.pool_ref.name!r}; create it, "
        "or name another"
        for one in sorted(lost, key=name_of)
    )


def _survey(
    pool: SnapshotPool, nodes: Sequence[SnapshotNode], deployments: Sequence[SnapshotDeployment], curves: Curves
) -> Survey:
    seats = seats_of(nodes)
    products = {gpu.product: found for gpu in seats.gpus if isinstance(found := gpu_of(gpu.product), Gpu)}
    today = tuple(gpu for gpu in seats.gpus if _free_to_change(gpu, products[gpu.product], seats.seen))
    fixed = tuple(gpu for gpu in seats.gpus if gpu not in today)
    mine = {gpu.product: products[gpu.product] for gpu in today}
    running = {name_of(one): one for one in deployments if not one.spec.suspend}
    jpeg = any(decodes_on_gpu(endpoint_of(one.spec), one.spec.engine.backend) for one in running.values())
    kinds = {
        (name, one.profile): one for name, gpu in mine.items() for one in gpu.profiles if useful(one, gpu, jpeg=jpeg)
    }
    kept, lacking = reserves(pool.spec.reserved, mine)
    wanted = {*kinds, *(kind for one in kept for kind in one.need.rates)}
    lattices = {name: _lattice(gpu, name, wanted, today) for name, gpu in mine.items()}
    stock, prices = _stock(pool, lattices, today)
    links = links_of(_links(nodes))
    sized_up = [_sized(one, curves, kinds, fixed, links) for _, one in sorted(running.items())]
    stays = f"{len(fixed)} GPUs stay as they are: {STAYS}" if fixed else ""
    told = (*prices, *lacking, *([stays] if stays else []), *(note for _, note in sized_up if note))
    return Survey(
        pool,
        today,
        fixed,
        stock,
        (*(one for one, _ in sized_up), *kept),
        running,
        lattices,
        _places(nodes, today),
        (*seats.notes, *told),
    )


def _free_to_change(gpu: GpuState, product: Gpu, seen: frozenset[str]) -> bool:
    """Tell whether a GPU may be cut anew, beside others' slices if there are some and their places were seen."""
    known = {one.profile for one in product.profiles}
    alone = all(owner != FOREIGN for _, owner in gpu.slices)
    return all(one.profile in known for one, _ in gpu.slices) and (alone or gpu.name in seen)


def _lattice(gpu: Gpu, name: str, kinds: Collection[Kind], today: Sequence[GpuState]) -> Lattice:
    """Return what may lie on a product's GPUs: what is planned with, and what lies there today."""
    there = {one.profile for state in today if state.product == name for one, _ in state.slices}
    return lattice_of(
        gpu, [one.profile for one in gpu.profiles if (name, one.profile) in kinds or one.profile in there]
    )


def _links(nodes: Sequence[SnapshotNode]) -> dict[str, float]:
    """Return what GPUs' links to the host carry where nodes tell it; of a product's nodes the least."""
    found: dict[str, float] = {}
    for node in nodes:
        if node.product and (told := node.host_gigabytes_per_second) is not None:
            found[node.product] = min(told, found.get(node.product, told))
    return found


def _places(nodes: Sequence[SnapshotNode], today: Sequence[GpuState]) -> dict[str, Place]:
    """Return zone and node by GPU."""
    zones = {node.name: node.zone or "" for node in nodes}
    homes = {gpu.name: gpu.name.rpartition("/")[0] for gpu in today}
    return {name: (zones[node], node) for name, node in homes.items()}


def _stock(
    pool: SnapshotPool, lattices: Mapping[str, Lattice], today: Sequence[GpuState]
) -> tuple[tuple[Product, ...], tuple[str, ...]]:
    """Return products with prices, and what others leave; half of the prices say nothing of what is cheaper."""
    counts = Counter(gpu.product for gpu in today)
    told = {one.product: float(one.per_gpu_hour) for one in pool.spec.costs}
    missing = sorted(name for name in counts if name not in told)
    note = f"MigPool {pool.name}: costs: no price of {', '.join(missing)}: every GPU counts as 1"
    priced = told if not missing else {}
    whole = [Product(name, lattices[name], priced.get(name, 1.0), counts[name]) for name in sorted(counts)]
    shared = [(gpu.product, tuple(one for one, owner in gpu.slices if owner == FOREIGN)) for gpu in today]
    return stocks(whole, shared), (note,) if missing and told else ()


def _sized(
    one: SnapshotDeployment,
    curves: Curves,
    kinds: Mapping[Kind, Capability],
    fixed: Sequence[GpuState],
    links: tuple[tuple[str, float], ...],
) -> tuple[Sized, str]:
    """Return what a deployment still needs beside what it has on GPUs that stay, and what had to be assumed for it."""
    name, spec = name_of(one), one.spec
    asked = ask_of(one, curves, links, tuple(kinds))
    found = sized(asked, kinds)
    told = {curve.product for curve in asked.curves} & {product for product, _ in kinds}
    least = max(spec.scaling.min_replicas, sum(group.replicas for group in one.groups))
    if spec.scaling.mode == "External":
        return _counted(found, _allowed(asked, kinds), spec.replicas), ""
    if not told:
        now = [kind for kind in _allowed(asked, kinds) if kind[1] in {group.profile for group in one.groups}]
        unit = now or _smallest(_allowed(asked, kinds), kinds)
        where = ", ".join(sorted({kind[1] for kind in unit})) or "no slice"
        note = (
            f"{name}: no curve for it yet: planned as {least} × {where}, which {'it has' if now else 'is the smallest'}"
        )
        return _counted(found, unit, least), note
    if asked.demand_fps <= 0:
        note = f"{name}: its demand is not known: planned as {least} replicas of whatever keeps its objective"
        return _counted(found, list(found.need.rates), least), note
    # So many replicas at least: no slice counts for more than its share of the demand.
    most = asked.demand_fps / spec.scaling.min_replicas
    here = _standing(name, asked, fixed, most)
    rates = {kind: min(rate, most) for kind, rate in found.need.rates.items()}
    note = f"{name}: {here:.0f} of its {asked.demand_fps:.0f} fps are served on GPUs that stay" if here else ""
    return Sized(Need(name, max(0.0, asked.demand_fps - here), rates), found.out), note


def ask_of(
    one: SnapshotDeployment, curves: Curves, links: tuple[tuple[str, float], ...] = (), kinds: Sequence[Kind] = ()
) -> Ask:
    """Return a deployment as sizing sees it; the demand is declared, or seen, whichever the scaling mode says."""
    spec = one.spec
    return Ask(
        name=name_of(one),
        demand_fps=planned_fps(spec, one.signals.arrival_fps if one.signals else None) or 0.0,
        objective_ms=float(spec.objective.p99_latency_milliseconds),
        utilization_percent=spec.scaling.target_utilization_percent,
        endpoint=endpoint_of(spec),
        backend=spec.engine.backend,
        profiles=tuple(spec.placement.profiles),
        products=tuple(spec.placement.products),
        curves=curves.at(home_of(one.namespace, spec), kinds),
        links=links,
    )


def _counted(found: Sized, kinds: Sequence[Kind], count: int) -> Sized:
    return Sized(Need(found.need.name, float(count), dict.fromkeys(kinds, 1.0)), found.out)


def _allowed(asked: Ask, kinds: Mapping[Kind, Capability]) -> list[Kind]:
    return [kind for kind, worth in kinds.items() if allowed(asked, kind, worth)]


def _smallest(offered: Sequence[Kind], kinds: Mapping[Kind, Capability]) -> list[Kind]:
    """Return the smallest kind of each product."""
    first: dict[str, Kind] = {}
    for kind in sorted(offered, key=lambda one: (kinds[one].memory_slices, kinds[one].compute_slices, one)):
        first.setdefault(kind[0], kind)
    return list(first.values())


def _standing(name: str, asked: Ask, fixed: Sequence[GpuState], most: float) -> float:
    """Return what a deployment is served on GPUs that stay as they are."""
    mine = [(gpu.product, one.profile) for gpu in fixed for one, owner in gpu.slices if owner == name]
    rates = [rate_on(asked, kind) for kind in mine]
    return sum(min(rate.fps, most) for rate in rates if isinstance(rate, Rate))
