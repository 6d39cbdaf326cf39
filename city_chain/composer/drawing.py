"""Drawings: a pipeline as Mermaid text, a run as an SVG timeline.

Names are hostile until escaped: Mermaid's own entity codes (`#60;`) for the one, XML entities for the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from city_chain.composer.declaration import Stage
from city_chain.composer.wiring import Edge

__all__ = ["flowchart", "timeline"]

_PLAIN = frozenset(" _-.,:/+()")
_COLOURS = {"ok": "#4c9f70", "error": "#c0392b", "deadline": "#8e44ad", "cancelled": "#7f8c8d", "queued": "#2e86c1"}
_ROW_PX = 22
_LABEL_PX = 190
_BAR_PX = 520
_NOTE_PX = 150


def flowchart(stages: Sequence[Stage], inputs: Sequence[str], outputs: Sequence[str], edges: Sequence[Edge]) -> str:
    """A pipeline as a Mermaid flowchart, the same text every time.

    Args:
        stages: In order of declaration.
        inputs: The pipeline's inputs.
        outputs: The pipeline's outputs.
        edges: Who takes what from whom.

    Example:
        >>> print(flowchart([], ["x"], [], []))
        flowchart LR
            in0(["x"])
    """
    nodes = {stage.name: f"s{index}" for index, stage in enumerate(stages)}
    behind = {stage.name for stage in stages if stage.write_behind}
    sources = {value: f"in{index}" for index, value in enumerate(inputs)}
    sinks = {value: f"out{index}" for index, value in enumerate(outputs)}
    lines = ["flowchart LR"]
    lines += [f'    {node}(["{_mermaid(value)}"])' for value, node in sources.items()]
    for stage in stages:
        budget = "" if stage.budget_ms is None else f"<br/>{stage.budget_ms:g} ms"
        opening, closing = ("[(", ")]") if stage.write_behind else ("[", "]")
        lines.append(f'    {nodes[stage.name]}{opening}"{_mermaid(stage.name)}{budget}"{closing}')
    lines += [f'    {node}(["{_mermaid(value)}"])' for value, node in sinks.items()]
    for giver, value, taker in edges:
        start = sources[value] if giver is None else nodes[giver]
        end = sinks[value] if taker is None else nodes[taker]
        arrow = "-.->" if taker in behind else "-->"
        label = "" if giver is None or taker is None else f'|"{_mermaid(value)}"|'
        lines.append(f"    {start} {arrow}{label} {end}")
    return "\n".join(lines)


def timeline(pipeline: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """A run as inline SVG: one bar per stage, a tick at its budget, the details as tooltips.

    Colours of text and lines are the page's own, so that it reads on light and dark grounds.

    Args:
        pipeline: The pipeline's name.
        rows: The run's events, as `Trace.rows` gives them.
    """
    total_ms = max((row["start_ms"] + row["took_ms"] for row in rows), default=0.0)
    scale = _BAR_PX / total_ms if total_ms > 0 else 0.0
    height = _ROW_PX * (len(rows) + 1) + 8
    width = _LABEL_PX + _BAR_PX + _NOTE_PX
    title = escape(f"{pipeline}: {len(rows)} stages, {total_ms:.3f} ms")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" font-family="sans-serif" font-size="12" fill="currentColor">',
        f"<title>{title}</title>",
        f'<text x="4" y="15" font-weight="bold">{title}</text>',
    ]
    for index, row in enumerate(rows, start=1):
        top = index * _ROW_PX
        left = _LABEL_PX + row["start_ms"] * scale
        bar = max(row["took_ms"] * scale, 1.5)
        note = f"{row['took_ms']:.3f} ms" + (f" ×{row['attempts']}" if row["attempts"] > 1 else "")
        note += " OVER" if row["over_budget"] else ""
        about = f"{row['stage']}: {row['outcome']}, {note}, thread {row['thread']}"
        about += "" if row["budget_ms"] is None else f", budget {row['budget_ms']:g} ms"
        about += "" if row["error"] is None else f", {row['error']}"
        parts.append(f"<g><title>{_xml(about)}</title>")
        parts.append(f'<text x="4" y="{top + 15}">{_xml(_cut(row["stage"]))}</text>')
        parts.append(
            f'<rect x="{left:.1f}" y="{top + 4}" width="{bar:.1f}" height="{_ROW_PX - 8}" rx="2" '
            f'fill="{_COLOURS[row["outcome"]]}"/>'
        )
        if row["budget_ms"] is not None and row["start_ms"] + row["budget_ms"] <= total_ms:
            tick = left + row["budget_ms"] * scale
            parts.append(
                f'<line x1="{tick:.1f}" x2="{tick:.1f}" y1="{top + 1}" y2="{top + _ROW_PX - 1}" '
                f'stroke="currentColor" stroke-dasharray="2 2"/>'
            )
        parts.append(f'<text x="{_LABEL_PX + _BAR_PX + 8}" y="{top + 15}">{_xml(note)}</text></g>')
    parts.append("</svg>")
    return "".join(parts)


def _cut(name: str) -> str:
    return name if len(name) <= 28 else name[:27] + "…"


def _xml(text: str) -> str:
    """Escaped, and without what XML cannot hold at all."""
    return escape("".join(character if character.isprintable() else " " for character in text))


def _mermaid(text: str) -> str:
    return "".join(
        character if character.isalnum() or character in _PLAIN else f"#{ord(character)};" for character in text
    )
