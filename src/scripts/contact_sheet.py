"""Draw the page that shows whether a recording is usable."""

from pose_splatter.cameras import load_cameras, load_upright_rig
from pose_splatter.contact_sheet import plot_contact_sheet, read_pictures, sample_frames
from pose_splatter.frames import FrameStore
from pose_splatter.plots import save_figure
from pose_splatter.progress import job
from pose_splatter.tracking import load_track
from pose_splatter.video import load_description
from pose_splatter.volume import load_crop

with job(snakemake.log[0]):
    inputs = snakemake.input
    store, animal = FrameStore.open(inputs.images), load_track(inputs.center_rotation)
    frames = sample_frames(animal)
    figure = plot_contact_sheet(
        read_pictures(
            inputs.videos,
            load_cameras(inputs.cameras),
            store.source_frames[frames].tolist(),
            load_description(inputs.description).offsets,
            store.downsample,
        ),
        frames,
        store,
        load_upright_rig(inputs.cameras, inputs.vertical_lines, store.downsample),
        animal,
        load_crop(inputs.crop).grid,
        snakemake.params.recording["heldout_cameras"],
        title=f"{snakemake.wildcards.recording}, preset {snakemake.wildcards.preset}",
    )
    save_figure(snakemake.output[0], figure, **snakemake.params.plots)
