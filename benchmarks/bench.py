"""Measure everything against the plain way of doing it, and print one table.

    python benchmarks/bench.py [names...] [--out benchmarks/results.json]

Each benchmark runs in a process of its own, one after the other, so that neither memory nor imports
of one reach the next. One that fails is reported, loses its old rows and lets the others go on.
The results of benchmarks that are not named stay in the file as they are.
"""

import argparse
import importlib
import json
import os
import platform
import re
import sys
import traceback
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rows import Row, table

from pose_splatter.files import save_json
from pose_splatter.provenance import code_version

HERE = Path(__file__).parent
# Modules beside this one, each with a function measure() -> list[Row], in the table's order.
BENCHMARKS = (
    "preprocessing",
    "carving",
    "colors",
    "rasterize",
    "training",
    "inference",
    "memory",
)
LIBRARIES = ("torch", "numpy", "numba")


def measure(name: str) -> list[Row]:
    """The rows of one benchmark, measured in this process."""
    return importlib.import_module(name).measure()


def measure_apart(name: str) -> list[Row]:
    """The rows of one benchmark, measured in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, name).result()


def facts(name: str) -> dict[str, Any]:
    """What a benchmark's numbers depend on: the machine, the libraries and our own code."""
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        **{library: version(library) for library in LIBRARIES},
        "code": code_version(HERE / f"{name}.py"),
    }


def cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else None
    return found[1] if found else platform.processor()


def load_results(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"there is no benchmark {', '.join(unknown)}; known: {', '.join(BENCHMARKS)}")
    # Before torch is loaded: its idle threads would otherwise spin beside everything else.
    os.environ["OMP_WAIT_POLICY"] = "passive"
    results, rows, failed = load_results(options.out), [], []
    for name in [name for name in BENCHMARKS if name in (options.names or BENCHMARKS)]:
        print(f"--- {name}", flush=True)
        results.pop(name, None)
        try:
            measured = measure_apart(name)
        except (Exception, SystemExit):
            traceback.print_exc()
            failed.append(name)
        else:
            rows += measured
            results[name] = {**facts(name), "rows": [row.as_json() for row in measured]}
            print(table(measured), flush=True)
        save_json(options.out, {name: results[name] for name in BENCHMARKS if name in results})
    if rows:
        print(f"--- all\n{table(rows)}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
