"""Masks by a network that finds the salient object in a picture, as rembg's ONNX files do."""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from pose_splatter.errors import PoseSplatterError
from pose_splatter.segmentation.foreground import clean

MARGIN = 0.5  # of the object's height and width, on each side, that a second look at it shows
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
        """
        mask = self._look(picture)
        if mask.any():
            box = _box_around(mask)
            closely = self._look(np.ascontiguousarray(picture[box]))
            mask = np.zeros_like(mask)
            mask[box] = closely
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
    """The object's box in the picture, and MARGIN around it."""
    left, top, width, height = cv2.boundingRect(mask)
    beside, above = round(MARGIN * width), round(MARGIN * height)
    return (
        slice(max(top - above, 0), top + height + above),
        slice(max(left - beside, 0), left + width + beside),
    )


def _brief(error: cv2.error) -> str:
    """The last line that says something."""
    return str(error).strip().splitlines()[-1].split("error:")[-1].strip()
