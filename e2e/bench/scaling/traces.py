"""Arrival traces: frames in each second, made from a seed; days of one seed share what would repeat in real life.

A rate is thought of in replicas; one replica carries `REPLICA_FPS` at the objective, and frames arrive as a Poisson
process around it. `python -m e2e.bench.scaling.traces` writes the committed ones.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

REPLICA_FPS = 100
LARGEST = 56.0
HOUR = 3600
HERE = Path(__file__).parent / "traces"
HISTORY_DAYS = 3
SEED = 101
"""Of the committed traces; not among the seeds that anything was tuned on."""

Rates = NDArray[np.float64]
Frames = NDArray[np.int64]
Rng = np.random.Generator


@dataclass(frozen=True)
class Trace:
    """Frames that arrive in each second of a day, and of the days before it, for whoever learns."""

    name: str
    seed: int
    frames: Frames
    history: tuple[Frames, ...] = ()

    @property
    def seconds(self) -> int:
        return len(self.frames)


def wander(rng: Rng, seconds: int, *, tau_s: float, sd: float) -> Rates:
    """Return noise around zero that forgets itself within `tau_s` (an AR(1) process)."""
    keep = float(np.exp(-1 / tau_s))
    pushes = (rng.normal(size=seconds) * sd * np.sqrt(1 - keep * keep)).tolist()
    level, out = float(rng.normal() * sd), []
    for push in pushes:
        level = keep * level + push
        out.append(level)
    return np.array(out)


def between(at: Rates, start: float, end: float, *, rise_s: float, fall_s: float) -> Rates:
    """Return 0, then a rise to 1 from `start` on, and a fall back to 0 from `end` on."""
    shape: Rates = np.clip((at - start) / rise_s, 0, 1) * (1 - np.clip((at - end) / fall_s, 0, 1))
    return shape


def diurnal(rng: Rng, _shared: Rng) -> Rates:
    at = np.arange(24 * HOUR) / HOUR
    peaks = 0.8 * np.exp(-(((at - 10.5) / 3.0) ** 2)) + np.exp(-(((at - 18.5) / 2.2) ** 2))
    whole = np.exp(rng.normal() * 0.05)
    rate: Rates = (6 + 32 * peaks) * whole * (1 + wander(rng, len(at), tau_s=300, sd=0.04))
    return rate


def flash(rng: Rng, _shared: Rng) -> Rates:
    at = np.arange(6 * HOUR, dtype=float)
    base = 4.5 * (1 + 0.1 * np.sin(at / HOUR))
    more = np.zeros_like(at)
    for third, rise in enumerate(rng.permutation([1, 20, 60])):
        since = at - int(rng.uniform(third * 7000 + 900, third * 7000 + 4500))
        holds = int(rng.uniform(180, 480))
        ebb = np.exp(-np.clip(since - rise - holds, 0, None) / 120)
        more += np.clip((since + 1) / rise, 0, 1) * ebb
    rate: Rates = base * (1 + 9 * more)
    return rate


def on_off(rng: Rng, shared: Rng) -> Rates:
    at = np.arange(24 * HOUR, dtype=float)
    rate = np.full(len(at), 2.0)
    for cameras in (3, 5, 4, 8, 6, 10, 3, 7):
        for earliest, latest in ((5, 9), (13, 17)):
            on = shared.uniform(earliest, latest)
            off = on + shared.uniform(2, 4.5)
            begins, ends = (int(hour * HOUR + rng.normal() * 20) for hour in (on, off))
            rate += cameras * between(at, begins, ends, rise_s=5, fall_s=5)
    return rate * (1 + wander(rng, len(at), tau_s=60, sd=0.015))


def ramp(rng: Rng, _shared: Rng) -> Rates:
    at = np.arange(4 * HOUR)
    rate = np.interp(at, [0, 1800, 9000, 10800, 13800, 4 * HOUR], [3, 3, 48, 48, 5, 5])
    return rate * (1 + wander(rng, len(at), tau_s=60, sd=0.02))


def sawtooth(rng: Rng, _shared: Rng) -> Rates:
    """Rise for just as long as the usual window for going down, 300 s, and fall at once."""
    at = np.arange(2 * HOUR) + int(rng.integers(300))
    return (8 + 24 * (at % 300) / 300) * (1 + wander(rng, len(at), tau_s=60, sd=0.015))


def failover(rng: Rng, _shared: Rng) -> Rates:
    """Another site's cameras come for a while, five times; twice a part of our own goes and comes back."""
    at = np.arange(6 * HOUR, dtype=float)
    rate = (20 + 3 * np.sin(at / 4000)) * (1 + wander(rng, len(at), tau_s=120, sd=0.02))
    begins = rng.uniform(600, 2000)
    for event in range(7):
        ours_go = event in (2, 5)
        ends = begins + (300 if ours_go else rng.uniform(600, 1500))
        if ends >= len(at) - 60:
            break
        shape = between(at, int(begins), int(ends), rise_s=2, fall_s=2)
        rate = rate * (1 - 0.4 * shape) if ours_go else rate + 10 * shape
        begins = ends + rng.uniform(600, 2600)
    return rate


