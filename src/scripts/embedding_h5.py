"""Write a recording's embedding, its place on the map and its movements for other programs."""

import numpy as np

from pose_splatter.embedding.store import read_map, write_embedding_h5
from pose_splatter.progress import job
from pose_splatter.video import load_description

with job(snakemake.log[0]):
    recording, table = snakemake.wildcards.recording, read_map(snakemake.input.table)
    write_embedding_h5(
        snakemake.output[0],
        np.load(snakemake.input.embedding, allow_pickle=False),
        table[table["recording"] == recording],
        np.array(load_description(snakemake.input.videos[0]).source_frames),
        recording,
    )
