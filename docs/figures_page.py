"""The page docs/figures.md, and the README's ten figures, from the JSON of benchmarks/results."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

from markdown import MADE_BY, table

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
BEGIN, END = "<!-- figures: made by docs/generate.py -->", "<!-- end of figures -->"
_FIRST = ("demo", "embedded", "recall", "text-log", "index", "answer", "confidence", "ingest", "storage", "codecs")


def figures_page() -> str:
    """A table for each measurement."""
    lines = [
        "# Figures",
        MADE_BY,
        "",
        "Every measured figure with the command that makes it again, from the JSON in",
        "[benchmarks/results](../benchmarks/results). `commit` is where a figure entered the project. Such machines",
        "are noisy, so mind the ratios more than the milliseconds. If a target was missed, the lines below say why.",
        "`oracle` is a retriever that is handed the true blocks; `rekv` is ReKV's ranking, on the same memory.",
    ]
    for found in _measurements():
        where = f"`{found['command']}`, on {found['machine']}. {found.get('about', '')} {found.get('note', '')}"
        lines += ["", f"## {found['title']}", "", *textwrap.wrap(where, 118), ""]
        columns = ("claim", "ours", "baseline", "target", "commit")
        lines += table(*columns, rows=[[figure[each] for each in columns] for figure in found["figures"]])
        if "shortfall" in found:
            lines += ["", *textwrap.wrap(f"Short: {found['shortfall']}", 118)]
    return "\n".join([*lines, ""])


def with_headlines(readme: str) -> str:
    """The README with its table of figures as it should be."""
    figures = [figure for each in _measurements() for figure in each["figures"] if "headline" in figure]
    figures = sorted((figure | figure["headline"] for figure in figures), key=lambda each: each["rank"])
    columns = ("claim", "ours", "baseline", "target")
    rows = table(*columns, rows=[[figure[each] for each in columns] for figure in figures])
    before, _, rest = readme.partition(BEGIN)
    return "\n".join([f"{before}{BEGIN}", *rows, END]) + rest.partition(END)[2]


def _measurements() -> list[dict[str, Any]]:
    """All of benchmarks/results, what matters most to a reader first."""

    def place(path: Path) -> tuple[int, str]:
        return next((i for i, name in enumerate(_FIRST) if path.stem.startswith(name)), len(_FIRST)), path.stem

    return [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"), key=place)]
