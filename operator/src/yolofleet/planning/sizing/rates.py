"""What one slice serves of a deployment: frames per second within the objective, from its curves; or why it cannot."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from yolofleet.api.curve import Curve
from yolofleet.api.recipe import Backend, Endpoint
from yolofleet.api.tuning import error_of, operating_point
from yolofleet.api.yolodeployment import YoloDeploymentSpec
from yolofleet.planning.capabilities import Capability
from yolofleet.planning.sizing.curves import Kind
from yolofleet.planning.sizing.need import Need
from yolofleet.planning.slices.host_link import GB, link_of, share_of
from yolofleet.planning.slices.profiles import same_profile


@dataclass(frozen=True)
class Ask:
    """A deployment as sizing sees it; empty `profiles` or `products` allow all, utilisation is in percent.

    `links` says what GPUs' links to the host carry, in bytes per second, where the tables' figures do not hold.
    """

    name: str
    demand_fps: float
    objective_ms: float
    utilization_percent: int = 80
    endpoint: Endpoint = "Ultralytics"
    profiles: tuple[str, ...] = ()
    products: tuple[str, ...] = ()
    curves: tuple[Curve, ...] = ()
    links: tuple[tuple[str, float], ...] = ()
    backend: Backend = "TensorRT"

    @property
    def decodes_on_gpu(self) -> bool:
        """Tell whether pictures are decoded by the GPU's JPEG engine."""
        return decodes_on_gpu(self.endpoint, self.backend)


@dataclass(frozen=True)
class Rate:
    """What one slice may be planned with, in frames per second, and the arithmetic; `guess` says by what estimate."""

    fps: float
    message: str
    guess: str = ""


@dataclass(frozen=True)
class Sized:
    """A deployment's needs for the packing, and why other kinds of slices are out."""

    need: Need
    out: Mapping[Kind, str]


def rate_of(curve: Curve, ask: Ask) -> Rate | str:
    """Return what a slice with this curve may be planned with, or in words why nothing.

    Estimated curves count with their lower edge: throughput less the error, latency plus it.
    """
    most = most_bytes(curve, ask.links)
    at = operating_point(curve, ask.endpoint, ask.objective_ms, most_bytes=most)
    if isinstance(at, str):
        return at
    error, point, reached = error_of(curve), at.point, at.reached_fps
    fps = reached * (1 - error) * ask.utilization_percent / 100
    if fps <= 0:
        return "its curve knows of no throughput within the objective"
    edge = f" − {error:.0%}" if error else ""
    each = f" × {point.instances} instances" if point.instances > 1 else ""
    link = f", held to {reached:.0f} by {most / GB:.3g} GB/s of the host" if reached < point.frames_per_second else ""
    told = f"{point.frames_per_second} fps{edge} at batch {point.batch}{each}{link}"
    guess = "" if curve.source == "Measured" else f"estimated, give or take {float(curve.error):.0%}"
    return Rate(fps, f"{told} × {ask.utilization_percent} % = {fps:.0f} fps", guess)


def most_bytes(curve: Curve, links: Iterable[tuple[str, float]] = ()) -> float:
    """Return the bytes per second that a slice may take from the host; infinite where nobody knows the link."""
    link = dict(links).get(curve.product, link_of(curve.product))
    return math.inf if link is None else link * share_of(curve.product, curve.profile)


def sized(ask: Ask, offered: Mapping[Kind, Capability]) -> Sized:
    """Return what each kind of slice on offer is worth to a deployment, and why the others are out."""
    rates: dict[Kind, float] = {}
    out: dict[Kind, str] = {}
    for kind, worth in offered.items():
        found = _forbidden(ask, kind, worth) or rate_on(ask, kind)
        if isinstance(found, Rate):
            rates[kind] = found.fps
        else:
            out[kind] = found
    return Sized(Need(ask.name, ask.demand_fps, rates), out)


def endpoint_of(spec: YoloDeploymentSpec) -> Endpoint:
    """Return the endpoint by which a deployment is sized: Ultralytics' clients send the largest frames."""
    return "Ultralytics" if "Ultralytics" in spec.endpoints else spec.endpoints[0]


def decodes_on_gpu(endpoint: Endpoint, backend: Backend) -> bool:
    """Tell whether an endpoint's pictures are decoded by a JPEG engine; with ONNXRuntime the CPU does it."""
    return endpoint == "JPEG" and backend == "TensorRT"


def allowed(ask: Ask, kind: Kind, worth: Capability) -> bool:
    """Tell whether a deployment may have this kind of slice, whatever its curve says."""
    return _forbidden(ask, kind, worth) is None


def _unnamed(ask: Ask, kind: Kind) -> str | None:
    product, profile = kind
    if ask.products and product not in ask.products:
        return f"placement.products does not name {product}"
    if ask.profiles and not any(same_profile(asked, profile) for asked in ask.profiles):
        return f"placement.profiles does not name {profile}"
    return None


def _forbidden(ask: Ask, kind: Kind, worth: Capability) -> str | None:
    product, profile = kind
    if unnamed := _unnamed(ask, kind):
        return unnamed
    if worth.name.attributes and not ask.decodes_on_gpu:
        return f"{profile} is for those who need its media engines: a GPU has only one of them"
    if ask.decodes_on_gpu and not worth.jpeg:
        seen = "has no JPEG engine" if worth.jpeg == 0 else "is not known to have a JPEG engine"
        return f"{profile} of {product} {seen}, and endpoint JPEG needs one"
    return None


def rate_on(ask: Ask, kind: Kind) -> Rate | str:
    """Return what a slice of this kind may be planned with, or in words why nothing."""
    curve = curve_of(ask.curves, kind)
    return rate_of(curve, ask) if curve else f"no curve for {kind[1]} of {kind[0]} yet"


def curve_of(curves: Iterable[Curve], kind: Kind) -> Curve | None:
    """Return the kind's curve; a measured one before an estimated one.

    Media extensions add engines, neither SMs nor memory: without a curve of its own such a slice has the plain one's.
    """
    plain = kind[1].partition("+")[0]
    mine = [one for one in curves if one.product == kind[0] and _any_same(one.profile, kind[1], plain)]
    return min(mine, key=lambda one: (not same_profile(one.profile, kind[1]), one.source != "Measured"), default=None)


def curves_on(curves: Sequence[Curve], profile: str, products: Sequence[str]) -> tuple[Curve, ...]:
    """Return the curve of a profile for each of these products; where none is told, of each product that has one."""
    named = products or sorted({one.product for one in curves if same_profile(one.profile, profile)})
    found = (curve_of(curves, (product, profile)) for product in named)
    return tuple(curve for curve in found if curve is not None)


def _any_same(profile: str, *names: str) -> bool:
    return any(same_profile(profile, name) for name in names)
