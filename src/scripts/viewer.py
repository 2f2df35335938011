"""Make a web page of the exported frames."""

from pose_splatter.progress import job
from pose_splatter.viewer import write_viewer

with job(snakemake.log[0]):
    title = f"{snakemake.wildcards.experiment} on {snakemake.wildcards.recording}"
    write_viewer(snakemake.output[0], snakemake.input[0], title)
