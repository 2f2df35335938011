"""What profiles say of rules is what the rules say, and what they share with the default."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEFAULT, GPU, SLURM, KUBERNETES = (
    yaml.safe_load((ROOT / f"profiles/{name}/config.yaml").read_text())
    for name in ("default", "gpu", "slurm", "kubernetes")
)
RULES = {
    name: text
    for path in (ROOT / "rules").glob("*.smk")
    for name, text in re.findall(r"^rule (\w+):\n((?: .*\n|\n)+)", path.read_text(), re.MULTILINE)
}


def test_rules_that_use_a_device_ask_for_a_gpu_and_no_others():
    assert len(RULES) > 30
    marks = ('device=config["device"]', "\n        gpu=", "envs/gpu.yaml", "runtime=growing(")
    assert {line for text in RULES.values() for line in re.findall(r"\n +gpu=(.*),", text)} == {
        *("GPUS", "gpus_of_training")
    }
    asking = {name for name, text in RULES.items() if any(mark in text for mark in marks)}
    assert asking == {name for name, text in RULES.items() if all(mark in text for mark in marks)}
    assert asking == set(SLURM["set-resources"])


@pytest.mark.parametrize("profile", [SLURM, KUBERNETES], ids=["slurm", "kubernetes"])
@pytest.mark.parametrize("key", sorted(DEFAULT.keys() - {"cores", "resources"}))
def test_what_is_no_matter_of_the_machine_is_as_in_the_default_profile(key, profile):
    assert profile[key] == DEFAULT[key]


def test_the_gpu_profile_is_the_default_one_with_more_gpus():
    same = DEFAULT.keys() - {"resources"}
    assert {key: GPU[key] for key in same} == {key: DEFAULT[key] for key in same}
    assert GPU.keys() - same == {"resources", "config"}
    assert DEFAULT["resources"] == {"gpu": 1}
    assert GPU["resources"].keys() == {"gpu"}
    assert GPU["config"] == {"device": "cuda"}


def test_what_kubernetes_needs():
    """GPUs are given out by limits alone; jobs without a number get what they get on Slurm."""
    ours = KUBERNETES["default-resources"]
    assert ours.keys() == {"gpu_manufacturer", "mem_mb", "scale", "disk_mb", "here"}
    assert (ours["gpu_manufacturer"], ours["scale"]) == ("nvidia", 0)
    assert ours["mem_mb"] == SLURM["default-resources"]["mem_mb"]
    assert KUBERNETES["executor"] == "kubernetes"
    assert KUBERNETES["retries"] >= 1


@pytest.mark.parametrize("profile", [SLURM, KUBERNETES], ids=["slurm", "kubernetes"])
def test_few_jobs_run_where_snakemake_does(profile):
    """`cores` does not say how many: with nodes, Snakemake counts none."""
    assert profile["default-resources"]["here"] == 1
    assert profile["set-resource-scopes"] == {"here": "local"}
    assert profile["resources"]["here"] in (1, 4)


def test_what_is_asked_for_is_what_rules_make():
    """But for embeddings and releases, which are asked for by name."""
    text = (ROOT / "rules/common.smk").read_text()
    lists: dict[str, list[str]] = {}
    exec(re.search(r"^OF_EXPERIMENT(?:.*\n)+?(?=\n\ndef )", text, re.MULTILINE)[0], lists)
    outputs = "".join(
        block
        for rule in RULES.values()
        for block in re.findall(r"    output:\n((?:  +.*\n)+?)    \w", rule)
    )
    for folder, asked in (("EXPERIMENT", "OF_EXPERIMENT"), ("APPLIED", "OF_APPLIED")):
        made = re.findall(rf'f"{{{folder}}}/([^"]+)"', outputs)
        wanted = {m for m in made if not m.startswith(("parts/", "embedding/", "release"))}
        assert wanted == set(lists[asked])


def test_resources_that_rules_name_grow_with_every_attempt():
    for name, text in RULES.items():
        for resource, value in re.findall(r"(mem_mb|runtime)=(.*),\n", text):
            assert value.startswith("growing("), f"{name}: {resource}"
    for resource in ("mem_mb", "runtime"):
        assert SLURM["default-resources"][resource].endswith(" * min(attempt, 2)")


def test_what_a_slurm_without_accounting_needs():
    """And that a job which was too small is tried again."""
    assert SLURM["executor"] == "slurm"
    assert SLURM["slurm-status-command"] == "squeue"
    assert SLURM["retries"] >= 1


def test_no_path_of_a_machine_is_in_the_workflow():
    roots = re.compile(r"(?<![\w}.])/(home|root|tmp|usr|opt|mnt|data|scratch|work)\b")
    for path in (ROOT / "Snakefile", *(ROOT / "rules").rglob("*.smk"), *ROOT.glob("profiles/*/*")):
        assert not roots.search(path.read_text()), path
