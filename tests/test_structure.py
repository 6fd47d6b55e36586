"""What the house promises about itself: packages, imports, configuration files, and a client without torch."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

import msgspec
import pytest

from longwatch.daemon.capture.settings import SourceConfig
from longwatch.daemon.config import DaemonConfig, load_config
from longwatch.daemon.model.settings import ModelConfig
from longwatch.daemon.settings import ServerConfig
from longwatch.memory.settings import MemoryConfig
from longwatch.retrieval.settings import RetrievalConfig

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {  # beside itself
    "yard": set[str](),
    "memory": set[str](),
    "retrieval": {"memory"},
    "daemon": {"memory", "retrieval", "yard"},
    "clients": {"daemon"},
    "demo": {"clients", "daemon", "yard"},
}


def sources() -> list[Path]:
    return [path for folder in MAY_IMPORT for path in sorted((ROOT / folder).rglob("*.py"))]


def imports(path: Path) -> set[str]:
    """The modules of longwatch that a file imports, as `folder.module`."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*package[: len(package) - node.level + 1], *(node.module.split(".") if node.module else [])]
            is_package = (ROOT / Path(*base)).is_dir()
            found |= {".".join([*base, alias.name] if is_package else base) for alias in node.names}
    return found


def test_every_folder_with_code_is_a_package_that_is_installed() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    there = {"longwatch"} | {".".join(["longwatch", *path.parent.relative_to(ROOT).parts]) for path in sources()}
    assert listed == there


def test_imports_go_down_only() -> None:
    for path in sources():
        folder = path.relative_to(ROOT).parts[0]
        for module in imports(path):
            allowed = module.split(".")[0] in {folder, *MAY_IMPORT[folder]}
            assert allowed or module == "__version__", f"{path} imports {module}"


def test_no_file_and_no_folder_imports_in_a_circle() -> None:
    """A folder inside another counts as a whole; the files that stand beside it count each for itself."""
    by_file: dict[str, set[str]] = {}
    by_folder: dict[str, set[str]] = defaultdict(set)
    for path in sources():
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        by_file[name] = imports(path)
        by_folder[_room(name)] |= {_room(module) for module in by_file[name]} - {_room(name)}
    for graph in (by_file, by_folder):
        TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def _room(module: str) -> str:
    """`daemon.stream` of `daemon.stream.inbox`, and `daemon.engine` of itself."""
    return ".".join(module.split(".")[:2])


def test_only_the_model_folder_and_training_know_transformers() -> None:
    for path in sources():
        if "transformers" in path.read_text() and path.parent.name != "model":
            assert "import transformers" not in path.read_text(), path
            assert "from transformers" not in path.read_text(), path


def test_clients_load_no_torch() -> None:
    modules = [f"longwatch.clients.{path.stem}" for path in (ROOT / "clients").glob("[!_]*.py")]
    code = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    assert len(modules) > 1
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_source_file_says_what_it_is() -> None:
    for path in sources():
        assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no docstring"


@pytest.mark.parametrize("name", ["demo.toml", "camera.toml"])
def test_the_configuration_files_say_every_key_and_no_other(name: str) -> None:
    path = ROOT / "configs" / name
    load_config(path)
    content = tomllib.loads(path.read_text())
    tables: list[tuple[dict[str, object], type[msgspec.Struct]]] = [
        (content["model"], ModelConfig),
        (content["memory"], MemoryConfig),
        (content["retrieval"], RetrievalConfig),
        (content["server"], ServerConfig),
        *((stream, SourceConfig) for stream in content["streams"].values()),
    ]
    for table, struct in tables:
        assert set(table) == set(struct.__struct_fields__)
    assert set(content) == set(DaemonConfig.__struct_fields__)
    uncommented = [
        line
        for line in path.read_text().splitlines()
        if "=" in line.split("#")[0] and "#" not in line and "url" not in line
    ]
    assert uncommented == []


def test_the_demo_files_values_are_the_defaults() -> None:
    config = load_config(ROOT / "configs" / "demo.toml")
    assert (config.model, config.memory, config.retrieval) == (ModelConfig(), MemoryConfig(), RetrievalConfig())
    assert config.server == ServerConfig()
