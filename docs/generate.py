"""Writes the pages that are made from code and measurements: `python docs/generate.py`; with `--check` it only looks.

docs/wire.md            from daemon/protocol.py and daemon/errors.py
docs/configuration.md   from the configuration's structs and the comments in configs/camera.toml
docs/figures.md         from benchmarks/results/*.json
README.md               its table of ten figures, from the same JSON
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from configuration_page import configuration_page
from figures_page import figures_page, with_headlines
from wire_page import wire_page

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Writes all pages; with `--check`, names those that are stale and exits with 1."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true", help="write nothing; say which pages are stale")
    check = parser.parse_args().check
    stale = {path: text for path, text in pages() if not path.exists() or path.read_text() != text}
    for path, text in stale.items():
        if not check:
            path.write_text(text)
        print(f"{path.relative_to(ROOT)} {'is stale; run python docs/generate.py' if check else 'is written'}")
    sys.exit(bool(stale) and check)


def pages() -> Iterator[tuple[Path, str]]:
    """Every page that is made here, as it should be."""
    yield ROOT / "docs/wire.md", wire_page()
    yield ROOT / "docs/configuration.md", configuration_page()
    yield ROOT / "docs/figures.md", figures_page()
    yield ROOT / "README.md", with_headlines((ROOT / "README.md").read_text())


if __name__ == "__main__":
    main()
