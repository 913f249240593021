"""Who sits where on which GPU, drawn: a line per GPU in the terminal, and an SVG for documents."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from rich.console import Group, RenderableType
from rich.text import Text

from yolofleet.cli.printing import printable
from yolofleet.planning.capabilities import Gpu, gpu_of, resolve
from yolofleet.planning.layouts.geometry import Slice
from yolofleet.planning.layouts.overlay import FOREIGN, GpuState
from yolofleet.planning.packing import FilledGpu
from yolofleet.planning.slices.profiles import WHOLE

PALETTE = (
    "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#ee8866", "#44aa99",
    "#bb77dd", "#999933", "#dd77aa", "#117777",
)  # fmt: skip
"""Colours that people with a colour deficiency tell apart too, as far as twelve can be (after Paul Tol)."""
_DARK = {"#4477aa", "#228833", "#aa3377", "#117777", "#ee6677", "#999933"}
_PLAIN = {False: "black on grey85", True: "white on grey37"}
"""Slices that nobody holds, and those that others do."""
_CELL, _HEIGHT, _GAP, _LEFT, _COLUMNS = 46, 34, 12, 176, 2

_HEAD = """<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"
 font-family="Helvetica,Arial,sans-serif" font-size="12">
<defs><pattern id="free" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
<rect width="7" height="7" fill="#f4f4f4"/><rect width="3" height="7" fill="#e4e4e4"/></pattern>
<pattern id="others" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(-45)">
<rect width="7" height="7" fill="#cfcfcf"/><rect width="2" height="7" fill="#b4b4b4"/></pattern></defs>
<rect width="{width}" height="{height}" fill="white"/>"""


def colours(gpus: Sequence[GpuState]) -> dict[str, str]:
    """Give each deployment a colour, by name: the same fleet looks the same each time."""
    names = sorted({owner for gpu in gpus for _, owner in gpu.slices if owner and owner != FOREIGN})
    return {name: PALETTE[at % len(PALETTE)] for at, name in enumerate(names)}


def numbered(gpus: Sequence[FilledGpu]) -> list[GpuState]:
    """Return GPUs of a plan, which have no names yet, with short ones: the product and a number of its own."""
    seen: dict[str, int] = {}
    named = []
    for gpu in gpus:
        seen[gpu.product] = seen.get(gpu.product, 0) + 1
        named.append(GpuState(f"{_gpu(gpu.product).key} #{seen[gpu.product]}", gpu.product, gpu.slices))
    return named


def shortened(gpus: Sequence[GpuState]) -> list[GpuState]:
    """Leave out the namespace where all deployments are of one, and say the product with the place."""
    owners = {owner for gpu in gpus for _, owner in gpu.slices if owner and "/" in owner}
    one = len({owner.partition("/")[0] for owner in owners}) == 1
    products = len({gpu.product for gpu in gpus}) > 1

    def short(owner: str | None) -> str | None:
        return owner.partition("/")[2] if one and owner in owners and owner else owner

    return [
        GpuState(
            f"{gpu.name} {_gpu(gpu.product).key}" if products else gpu.name,
            gpu.product,
            tuple((slot, short(owner)) for slot, owner in gpu.slices),
        )
        for gpu in gpus
    ]


def _gpu(product: str) -> Gpu:
    found = gpu_of(product)
    if not isinstance(found, Gpu):
        raise ValueError(found.message)  # noqa: TRY004 - a product that was planned is known
    return found


def size_of(product: str, one: Slice) -> int:
    """Return how many memory slices a slice takes; a GPU that is not cut is one slice."""
    if one.profile == WHOLE:
        return _gpu(product).memory_slices
    found = resolve(_gpu(product), one.profile)
    return getattr(found, "memory_slices", 1)


def terminal(gpus: Sequence[GpuState], *, cell: int = 9) -> RenderableType:
    """Return a line per GPU, `cell` characters per memory slice; what no slice covers is dotted."""
    colour = colours(gpus)
    left = max((len(gpu.name) for gpu in gpus), default=0) + 2
    lines = []
    for gpu in gpus:
        line = Text(f"{printable(gpu.name):<{left}}")
        at = 0
        for one, owner in gpu.slices:
            width = size_of(gpu.product, one)
            line.append("·" * cell * (one.start - at), style="dim")
            words = f"{one.profile.split('.')[0]} {printable(_holder(owner))}"[: cell * width - 1]
            style = f"{_ink(colour[owner])} on {colour[owner]}" if owner in colour else _PLAIN[owner == FOREIGN]
            line.append(f"{words:<{cell * width - 1}}", style=style)
            line.append("│")
            at = one.start + width
        line.append("·" * cell * (_gpu(gpu.product).memory_slices - at), style="dim")
        lines.append(line)
    return Group(*lines)


def _holder(owner: str | None) -> str:
    return "others" if owner == FOREIGN else owner or "free"


def _ink(colour: str) -> str:
    return "white" if colour in _DARK else "black"


def svg(gpus: Sequence[GpuState], title: str) -> str:
    """Return the same as a picture: two columns of GPUs, a colour per deployment, hatched where a slice is free."""
    colour = colours(gpus)
    rows = max(1, -(-len(gpus) // _COLUMNS))
    column = _LEFT + 8 * _CELL + 30
    legend = 70 + rows * (_HEIGHT + _GAP)
    width, height = _COLUMNS * column + 10, legend + 34 + 24 * (-(-len(colour) // 6))
    parts = [
        _HEAD.format(width=width, height=height),
        f'<text x="16" y="34" font-size="17" font-weight="bold" fill="#222">{escape(title)}</text>',
    ]
    for at, gpu in enumerate(gpus):
        left, top = 16 + (at // rows) * column, 60 + (at % rows) * (_HEIGHT + _GAP)
        parts.append(f'<text x="{left}" y="{top + 22}" fill="#444">{escape(gpu.name)}</text>')
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
    fill = colour.get(owner or "", "url(#others)" if owner == FOREIGN else "url(#free)")
    ink = ("#fff" if colour[owner] in _DARK else "#111") if owner in colour else "#555" if owner else "#999"
    short = one.profile.split(".")[0] if width < _CELL else one.profile
    words = _holder(owner)
    words = words if len(words) * 6 < width else words[: max(1, int(width // 6.4) - 1)] + "…"
    middle, lines = x + width / 2, ((15, 10.5, escape(words)), (27, 9, short))
    texts = "".join(
        f'<text x="{middle}" y="{top + down}" text-anchor="middle" font-size="{size}" fill="{ink}">{line}</text>'
        for down, size, line in lines
    )
    return (
        f"<g><title>{escape(one.profile)} at {one.start}: {escape(_holder(owner))}</title>"
        f'<rect x="{x}" y="{top + 1.5}" width="{width}" height="{_HEIGHT - 3}" rx="5" fill="{fill}"/>{texts}</g>'
    )
