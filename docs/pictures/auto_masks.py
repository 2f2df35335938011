"""Draw the picture of docs/masks.md: masks: auto in the scene `light` of benchmarks/masks.py.

From the project's folder, in a minute or two: python docs/pictures/auto_masks.py
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from pose_splatter.calibration import read_calibration
from pose_splatter.contact_sheet import MASK_COLOR, draw_outline
from pose_splatter.frames import mask_box
from pose_splatter.plots import save_figure
from pose_splatter.segmentation.floor import FloorViews
from pose_splatter.segmentation.recording import (
    BackgroundSegmenter,
    find_recording_floor,
    read_together,
)
from pose_splatter.segmentation.vote import Vote

PICTURE = Path(__file__).parent / "masks.jpg"
sys.path.insert(0, str(PICTURE.parents[2] / "benchmarks"))

from masks import (  # noqa: E402
    CAMERAS,
    DEMO,
    N_FRAMES,
    OBSERVED,
    SIZE,
    TOLERANT,
    models,
    voted,
    write_scene,
)

FRAME, SHOWN = 108, (0, 2, 4)
WIDTH, HEIGHT = 260, 200  # pixels that are shown, about the animal


def main() -> None:
    """For each camera the picture, the background that was learnt, and the mask's outline."""
    rig = read_calibration(DEMO / "calibration.h5", tuple(map(str, CAMERAS)), SIZE[1], SIZE[0])
    offsets = [0] * len(CAMERAS)
    with tempfile.TemporaryDirectory() as folder:
        videos = write_scene("light", Path(folder))
        segmenter = BackgroundSegmenter([models(video)[0] for video in videos], TOLERANT)
        floor = find_recording_floor(rig, OBSERVED, videos, segmenter, offsets, range(N_FRAMES))
        assert floor is not None, "the demo's shadows show its floor"
        segmenter = replace(segmenter, floor=FloorViews.of(rig, floor, OBSERVED))
        pictures = next(read_together(videos, [FRAME], offsets))
    masks = voted(segmenter(pictures)[:, None], Vote.of(rig, OBSERVED))[:, 0]
    figure, axes = plt.subplots(3, len(SHOWN), figsize=(8, 6.4), layout="constrained")
    for column, camera in zip(axes.T, SHOWN, strict=True):
        background = segmenter.cameras[camera].background.picture
        rows, columns = mask_box(masks[camera])
        left, top = (columns.start + columns.stop) // 2, (rows.start + rows.stop) // 2
        for axis, shown in zip(
            column, (pictures[camera], background, pictures[camera]), strict=True
        ):
            axis.imshow(np.asarray(shown).round().astype(np.uint8), extent=(0, SIZE[1], SIZE[0], 0))
            axis.set(
                xticks=[],
                yticks=[],
                xlim=(left - WIDTH / 2, left + WIDTH / 2),
                ylim=(top + HEIGHT / 2, top - HEIGHT / 2),
            )
        draw_outline(column[2], masks[camera], MASK_COLOR)
        column[0].set_title(f"camera {camera}")
    for axis, label in zip(axes[:, 0], ("picture", "background", "mask"), strict=True):
        axis.set_ylabel(label)
    save_figure(PICTURE, figure, dpi=110)
    print(PICTURE, PICTURE.stat().st_size)


if __name__ == "__main__":
    main()