def bursts(rng: Rng, _shared: Rng) -> Rates:
    """Bursts of heavy-tailed height, every eight minutes on average."""
    at = np.arange(12 * HOUR, dtype=float)
    rate = 8 * (1 + wander(rng, len(at), tau_s=600, sd=0.05))
    begins = rng.exponential(480)
    while begins < len(at) - 30:
        height, rise = min(40, 2 * (1 + rng.pareto(1.3))), rng.uniform(1, 10)
        lasts = min(900, rng.lognormal(np.log(60) - 0.5, 1))
        since = at - int(begins)
        ebb = np.exp(-np.clip(since - rise - lasts, 0, 500) / 5)
        rate += height * np.clip(since / rise, 0, 1) * ebb
        begins += rng.exponential(480)
    return np.minimum(rate, 52)


def noise(rng: Rng, _shared: Rng) -> Rates:
    seconds = 4 * HOUR
    return 15 * (1 + wander(rng, seconds, tau_s=10, sd=0.12) + rng.normal(size=seconds) * 0.04)


def shifts(rng: Rng, shared: Rng) -> Rates:
    """Kept out of tuning: shifts that begin over some minutes, with breaks in which half of the cameras rest."""
    at = np.arange(12 * HOUR, dtype=float)
    rate = np.full(len(at), 4.0)
    for begins in (1.0, 5.5):
        start = (begins + shared.uniform(-0.5, 0.5)) * HOUR + rng.normal() * 60
        shift = between(at, start, start + 3.8 * HOUR, rise_s=240, fall_s=400)
        for rest in (1.1, 2.4):
            pause = start + rest * HOUR + rng.normal() * 45
            shift *= 1 - 0.5 * between(at, pause, pause + 900, rise_s=30, fall_s=30)
        rate += shared.uniform(14, 26) * shift
    return rate * (1 + wander(rng, len(at), tau_s=90, sd=0.03))


def regimes(rng: Rng, _shared: Rng) -> Rates:
    """Kept out of tuning: levels between 5 and 40 that come unannounced, some at once, some over two minutes."""
    at = np.arange(8 * HOUR, dtype=float)
    rate, level, begins = np.full(len(at), 12.0), 12.0, 0.0
    while (begins := begins + rng.uniform(300, 2400)) < len(at):
        other = float(np.clip(level * np.exp(rng.normal() * 0.45), 5, 40))
        rate += (other - level) * np.clip((at - int(begins)) / rng.choice([2.0, 30.0, 120.0]), 0, 1)
        level = other
    return rate * (1 + wander(rng, len(at), tau_s=40, sd=0.03))


Shape = Callable[[Rng, Rng], Rates]
FORECASTABLE: Mapping[str, Shape] = {
    "diurnal": diurnal,
    "on-off": on_off,
    "ramp": ramp,
    "sawtooth": sawtooth,
    "noise": noise,
}
SURPRISE: Mapping[str, Shape] = {"flash": flash, "failover": failover, "bursts": bursts}
TUNED_ON: Mapping[str, Shape] = {**FORECASTABLE, **SURPRISE}
HELD_OUT: Mapping[str, Shape] = {"shifts": shifts, "regimes": regimes}
SHAPES: Mapping[str, Shape] = {**TUNED_ON, **HELD_OUT}


def day(name: str, seed: int, number: int) -> Frames:
    """Return one day of a shape; days differ in all but what `shared` drew."""
    place = list(SHAPES).index(name)
    rng, shared = np.random.default_rng([seed, place, number]), np.random.default_rng([seed, place])
    rate = SHAPES[name](rng, shared)
    return rng.poisson(np.clip(rate, 0.2, LARGEST) * REPLICA_FPS).astype(np.int64)


def make(name: str, seed: int, *, history_days: int = HISTORY_DAYS) -> Trace:
    """Return a trace with the days before it."""
    history = tuple(day(name, seed, number) for number in range(history_days))
    return Trace(name, seed, day(name, seed, HISTORY_DAYS), history)


def file_of(name: str) -> Path:
    """Return where the committed trace of a shape lies."""
    return HERE / f"{name}.csv.gz"


def written(trace: Trace) -> bytes:
    """Return a trace as CSV: how it was made, a header, and one line for each second; the same bytes each time."""
    told = f"# {trace.name}, seed {trace.seed}, day {HISTORY_DAYS}: e2e/bench/scaling/traces.py\nfps\n"
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=9, mtime=0) as packed:
        packed.write((told + "\n".join(map(str, trace.frames.tolist())) + "\n").encode())
    return out.getvalue()


def read(name: str) -> Frames:
    """Return the committed trace of a shape."""
    lines = gzip.decompress(file_of(name).read_bytes()).decode().splitlines()
    return np.array([int(line) for line in lines[2:]], dtype=np.int64)


def main() -> None:
    HERE.mkdir(exist_ok=True)
    for name in SHAPES:
        file_of(name).write_bytes(written(make(name, SEED, history_days=0)))
        print(f"{file_of(name)}: {len(file_of(name).read_bytes()):,} bytes")


if __name__ == "__main__":
    main()
