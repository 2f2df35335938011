"""Masks by a network that finds the salient object in a picture, as rembg's ONNX files do."""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from pose_splatter.errors import PoseSplatterError
from pose_splatter.segmentation.foreground import clean

LOOKS = 4  # at a picture, at most; the first is at the whole
MARGIN = 0.5  # of the object's longer side: what a close look shows around it
INPUT = 320  # pixels along the edge of what U2-Net and its kin look at (Qin et al. 2020)
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # ImageNet's


class SaliencyNetwork:
    """A U2-Net-like network: a 320 x 320 picture in, where its object is out (0 to 1)."""

    def __init__(self, weights: str | Path) -> None:
        """Read an ONNX file; raises PoseSplatterError where it is missing or is none."""
        if not Path(weights).is_file():
            raise PoseSplatterError(
                f"{weights}: no such file; put the network's weights there or correct "
                "segmentation: weights in config."
            )
        self.path = weights
        try:
            self.network = cv2.dnn.readNetFromONNX(str(weights))
        except cv2.error as error:
            raise PoseSplatterError(
                f"{weights}: OpenCV cannot read the network ({_brief(error)}); "
                "segmentation: weights in config must name an ONNX file such as rembg's u2net.onnx."
            ) from error

    def __call__(self, picture: UInt8[ndarray, "height width 3"]) -> UInt8[ndarray, "height width"]:
        """The mask (0 or 1) of the picture's object: found in the whole, then looked at closely.

        An animal that is a tenth of the picture's width has 32 pixels in the whole, and no tail.
        Where a tail leads out of what a closer look showed, the next one shows that and more.
        """
        mask, seen = self._look(picture), (slice(0, picture.shape[0]), slice(0, picture.shape[1]))
        found = mask.copy()
        for _ in range(LOOKS - 1):
            box = _box_around(found)
            if not found.any() or box == seen:
                break
            closely, seen = self._look(np.ascontiguousarray(picture[box])), box
            if closely.any():
                mask = np.zeros_like(mask)
                mask[box] = closely
                found |= mask
            if not _leads_out(closely, box, mask.shape):
                break
        return mask

    def _look(self, picture: UInt8[ndarray, "height width 3"]) -> UInt8[ndarray, "height width"]:
        """The mask (0 or 1) of the object, at the network's own resolution."""
        small = cv2.resize(picture, (INPUT, INPUT), interpolation=cv2.INTER_AREA)
        values = (small / max(float(small.max()), 1.0) - MEAN) / DEVIATION
        try:
            self.network.setInput(values.transpose(2, 0, 1)[None].astype(np.float32))
            saliency = np.squeeze(np.asarray(self.network.forward())).astype(np.float32)
        except cv2.error as error:
            raise PoseSplatterError(
                f"{self.path}: the network does not take a picture of {INPUT} x {INPUT} pixels "
                f"({_brief(error)}); use one of rembg's u2net files."
            ) from error
        if saliency.ndim != 2:
            raise PoseSplatterError(
                f"{self.path}: the network gives an array of shape {saliency.shape}, not one map; "
                "use one of rembg's u2net files."
            )
        low, high = float(saliency.min()), float(saliency.max())
        saliency = (saliency - low) / max(high - low, 1e-6)
        height, width = picture.shape[:2]
        large = cv2.resize(saliency, (width, height), interpolation=cv2.INTER_LINEAR)
        return clean((large >= 0.5).view(np.uint8))


def _box_around(mask: UInt8[ndarray, "height width"]) -> tuple[slice, slice]:
    """The object's box in the picture, made square, and MARGIN around it."""
    left, top, width, height = cv2.boundingRect(mask)
    size = round((1 + 2 * MARGIN) * max(width, height))
    top, left = (2 * top + height - size) // 2, (2 * left + width - size) // 2
    rows, columns = mask.shape
    return (
        slice(max(top, 0), min(top + size, rows)),
        slice(max(left, 0), min(left + size, columns)),
    )


def _leads_out(
    mask: UInt8[ndarray, "row column"], box: tuple[slice, slice], shape: tuple[int, int]
) -> bool:
    """Whether the mask within a box ends at a side of it that is not the picture's own."""
    rows, columns = box
    above, below = rows.start > 0 and mask[0].any(), rows.stop < shape[0] and mask[-1].any()
    left = columns.start > 0 and mask[:, 0].any()
    right = columns.stop < shape[1] and mask[:, -1].any()
    return bool(above or below or left or right)


def _brief(error: cv2.error) -> str:
    """The last line that says something."""
    return str(error).strip().splitlines()[-1].split("error:")[-1].strip()
