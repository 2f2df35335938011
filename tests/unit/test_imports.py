"""A job that does not need torch does not import it: that alone takes longer than most of them."""

import ast
import subprocess
import sys
from pathlib import Path

SCRIPTS = sorted((Path(__file__).parents[2] / "src/scripts").glob("*.py"))
NEED_TORCH = {
    *("train", "render_part", "release", "export_gaussians"),
    *("chosen_frames", "novel_views", "volumes", "features_part"),
}


def imports(script: Path) -> list[str]:
    """The script's import statements."""
    body = ast.parse(script.read_text()).body
    return [ast.unparse(node) for node in body if isinstance(node, ast.Import | ast.ImportFrom)]


def test_torch_is_imported_only_where_it_is_needed():
    program = ["import sys"]
    for script in SCRIPTS:
        if script.stem not in NEED_TORCH:
            program += [*imports(script), f"assert 'torch' not in sys.modules, '{script.stem}'"]
    assert len(program) > 30
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(program)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_jobs_start_without_what_few_of_them_use():
    """SSIM's libraries take as long to import as PyTorch: for trainings and tables that have it."""
    program = ["import sys"]
    for script in SCRIPTS:
        if script.stem in ("train", "render_part", "metrics_part"):
            program += imports(script)
    program += [
        "heavy = {'torchmetrics', 'matplotlib.pyplot', 'scipy.stats', 'scipy.signal'}",
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(program)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
