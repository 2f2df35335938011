"""Look at one part of a recording from a sphere of cameras, by an experiment's model."""

from pose_splatter.checkpoints import load_checkpoint
from pose_splatter.dataset import load_recordings
from pose_splatter.embedding.encoders import make_encoder
from pose_splatter.embedding.features import FeatureExtractor, write_recording_features
from pose_splatter.embedding.sphere import ViewSphere
from pose_splatter.frames import chunk_of
from pose_splatter.progress import job
from pose_splatter.training import choose_device, use_threads

with job(snakemake.log[0]):
    inputs, settings = snakemake.input, snakemake.params.settings
    (recording,) = load_recordings(snakemake.params.heldout, inputs)
    device = choose_device(snakemake.params.device)
    use_threads(snakemake.threads)
    extractor = FeatureExtractor(
        model=load_checkpoint(inputs.checkpoint).model(device),
        encoder=make_encoder(settings["encoder"], device, inputs.get("weights") or None),
        sphere=ViewSphere.of_degree(azimuths=settings["azimuths"]),
        view_size=settings["view_size"],
        device=device,
    )
    frames = chunk_of(range(len(recording.store)), snakemake.wildcards.scatteritem)
    write_recording_features(snakemake.output[0], extractor, recording, frames)
