"""The plain visual hull as a reference: what carving alone gives, without a model."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pose_splatter.cameras import CameraRig
from pose_splatter.carving import hull_silhouettes
from pose_splatter.evaluation import Views, silhouette_iou
from pose_splatter.frames import FrameStore
from pose_splatter.progress import track
from pose_splatter.tracking import BEYOND, Track


def evaluate_hull(
    store: FrameStore, rig: CameraRig, animal: Track, views: Views, frames: Sequence[int]
) -> pd.DataFrame:
    """The silhouette IoU of the plain hull of all observed cameras: what carving alone gives.

    The same table as `evaluate_renders`, with `iou` as its only metric.
    """
    observed = rig.without(views.heldout)
    rows = []
    for frame in track(frames, "carving hulls", len(frames)):
        if not animal.visible[frame]:
            continue
        masks = store.read_masks(frame)
        radius = BEYOND * float(np.linalg.norm(animal.radii[frame]))
        depth = float(rig.project(animal.centers[frame])[1].min())
        half_pixel = 0.5 * depth / float(rig.intrinsics[:, 0, 0].max())
        silhouettes = hull_silhouettes(
            masks[observed], rig.subset(observed), rig, animal.centers[frame], radius, half_pixel
        )
        for camera, name in enumerate(views.names):
            if masks[camera].any():
                iou, _ = silhouette_iou(silhouettes[camera].astype(np.float64), masks[camera])
                rows.append(
                    {
                        "frame": frame,
                        "camera": name,
                        "role": views.role(camera),
                        "status": "ok",
                        "iou": iou,
                    }
                )
    return pd.DataFrame(rows, columns=["frame", "camera", "role", "status", "iou"])
