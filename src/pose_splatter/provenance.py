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


def fingerprint(settings: Mapping[str, Any], files: Iterable[str | Path]) -> str:
    """A hash of settings and of which versions of the files are there (size and time)."""
    content = {
        "settings": settings,
        "files": [[str(f), Path(f).stat().st_size, Path(f).stat().st_mtime_ns] for f in files],
    }
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
