"""What a result was made from: the code that a job runs, and the files and settings it reads."""

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parent
PACKAGE = SOURCE.name
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code_version(script: str | Path) -> str:
    """A hash of a script and of all modules of this package that it imports, however indirectly.

    Only what runs counts: comments, docstrings and layout leave the hash as it is.
    """
    modules, new = set[Path](), {Path(script)}
    while new:
        modules |= new
        new = {path for module in new for path in _read(module).imported} - modules
    versions = sorted(f"{path.name} {_read(path).version}" for path in modules)
    return hashlib.sha256("\n".join(versions).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Module:
    """A hash of what runs of a file, and the package's own modules that it names in imports."""

    version: str
    imported: frozenset[Path]


@cache
def _read(path: Path) -> _Module:
    tree = ast.parse(path.read_text())
    names = set()
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    imported = frozenset(
        file
        for name in names
        if name.split(".")[0] == PACKAGE
        for file in _module_files(name.split(".")[1:])
    )
    return _Module(hashlib.sha256(ast.dump(tree).encode()).hexdigest(), imported)


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """The module and all its statements, nested ones too; most of a tree are expressions."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += [
            child
            for child in ast.iter_child_nodes(node)
            if isinstance(child, ast.stmt | ast.excepthandler | ast.match_case)
        ]


def _module_files(parts: list[str]) -> Iterable[Path]:
    base = SOURCE.joinpath(*parts)
    candidates = (base.with_suffix(".py"), base / "__init__.py")
    return [file for file in candidates if parts and file.is_file()]


def fingerprint(settings: Mapping[str, Any], paths: Iterable[str | Path]) -> str:
    """A hash of settings and of what is in the files, wherever and whenever they were written.

    A folder counts by the files at its top: zarr.json carries the digest of all frames of a store,
    SHA256SUMS those of a release.
    """
    content = {"settings": settings, "files": [_contents(Path(path)) for path in paths]}
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def training_fingerprint(settings: dict[str, Any], inputs: Iterable[str | Path]) -> str:
    """The fingerprint of a training whatever its number of epochs: those it may go on to."""
    without_epochs = settings | {"training": settings["training"] | {"epochs": None}}
    return fingerprint(without_epochs, inputs)


def _contents(path: Path) -> list[str]:
    """The name and the hash of a file, or of every file at the top of a folder."""
    files = sorted(path.glob("[!.]*")) if path.is_dir() else [path]
    # A release's card is a person's to edit; its checksums stand for the rest.
    files = [file for file in files if file.name == "SHA256SUMS"] or files
    return [
        f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}"
        for file in files
        if file.is_file()
    ]
