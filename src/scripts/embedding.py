"""Embed all frames of a recording, and measure what the embedding still tells of the heading."""

import numpy as np

from pose_splatter.embedding.store import read_features, write_embedding
from pose_splatter.embedding.transforms import fitted_frames, load_transforms, measure_heading
from pose_splatter.evaluation import write_table
from pose_splatter.progress import job
from pose_splatter.tracking import load_track
from pose_splatter.video import load_description

with job(snakemake.log[0]):
    inputs, params, output = snakemake.input, snakemake.params, snakemake.output
    features, transforms = read_features(inputs.features), load_transforms(inputs.transforms)
    animal = load_track(inputs.center_rotation[0])
    videos = load_description(inputs.videos[0])
    write_embedding(output.npy, output.csv, transforms(features), np.array(videos.source_frames))
    fitted = fitted_frames(animal, params.split) if params.trained else np.array([], int)
    write_table(output.heading, measure_heading(transforms, features, animal, fitted))
