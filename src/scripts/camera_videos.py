"""Film the whole test part in every camera, truth beside prediction."""

from pose_splatter.frames import FrameStore
from pose_splatter.movies import frame_rate, write_camera_videos
from pose_splatter.progress import job
from pose_splatter.video import load_description

with job(snakemake.log[0]):
    (heldout,) = snakemake.params.heldout.values()
    write_camera_videos(
        snakemake.output[0],
        FrameStore.open(snakemake.input.images[0]),
        snakemake.input.renders,
        heldout,
        frame_rate(load_description(snakemake.input.videos[0])),
    )
