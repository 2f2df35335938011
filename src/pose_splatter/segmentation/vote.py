"""The cameras vote: what only one of them sees, such as a reflection or a cable, is no animal.

The masks of the observed cameras are carved coarsely over all that they look at, and the largest
body of the hull is seen from every camera again. Held-out cameras have no vote. Their own masks
lose whole pieces that lie far from that body and are otherwise left as they are, so that the truth
of an evaluation is not made of what a prediction is made of.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int32, UInt8
from numpy import ndarray
from scipy import ndimage

from pose_splatter.cameras import CameraRig, filmed_pixels
from pose_splatter.carving import candidate_views

GRID = 96  # voxels along the edge of the cube that holds all that the cameras look at
FAR = 0.1  # of the picture's width: how far a piece lies from the body that is not the animal's
SQUARE = np.ones((3, 3), np.uint8)


@dataclass(frozen=True)
class Vote:
    """Where every voxel lies in every camera, in cells about as large as a voxel.

    `places` are indices into the flattened cells of a camera, of which there is one more than the
    picture has, always empty, for voxels out of its sight.
    """

    cell: int
    cells: tuple[int, int]
    places: Int32[ndarray, "camera voxel"]
    observed: tuple[int, ...]

    @classmethod
    def of(cls, rig: CameraRig, observed: Sequence[int], grid: int = GRID) -> "Vote":
        """The vote of a rig's cameras, at the pixels of its videos, distortion included."""
        center, half = _looked_at(rig.subset(list(observed)))
        axis = (np.arange(grid) + 0.5) / grid * 2 - 1
        points = center + half * np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
        depths = rig.project(center)[1]
        sizes = rig.intrinsics[:, 0, 0] / depths * 2 * half / grid  # of a voxel, in pixels
        cell = max(1, round(float(np.median(sizes[list(observed)]))))
        cells = (-(-rig.height // cell), -(-rig.width // cell))
        places = [
            _places(rig, camera, points.reshape(-1, 3), cell, cells) for camera in range(len(rig))
        ]
        return cls(cell, cells, np.stack(places), tuple(observed))

    def __call__(
        self, masks: UInt8[ndarray, "camera height width"]
    ) -> UInt8[ndarray, "camera height width"]:
        """The masks (0 or 1) of one frame without what the vote rejects."""
        body, unanimous = self.body(masks), self._votes(masks) == len(self.observed)
        voted = np.zeros_like(masks)
        for camera, mask in enumerate(masks):
            region = self.region(body, camera, mask.shape)
            if camera in self.observed:
                shared = self.region(body & unanimous, camera, mask.shape)
                voted[camera] = _main_and_shared(mask & region, shared)
            else:
                voted[camera] = _pieces_near(mask, region, FAR * mask.shape[1])
        return voted

    def body(self, masks: UInt8[ndarray, "camera height width"]) -> Bool[ndarray, " voxel"]:
        """The largest piece of the hull that all observed cameras but one agree on."""
        votes = self._votes(masks)
        size = round(len(votes) ** (1 / 3))
        hull = (votes >= candidate_views(len(self.observed))).reshape((size,) * 3)
        labels, count = ndimage.label(hull, np.ones((3, 3, 3)))
        if count == 0:
            return hull.ravel()
        return (labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])).ravel()

    def _votes(self, masks: UInt8[ndarray, "camera height width"]) -> UInt8[ndarray, " voxel"]:
        """How many of the observed cameras see something at each voxel."""
        votes = np.zeros(self.places.shape[1], np.uint8)
        for camera in self.observed:
            votes += self._touched(masks[camera])[self.places[camera]]
        return votes

    def _touched(self, mask: UInt8[ndarray, "height width"]) -> UInt8[ndarray, " cell"]:
        """The cells that the mask reaches, and their neighbours: a voxel's body is larger than
        its centre."""
        rows, columns = self.cells
        padding = (0, rows * self.cell - mask.shape[0], 0, columns * self.cell - mask.shape[1])
        padded = cv2.copyMakeBorder(mask, *padding, cv2.BORDER_CONSTANT, value=0)
        blocks = padded.reshape(rows, self.cell, columns, self.cell)
        touched = np.asarray(blocks.any(axis=(1, 3)), np.uint8)
        return np.append(cv2.dilate(touched, SQUARE).ravel(), np.uint8(0))

    def region(
        self, body: Bool[ndarray, " voxel"], camera: int, shape: tuple[int, int]
    ) -> UInt8[ndarray, "height width"]:
        """Where a camera may see a body (0 or 1), a cell wider than its voxels' centres."""
        seen = np.zeros(self.cells[0] * self.cells[1] + 1, np.uint8)
        seen[self.places[camera, body]] = 1
        wide = cv2.dilate(seen[:-1].reshape(self.cells), SQUARE)
        region = np.repeat(np.repeat(wide, self.cell, 0), self.cell, 1)
        return region[: shape[0], : shape[1]].astype(np.uint8)


