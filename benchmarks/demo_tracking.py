"""Compare the demo's tracked centre, heading and up with the truth it was rendered from.

    python benchmarks/demo_tracking.py [results/recordings/demo/default]

Prints medians over all frames: the centre's error as a share of the body length, the heading's in
degrees, how often the heading is off by more than 90 degrees (a flip), and the error of up.
"""

import argparse
from pathlib import Path

import h5py
import numpy as np

from pose_splatter.cameras import rotation_to_z
from pose_splatter.tracking import load_track

TRUTH = Path(__file__).parent.parent / "resources/demo/truth.h5"


def angle_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Degrees between directions."""
    cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default="results/recordings/demo/default")
    folder = parser.parse_args().folder
    animal = load_track(folder / "center_rotation.npz")
    up = np.load(folder.parent / "vertical_lines.npz")["up"]
    with h5py.File(TRUTH) as truth:
        length = float(truth.attrs["body_length_mm"])
        true_up = truth.attrs["up"]
        upright = rotation_to_z(up)
        centers = truth["center"][:] @ upright.T
        headings = truth["heading"][:] @ upright.T
        behavior = truth["behavior"][:].astype(str)
    seen = animal.visible
    centre_error = np.linalg.norm(animal.centers - centers, axis=1)[seen] / length
    tracked = np.stack([np.cos(animal.angles), np.sin(animal.angles)], axis=-1)
    heading_error = angle_between(tracked, headings[:, :2])[seen]
    print(f"frames                 {seen.sum()} of {len(seen)}")
    print(f"up error               {float(angle_between(up, true_up)):.2f} degrees")
    print(f"median centre error    {100 * np.median(centre_error):.2f} % of the body length")
    print(f"median heading error   {np.median(heading_error):.2f} degrees")
    print(f"heading flips          {(heading_error > 90).sum()} frames")
    for name in np.unique(behavior):
        chosen = (behavior == name)[seen]
        print(
            f"  {name:5s} ({chosen.sum():3d} frames) centre "
            f"{100 * np.median(centre_error[chosen]):.2f} %, heading "
            f"{np.median(heading_error[chosen]):.2f} degrees, "
            f"worst {heading_error[chosen].max():.1f}"
        )


if __name__ == "__main__":
    main()
