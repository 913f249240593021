"""Bars in SVG, drawn by hand: a few shapes need no library."""

from __future__ import annotations

from collections.abc import Mapping

COLOURS = ("#bbbbbb", "#88ccee", "#ddcc77", "#cc6677", "#aa4499", "#117733", "#4477aa")
_LEFT, _WIDE, _HIGH = 150, 560, 13


def bars(groups: Mapping[str, Mapping[str, float]], title: str) -> str:
    """Draw percentages: a block of lying bars per group, one colour per name, the figure at each bar's end."""
    names = list(next(iter(groups.values())))
    block = len(names) * _HIGH + 22
    height = 60 + block * len(groups) + 20 * ((len(names) + 2) // 3)
    parts = [f'<text x="20" y="22" font-size="14">{title}</text>']
    for mark in range(0, 101, 20):
        x = _LEFT + mark * _WIDE / 100
        foot = 36 + block * len(groups)
        parts.append(f'<line x1="{x}" x2="{x}" y1="36" y2="{foot}" stroke="#e4e4e4"/>')
        parts.append(f'<text x="{x}" y="{foot + 14}" text-anchor="middle" fill="#666">{mark}</text>')
    for at, (group, values) in enumerate(groups.items()):
        top = 42 + at * block
        middle = top + len(names) * _HIGH / 2 + 4
        parts.append(f'<text x="{_LEFT - 10}" y="{middle}" text-anchor="end">{group}</text>')
        for line, (name, colour) in enumerate(zip(names, COLOURS, strict=False)):
            y, wide = top + line * _HIGH, values[name] * _WIDE / 100
            parts.append(f'<rect x="{_LEFT}" y="{y}" width="{wide:.1f}" height="{_HIGH - 2}" fill="{colour}"/>')
            parts.append(f'<text x="{_LEFT + wide + 4:.1f}" y="{y + 9}" font-size="10">{values[name]:.1f}</text>')
    for at, (name, colour) in enumerate(zip(names, COLOURS, strict=False)):
        x, y = 20 + at % 3 * 230, height - 20 * ((len(names) + 2) // 3) + at // 3 * 20
        parts.append(f'<rect x="{x}" y="{y}" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{x + 18}" y="{y + 10}">{name}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{height + 8}" font-family="sans-serif" '
        f'font-size="12"><rect width="760" height="{height + 8}" fill="white"/>{"".join(parts)}</svg>\n'
    )
