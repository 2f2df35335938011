"""Choose the part of the grid that the animal needs."""

from pose_splatter.progress import job
from pose_splatter.volume import HullSum, load_hull_sum, make_crop, save_crop, save_volume_sum

with job(snakemake.log[0]):
    total = HullSum.add(map(load_hull_sum, snakemake.input))
    settings = snakemake.params.settings
    crop = make_crop(total, settings["crop_coverage"], settings["fill_color"])
    save_volume_sum(snakemake.output.volume_sum, total)
    save_crop(snakemake.output.crop, crop)
