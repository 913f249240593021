"""Who sits where on which GPU, drawn: a line per GPU in the terminal, and an SVG for documents."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from rich.console import Group, RenderableType
from rich.text import Text

from yolofleet.cli.printing import printable
from yolofleet.planning.capabilities import Gpu, gpu_of, resolve
from yolofleet.planning.geometry import Slice
from yolofleet.planning.packing import FilledGpu

PALETTE = (
    "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#ee8866", "#44aa99",
    "#bb77dd", "#999933", "#dd77aa", "#117777",
)  # fmt: skip
"""Colours that people with a colour deficiency tell apart too, as far as twelve can be (after Paul Tol)."""
_DARK = {"#4477aa", "#228833", "#aa3377", "#117777", "#ee6677", "#999933"}
_CELL, _HEIGHT, _GAP, _LEFT, _COLUMNS = 46, 34, 12, 176, 2

_HEAD = """<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"
 font-family="Helvetica,Arial,sans-serif" font-size="12">
<defs><pattern id="free" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
<rect width="7" height="7" fill="#f4f4f4"/><rect width="3" height="7" fill="#e4e4e4"/></pattern></defs>
<rect width="{width}" height="{height}" fill="white"/>"""


def colours(gpus: Sequence[FilledGpu]) -> dict[str, str]:
    """Give each deployment a colour, by name: the same fleet looks the same each time."""
    names = sorted({owner for gpu in gpus for _, owner in gpu.slices if owner})
    return {name: PALETTE[at % len(PALETTE)] for at, name in enumerate(names)}


def numbered(gpus: Sequence[FilledGpu]) -> list[tuple[str, FilledGpu]]:
    """Return each GPU with a short name: its product and a number of its own."""
    seen: dict[str, int] = {}
    named = []
    for gpu in gpus:
        seen[gpu.product] = seen.get(gpu.product, 0) + 1
        named.append((f"{_gpu(gpu.product).key} #{seen[gpu.product]}", gpu))
    return named


def _gpu(product: str) -> Gpu:
    found = gpu_of(product)
    if not isinstance(found, Gpu):
        raise ValueError(found.message)  # noqa: TRY004 - a product that was planned is known
    return found


def size_of(product: str, one: Slice) -> int:
    """Return how many memory slices a slice takes."""
    found = resolve(_gpu(product), one.profile)
    return getattr(found, "memory_slices", 1)


def terminal(gpus: Sequence[FilledGpu], *, cell: int = 9) -> RenderableType:
    """Return a line per GPU, `cell` characters per memory slice; what no slice covers is dotted."""
    colour = colours(gpus)
    lines = []
    for name, gpu in numbered(gpus):
        line = Text(f"{name:<20}")
        at = 0
        for one, owner in gpu.slices:
            width = size_of(gpu.product, one)
            line.append("·" * cell * (one.start - at), style="dim")
            words = f"{one.profile.split('.')[0]} {printable(owner or 'free')}"[: cell * width - 1]
            style = f"{_ink(colour[owner])} on {colour[owner]}" if owner else "black on grey85"
            line.append(f"{words:<{cell * width - 1}}", style=style)
            line.append("│")
            at = one.start + width
        line.append("·" * cell * (_gpu(gpu.product).memory_slices - at), style="dim")
        lines.append(line)
    return Group(*lines)


def _ink(colour: str) -> str:
    return "white" if colour in _DARK else "black"


def svg(gpus: Sequence[FilledGpu], title: str) -> str:
    """Return the same as a picture: two columns of GPUs, a colour per deployment, hatched where a slice is free."""
    colour = colours(gpus)
    named = numbered(gpus)
    rows = -(-len(named) // _COLUMNS)
    column = _LEFT + 8 * _CELL + 30
    legend = 70 + rows * (_HEIGHT + _GAP)
    width, height = _COLUMNS * column + 10, legend + 34 + 24 * (-(-len(colour) // 6))
    parts = [
        _HEAD.format(width=width, height=height),
        f'<text x="16" y="34" font-size="17" font-weight="bold" fill="#222">{escape(title)}</text>',
    ]
    for at, (name, gpu) in enumerate(named):
        left, top = 16 + (at // rows) * column, 60 + (at % rows) * (_HEIGHT + _GAP)
        parts.append(f'<text x="{left}" y="{top + 22}" fill="#444">{escape(name)}</text>')
        parts.append(_frame(left + _LEFT - 30, top, _gpu(gpu.product).memory_slices))
        parts += [_slice(left + _LEFT - 30, top, gpu.product, one, owner, colour) for one, owner in gpu.slices]
    for at, (name, fill) in enumerate(colour.items()):
        x, y = 16 + (at % 6) * 150, legend + 10 + 24 * (at // 6)
        parts.append(f'<rect x="{x}" y="{y}" width="16" height="16" rx="4" fill="{fill}"/>')
        parts.append(f'<text x="{x + 22}" y="{y + 13}" fill="#222">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _frame(left: int, top: int, slots: int) -> str:
    ticks = "".join(
        f'<line x1="{left + n * _CELL}" x2="{left + n * _CELL}" y1="{top}" y2="{top + _HEIGHT}" stroke="#eee"/>'
        for n in range(1, slots)
    )
    return (
        f'<rect x="{left}" y="{top}" width="{slots * _CELL}" height="{_HEIGHT}" rx="6" fill="#fafafa" stroke="#ccc"/>'
        + ticks
    )


def _slice(left: int, top: int, product: str, one: Slice, owner: str | None, colour: dict[str, str]) -> str:
    x, width = left + one.start * _CELL + 1.5, size_of(product, one) * _CELL - 3
    fill = colour[owner] if owner else "url(#free)"
    ink = ("#fff" if colour[owner] in _DARK else "#111") if owner else "#999"
    short = one.profile.split(".")[0] if width < _CELL else one.profile
    words = owner or "free"
    words = words if len(words) * 6 < width else words[: max(1, int(width // 6.4) - 1)] + "…"
    middle, lines = x + width / 2, ((15, 10.5, escape(words)), (27, 9, short))
    texts = "".join(
        f'<text x="{middle}" y="{top + down}" text-anchor="middle" font-size="{size}" fill="{ink}">{line}</text>'
        for down, size, line in lines
    )
    return (
        f"<g><title>{escape(one.profile)} at {one.start}: {escape(owner or 'free')}</title>"
        f'<rect x="{x}" y="{top + 1.5}" width="{width}" height="{_HEIGHT - 3}" rx="5" fill="{fill}"/>{texts}</g>'
    )
