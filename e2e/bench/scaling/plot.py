"""Seconds over against slices as an SVG: the nearer to the corner, the better."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

Point = tuple[str, str, float, float]
COLOURS = {"yolofleet": "#d62728", "HPA": "#1f77b4", "KEDA": "#2ca02c", "KPA": "#9467bd"}
WIDTH, HEIGHT, MARGIN = 720, 440, 60
LEAST, MOST_RATIO = 1.0, 1.8
MOST_OVER = 2.0


def pareto(points: Sequence[Point]) -> str:
    """Return a picture of (policy, setting, % of seconds over, slice-hours ÷ optimum) within the bounds."""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for tick in range(9):
        ratio, over = LEAST + tick / 10, MOST_OVER * tick / 8
        lines.append(f'<text x="{_x(ratio):.0f}" y="{HEIGHT - 35}" text-anchor="middle">{ratio:.1f}</text>')
        lines.append(f'<text x="{MARGIN - 8}" y="{_y(over) + 4:.0f}" text-anchor="end">{over:.2f}</text>')
        lines.append(f'<path d="M{MARGIN} {_y(over):.0f}H{WIDTH - 20}" stroke="#ddd"/>')
    lines.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 10}" text-anchor="middle">slice-hours ÷ clairvoyant</text>')
    lines.append(f'<text x="{MARGIN}" y="20">% of seconds over the objective, mean of eight traces</text>')
    for policy, setting, over, ratio in points:
        if over <= MOST_OVER and ratio <= MOST_RATIO:
            told = escape(f"{policy}: {setting}: {over:.3f} % @ {ratio:.3f}")
            colour = COLOURS.get(policy, "black")
            lines.append(
                f'<circle cx="{_x(ratio):.1f}" cy="{_y(over):.1f}" r="4" fill="{colour}"><title>{told}</title></circle>'
            )
    for place, (policy, colour) in enumerate(COLOURS.items()):
        lines.append(f'<circle cx="{WIDTH - 110}" cy="{40 + 18 * place}" r="4" fill="{colour}"/>')
        lines.append(f'<text x="{WIDTH - 100}" y="{44 + 18 * place}">{policy}</text>')
    return "\n".join([*lines, "</svg>\n"])


def _x(ratio: float) -> float:
    return MARGIN + (ratio - LEAST) / (MOST_RATIO - LEAST) * (WIDTH - MARGIN - 20)


def _y(over: float) -> float:
    return HEIGHT - 55 - over / MOST_OVER * (HEIGHT - 90)
