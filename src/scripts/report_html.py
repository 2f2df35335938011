"""Let Snakemake write its own report of the results as they are."""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from pose_splatter.files import atomic_path
from pose_splatter.progress import job

with (
    job(snakemake.log[0]),
    Path(snakemake.log[0]).open("a") as log,
    atomic_path(snakemake.output[0]) as page,
    TemporaryDirectory() as folder,
):
    config = Path(folder, "config.json")
    config.write_text(json.dumps(snakemake.params.config))
    command = [
        *(sys.executable, "-m", "snakemake", "--report", str(page)),
        *("--snakefile", str(Path(snakemake.scriptdir, "../../Snakefile"))),
        # This run's whole configuration, whatever options it came from.
        *("--configfile", str(config), "--replace-workflow-config"),
        # This run holds the lock; what is reported on is its input, and so is finished.
        *("--nolock", "--workflow-profile", "none"),
        *snakemake.params.storage,
    ]
    subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=True)
