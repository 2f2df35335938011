"""The contact sheet of the frames that were looked at."""

from collections.abc import Sequence

import numpy as np
import zarr
from matplotlib.figure import Figure

from pose_splatter.carving import VoxelGrid
from pose_splatter.checkup.geometry import GRID
from pose_splatter.checkup.sample import Sample
from pose_splatter.consistency import hull_views
from pose_splatter.contact_sheet import FRAMES, plot_contact_sheet
from pose_splatter.frames import FrameStore
from pose_splatter.tracking import HullMoments, Track, follow
from pose_splatter.video import spread


def draw_sheet(sample: Sample, animal: Track, heldout: Sequence[str], title: str) -> Figure:
    """A few of the sampled frames with mask, hull, centre and heading in every camera."""
    store = _as_store(sample)
    order = np.flatnonzero(animal.visible)
    order = order if len(order) else np.flatnonzero(sample.seen.any(axis=1))
    order = order if len(order) else np.arange(len(sample.frames))
    chosen = spread(order.tolist(), FRAMES)
    observed = sample.observed(heldout)
    hulls = np.stack([hull_views(sample.masks[n], sample.rig, observed)[0] for n in chosen])
    reach = float(np.nanmax(animal.radii)) if animal.visible.any() else 0.0
    return plot_contact_sheet(
        sample.pictures[chosen],
        chosen,
        store,
        sample.rig,
        animal,
        VoxelGrid.cube(GRID, 2 * reach) if reach else None,
        heldout,
        title,
        hulls=hulls,
        grid_name="a cube around the animal",
    )


def plain_sheet(sample: Sample, heldout: Sequence[str], recording: str) -> Figure:
    """The sheet of a recording whose calibration and masks do not fit: no pose is drawn."""
    nowhere = HullMoments.stack([HullMoments.absent()] * len(sample.frames))
    return draw_sheet(sample, follow(nowhere, smoothing=0), heldout, recording)


def _as_store(sample: Sample) -> FrameStore:
    """The sample as the workflow would keep it, in memory."""
    return FrameStore(
        images=zarr.array(sample.pictures),
        masks=zarr.array(sample.masks),
        source_frames=np.array(sample.frames),
        cameras=sample.rig.names,
        downsample=sample.scale,
    )
