"""Join what was measured of the plain visual hull in all parts, and summarise it."""

from pose_splatter.evaluation import gather_tables, summarise, write_table
from pose_splatter.progress import job

with job(snakemake.log[0]):
    write_table(snakemake.output[0], summarise(gather_tables(snakemake.input)))
