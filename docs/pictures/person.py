"""Draw the picture of docs/examples.md, of what config/examples/pose2sim.yaml has made.

From the project's folder: python docs/pictures/person.py
"""

from pathlib import Path

import h5py
import numpy as np
from matplotlib import pyplot as plt

from pose_splatter.cameras import load_cameras
from pose_splatter.contact_sheet import MASK_COLOR, draw_outline, read_pictures
from pose_splatter.frames import FrameStore, mask_box
from pose_splatter.plots import save_figure

PICTURE = Path(__file__).parent / "person.jpg"
RECORDING = Path("results/recordings/pose2sim")
RENDERS = Path("results/experiments/person/pose2sim/rendered_images.h5")
VIDEOS = "results/examples/pose2sim/videos/{}.mp4"
FRAMES = (77, 92)  # of the videos, both in the test part
CAMERAS = {"cam04": "cam04, observed", "cam03": "cam03, held out"}
ROOM = 12  # pixels around what is drawn


def main() -> None:
    """A row for each camera; for each frame the picture with its mask, and what is rendered."""
    store, rig = (
        FrameStore.open(RECORDING / "person/images.zarr"),
        load_cameras(RECORDING / "cameras.h5"),
    )
    chosen = [rig.names.index(name) for name in CAMERAS]
    videos = [VIDEOS.format(name) for name in CAMERAS]
    part = rig.subset(chosen)
    pictures = read_pictures(videos, part, FRAMES, [0] * len(chosen), store.downsample)
    figure, axes = plt.subplots(
        len(CAMERAS), 2 * len(FRAMES), figsize=(8, 5.4), layout="constrained"
    )
    with h5py.File(RENDERS, "r") as file:
        rendered = {int(n): row for row, n in enumerate(file["frame_index"][:])}
        for row, (camera, label) in enumerate(zip(chosen, CAMERAS.values(), strict=True)):
            for column, number in enumerate(FRAMES):
                frame = int(np.flatnonzero(store.source_frames == number)[0])
                mask = store.read_masks(frame)[camera]
                seen, made = axes[row, 2 * column : 2 * column + 2]
                height, width = mask.shape
                seen.imshow(pictures[column, row], extent=(0, width, height, 0))
                draw_outline(seen, mask, MASK_COLOR)
                made.imshow(
                    file["images"][rendered[frame], camera, ..., :3], extent=(0, width, height, 0)
                )
                rows, columns = mask_box(mask)
                for axis in (seen, made):
                    axis.set(
                        xticks=[],
                        yticks=[],
                        xlim=(columns.start - ROOM, columns.stop + ROOM),
                        ylim=(rows.stop + ROOM, rows.start - ROOM),
                    )
                if row == 0:
                    seen.set_title(f"frame {number} and its mask")
                    made.set_title("rendered")
            axes[row, 0].set_ylabel(label)
    save_figure(PICTURE, figure, dpi=110)
    print(PICTURE, PICTURE.stat().st_size)


if __name__ == "__main__":
    main()
