"""What the pages promise: they are short where they should be, not stale, and everything that they name is there."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from longwatch.clients.cli import app

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "SECURITY.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
CARD = ROOT / "daemon" / "model" / "embedded" / "MODEL_CARD.md"
FOLDERS = "benchmarks|clients|configs|daemon|demo|docs|memory|retrieval|tests|training|yard"
_PATH = re.compile(rf"(?<![\w./-])(?:{FOLDERS})/[\w./*-]*")
_LINK = re.compile(r"\]\(([^)#]+)")
_CODE = re.compile(r"```(?:sh|ini)\n(.*?)```|(?<!`)`([^`\n]+)`(?!`)", re.DOTALL)
_LONGWATCH = re.compile(r"(?<![\w./-])longwatch ((?:streams )?[a-z]+)([^`\n]*)")
names = pytest.mark.parametrize("page", [*PAGES, CARD], ids=lambda page: page.name)


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len(README.read_text().splitlines()) <= 130


@names
def test_no_cell_of_a_table_is_longer_than_a_line(page: Path) -> None:
    cells = [cell.strip() for line in page.read_text().splitlines() if line.startswith("|") for cell in line.split("|")]
    assert [cell for cell in cells if len(cell) > 90] == []


def test_no_page_that_is_made_from_code_or_measurements_is_stale() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


@names
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    named = {path.rstrip(".") for path in _PATH.findall(page.read_text()) if "NAME" not in path}
    linked = {target for target in _LINK.findall(page.read_text()) if "://" not in target}
    missing = [path for path in named if not (list(ROOT.glob(path)) if "*" in path else (ROOT / path).exists())]
    assert missing + [target for target in linked if not (page.parent / target).exists()] == []


def test_the_life_of_a_frame_and_of_a_question_each_pass_at_most_fifteen_files() -> None:
    _, frame, question = re.split(
        r"^## The life of .*$", (ROOT / "docs" / "architecture.md").read_text(), flags=re.MULTILINE
    )
    for life in (frame, question.partition("\n## ")[0]):
        assert 10 <= len(set(re.findall(r"`([\w/]+\.py)`", life))) <= 15


def said(page: Path) -> Iterator[tuple[str, str]]:
    """The commands that a page names, each with what stands behind it in the code, without a comment."""
    for name, rest in _LONGWATCH.findall(code_of(page)):
        yield name, rest.partition(" #")[0]


def code_of(page: Path) -> str:
    """What a page sets as code, in blocks and within sentences."""
    return "\n".join(block or word for block, word in _CODE.findall(page.read_text()))


@names
def test_every_command_that_a_page_names_is_there_with_its_options(page: Path) -> None:
    for name, rest in said(page):
        help_text = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
        assert help_text.exit_code == 0, f"longwatch {name}: {help_text.output}"
        options = {option for option in re.findall(r"(?<![\w-])--[a-z-]+", rest)}
        assert [option for option in sorted(options) if f"{option} " not in help_text.output] == [], name


@names
def test_every_make_target_and_every_option_of_a_benchmark_is_there(page: Path) -> None:
    code = code_of(page)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {
        target for named in re.findall(r"(?<![\w.])make ((?:[a-z-]+ ?)+)", code) for target in named.split()
    } <= targets
    for program, options in re.findall(r"python (?:-m )?((?:benchmarks/|training\.)[\w./]+)([^`\n]*)", code):
        path = ROOT / program if program.endswith(".py") else ROOT / f"{program.replace('.', '/')}.py"
        for option in re.findall(r"--[a-z-]+", options):
            assert f'"{option}"' in path.read_text(), f"{program} has no {option}"


def test_both_configuration_files_explain_a_key_in_the_same_words() -> None:
    demo, camera = (comments(ROOT / "configs" / name) for name in ("demo.toml", "camera.toml"))
    differ = {key for key in demo if demo[key] != camera[key]}
    assert differ == {"name", "url", "fps"}


def comments(file: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    key = ""
    for line in file.read_text().splitlines():
        key = (re.match(r"\w+(?= =)", line) or [key])[0]
        if " # " in line:
            found.setdefault(key, []).append(line.split(" # ", 1)[1])
        elif key:
            found.setdefault(key, [])
    return found


def test_the_messages_that_troubleshooting_explains_are_those_of_the_code() -> None:
    explained = re.findall(r"^\*\*`(.+)`\*\*$", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    spoken = "\n".join(text for folder in ("clients", "daemon", "memory", "retrieval") for text in sentences(folder))
    assert len(explained) >= 20
    assert [message for message in explained if message.strip("… ") not in spoken] == []


def sentences(folder: str) -> Iterator[str]:
    """All text in the sources of a folder, with `…` for what a sentence is filled with."""
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
