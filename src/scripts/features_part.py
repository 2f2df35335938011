"""Look at one part of a recording from a sphere of cameras, by an experiment's model."""

from pose_splatter.devices import own_gpus
from pose_splatter.embedding.encoders import make_encoder
from pose_splatter.embedding.features import FeatureExtractor, write_recording_features
from pose_splatter.embedding.sphere import ViewSphere
from pose_splatter.frames import chunk_of
from pose_splatter.progress import job
from pose_splatter.provenance import fingerprint
from pose_splatter.rendering import apply_model

with job(snakemake.log[0]), own_gpus(snakemake.resources.gpu, snakemake.log[0]):
    inputs, settings = snakemake.input, snakemake.params.settings
    model, recording, device = apply_model(
        inputs.checkpoint,
        snakemake.params.heldout,
        inputs,
        snakemake.params.device,
        snakemake.threads,
    )
    extractor = FeatureExtractor(
        model=model,
        encoder=make_encoder(settings["encoder"], device, inputs.get("weights") or None),
        sphere=ViewSphere.of_degree(azimuths=settings["azimuths"]),
        view_size=settings["view_size"],
        device=device,
    )
    frames = chunk_of(range(len(recording.store)), snakemake.wildcards.scatteritem)
    made_from = fingerprint(dict(snakemake.params.items()), snakemake.input)
    write_recording_features(snakemake.output[0], extractor, recording, frames, made_from)
