"""Write one camera's masks, given in another format or made in parts, as a lossless video."""

from pose_splatter.masks import read_masks, write_mask_video
from pose_splatter.progress import job
from pose_splatter.segmentation.recording import read_parts
from pose_splatter.video import probe, save_indexes

with job(snakemake.log[0]):
    settings, camera = snakemake.params.settings, snakemake.wildcards.camera
    video = probe(snakemake.input.video)
    if settings["masks"] == "auto":
        masks = read_parts(snakemake.input.masks, settings["cameras"].index(camera), video)
    else:
        masks = read_masks(settings["masks"], camera, settings["cameras"], video)
    write_mask_video(snakemake.output.masks, masks, video)
    save_indexes(snakemake.output.index, [snakemake.output.masks])
