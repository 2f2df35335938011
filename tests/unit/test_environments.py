"""The conda environments pin what requirements.lock pins."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


def pins(lines: list[str]) -> dict[str, str]:
    return dict(line.split("==") for line in lines if re.match(r"[a-z0-9-]+==", line))


@pytest.mark.parametrize(("name", "without"), [("cpu", {"gsplat"}), ("gpu", set())])
def test_environment_agrees_with_the_lock(name, without):
    locked = pins((ROOT / "requirements.lock").read_text().splitlines())
    environment = yaml.safe_load((ROOT / f"envs/{name}.yaml").read_text())
    installed = pins(environment["dependencies"][-1]["pip"])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.match(r"[a-z0-9-]+", line).group() for line in project["dependencies"]}
    assert set(installed) == needed - without
    assert installed.items() <= locked.items()
