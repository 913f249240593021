"""Sizing and packing as one optimisation: the fewest GPUs, or the cheapest, with a proof that others can check."""

from yolofleet.planning.packing.certificate import Certificate, recomputed_bound
from yolofleet.planning.packing.change import changed
from yolofleet.planning.packing.outcome import FOREIGN, FilledGpu, Share, certificate, filled_gpus, shares
from yolofleet.planning.packing.plan import Packing, pack
from yolofleet.planning.packing.problem import Problem, Product, problem_of
from yolofleet.planning.packing.shortage import Shortfall, pack_by_priority
from yolofleet.planning.packing.stock import is_reserve, reserve, stocks
from yolofleet.planning.sizing.need import Need

__all__ = [
    "FOREIGN",
    "Certificate",
    "FilledGpu",
    "Need",
    "Packing",
    "Problem",
    "Product",
    "Share",
    "Shortfall",
    "certificate",
    "changed",
    "filled_gpus",
    "is_reserve",
    "pack",
    "pack_by_priority",
    "problem_of",
    "recomputed_bound",
    "reserve",
    "shares",
    "stocks",
]
