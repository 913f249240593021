"""Made-up fleets for the planner's benchmarks, and how a row is printed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from yolofleet.planning.capabilities import GPUS
from yolofleet.planning.layouts.geometry import Lattice, lattice_of
from yolofleet.planning.packing import Need, Packing, Product

PRICES = {"A100-80GB": 2.0, "H100-SXM-80GB": 4.0, "A30": 0.8}
SPEED = {"A100-80GB": 1.0, "H100-SXM-80GB": 2.2, "A30": 0.95}


def lattice(key: str, profiles: Iterator[str] | None = None) -> Lattice:
    """Return the lattice of a product, without media extensions."""
    gpu = next(gpu for gpu in GPUS if gpu.key == key)
    return lattice_of(gpu, profiles or (one.profile for one in gpu.profiles if "+" not in one.profile))


def fleet(deployments: int, products: int, seed: int) -> tuple[list[Product], list[Need]]:
    """Draw a fleet: demand and speed lognormal, speed grows with SMs to a power from 0.75 to 1, memory bars slices."""
    dice = np.random.default_rng(seed)
    keys = list(PRICES)[:products]
    stock = [Product(key, lattice(key), PRICES[key] if products > 1 else 1.0) for key in keys]
    worths = [
        (key, one) for key in keys for one in next(g for g in GPUS if g.key == key).profiles if "+" not in one.profile
    ]
    needs = []
    for at in range(deployments):
        base, power = float(dice.lognormal(4, 0.6)), float(dice.uniform(0.75, 1.0))
        memory_mib = 563 * int(dice.choice([4, 8, 16, 30], p=[0.5, 0.3, 0.15, 0.05]))
        demand = float(dice.lognormal(5.2, 1.1))
        rates = {
            (key, one.profile): base
            * SPEED[key]
            * ((one.sm_count or 0) / 14) ** power
            * float(dice.uniform(0.93, 1.07))
            for key, one in worths
            if (one.memory_mib or 0) >= memory_mib
        }
        needs.append(Need(f"d{at:06d}", demand, rates))
    return stock, needs


def found_plan(packing: Packing | None) -> Packing:
    """Return the packing; without limits there always is one."""
    if packing is None:
        raise AssertionError("no plan without limits: a bug of the planner")
    return packing


def say(row: Any) -> None:
    """Print one row as it comes."""
    told = (f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in asdict(row).items())
    print("  ".join(told), flush=True)  # noqa: T201 - a benchmark's output
