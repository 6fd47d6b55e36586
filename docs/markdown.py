"""Pieces of Markdown."""

from __future__ import annotations

MADE_BY = "<!-- made by docs/generate.py; do not edit -->"


def table(*headings: str, rows: list[list[str]]) -> list[str]:
    """The lines of a table; an empty cell is a dash."""
    lines = [list(headings), ["---"] * len(headings), *rows]
    return [f"| {' | '.join(cell or '–' for cell in cells)} |" for cells in lines]
