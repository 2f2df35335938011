"""Draw the map of all frames of an experiment's recordings."""

import numpy as np

from pose_splatter.embedding.body import movements
from pose_splatter.embedding.maps import map_table, plot_map
from pose_splatter.evaluation import write_table
from pose_splatter.plots import save_figure
from pose_splatter.progress import job
from pose_splatter.tracking import load_track
from pose_splatter.video import load_description

with job(snakemake.log[0]):
    inputs, params = snakemake.input, snakemake.params
    moved = [
        movements(load_track(track), load_description(videos))
        for track, videos in zip(inputs.center_rotation, inputs.videos, strict=True)
    ]
    embeddings = [np.load(path, allow_pickle=False) for path in inputs.embeddings]
    table = map_table(params.recordings, embeddings, moved, **params.settings)
    write_table(snakemake.output.csv, table)
    save_figure(snakemake.output.figure, plot_map(table), **params.plots)
