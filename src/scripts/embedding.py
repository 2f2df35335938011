"""Embed all frames of a recording, and measure what the embedding still tells of the heading."""

import numpy as np

from pose_splatter.embedding.store import read_blocks, write_embedding
from pose_splatter.embedding.transforms import load_transforms, may_be_fitted, measure_heading
from pose_splatter.evaluation import write_table
from pose_splatter.progress import job
from pose_splatter.tracking import load_track
from pose_splatter.video import load_description

with job(snakemake.log[0]):
    inputs, params, output = snakemake.input, snakemake.params, snakemake.output
    transforms, animal = load_transforms(inputs.transforms), load_track(inputs.center_rotation[0])
    videos = load_description(inputs.videos[0])
    embedded = [
        (transforms.plain(block), transforms(block)) for block in read_blocks(inputs.features)
    ]
    plain, embedding = map(np.concatenate, zip(*embedded, strict=True))
    write_embedding(output.npy, output.csv, embedding, np.array(videos.source_frames))
    fitted = may_be_fitted(animal, params.split) if params.trained else np.array([], int)
    table = measure_heading({"plain": plain, "adversarial": embedding}, animal, fitted)
    write_table(output.heading, table)