def _looked_at(rig: CameraRig) -> tuple[Float[ndarray, "3"], float]:
    """The middle of what the cameras look at, and half the edge of a cube that holds it.

    The middle is the point nearest to all optical axes; the cube is as wide as the widest of the
    pictures there.
    """
    axes, centers = rig.rotations[:, 2], rig.centers
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    middle = np.linalg.lstsq(
        across.sum(axis=0), np.einsum("cij,cj->i", across, centers), rcond=None
    )[0]
    depths = np.abs(rig.project(middle)[1])
    half = float((depths * max(rig.width, rig.height) / 2 / rig.intrinsics[:, 0, 0]).max())
    return middle, half


def _places(
    rig: CameraRig,
    camera: int,
    points: Float[ndarray, "voxel 3"],
    cell: int,
    cells: tuple[int, int],
) -> Int32[ndarray, " voxel"]:
    """The cell of each point in a camera as it films, with its distortion and skew."""
    plain, depths = rig.subset([camera]).project(points)
    pixels = filmed_pixels(rig, camera, points)
    size = np.array([rig.width, rig.height])
    # Far outside the picture, the polynomial of the distortion may lead back into it.
    near = (np.abs(plain[0] - size / 2) < size).all(axis=1) & (depths[0] > 0)
    inside = near & (pixels >= 0).all(axis=1) & (pixels < size).all(axis=1)
    column, row = (np.where(inside[:, None], pixels, 0) // cell).astype(np.int32).T
    return np.where(inside, row * cells[1] + column, cells[0] * cells[1]).astype(np.int32)


def _main_and_shared(
    mask: UInt8[ndarray, "height width"], shared: UInt8[ndarray, "height width"]
) -> UInt8[ndarray, "height width"]:
    """The mask's largest piece, and others that lie for the most part where all cameras agree.

    Of few cameras, all but one are soon agreed: two, on what the third alone takes for an animal.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count <= 2:
        return mask
    areas = stats[:, cv2.CC_STAT_AREA]
    kept = np.bincount(labels.ravel(), shared.ravel(), count) > 0.5 * areas
    kept[1 + np.argmax(areas[1:])] = True
    kept[0] = False
    return kept[labels].view(np.uint8)


def _pieces_near(
    mask: UInt8[ndarray, "height width"], region: UInt8[ndarray, "height width"], distance: float
) -> UInt8[ndarray, "height width"]:
    """The mask's pieces, whole, that come within so many pixels of a region."""
    if not region.any() or not mask.any():
        return np.zeros_like(mask)
    near = cv2.distanceTransform(1 - region, cv2.DIST_L2, 3) <= distance
    _, labels = cv2.connectedComponents(mask, connectivity=8)
    kept = np.zeros(labels.max() + 1, bool)
    kept[np.unique(labels[near])] = True
    kept[0] = False
    return kept[labels].view(np.uint8)
