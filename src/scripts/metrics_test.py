"""Join the metrics of all parts of the test frames, and summarise them."""

from pose_splatter.evaluation import gather_tables, summarise, write_table
from pose_splatter.progress import job

with job(snakemake.log[0]):
    frames = gather_tables(snakemake.input)
    write_table(snakemake.output.frames, frames)
    write_table(snakemake.output.cameras, summarise(frames))
