"""What a result was made from: the code that a job runs, and the files and settings it reads."""

import ast
import hashlib
import json
from collections.abc import Iterable, Mapping
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
    modules = {Path(script), *_imported(Path(script))}
    while new := {path for known in modules for path in _imported(known)} - modules:
        modules |= new
    versions = sorted(f"{path.name} {_version(path)}" for path in modules)
    return hashlib.sha256("\n".join(versions).encode()).hexdigest()[:16]


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def _version(path: Path) -> str:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


@cache
def _imported(path: Path) -> frozenset[Path]:
    """The package's own modules that a file names in import statements."""
    names = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(
        file
        for name in names
        if name.split(".")[0] == PACKAGE
        for file in _module_files(name.split(".")[1:])
    )


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
