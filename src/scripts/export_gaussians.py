"""Export the Gaussians of some frames for other programs."""

from pose_splatter.checkpoints import load_checkpoint
from pose_splatter.dataset import load_recordings
from pose_splatter.export import choose_frames, write_export
from pose_splatter.frames import split_frames
from pose_splatter.progress import job
from pose_splatter.training import choose_device, use_threads
from pose_splatter.video import load_description

with job(snakemake.log[0]):
    inputs = snakemake.input
    (recording,) = load_recordings(snakemake.params.heldout, inputs)
    frames = choose_frames(
        **snakemake.params.settings,
        source_frames=recording.store.source_frames,
        test=split_frames(len(recording.store), snakemake.params.split).test,
    )
    device = choose_device(snakemake.params.device)
    use_threads(snakemake.threads)
    write_export(
        snakemake.output[0],
        load_checkpoint(inputs.checkpoint).model(device),
        recording,
        frames,
        load_description(inputs.videos[0]).fps,
        device,
    )
