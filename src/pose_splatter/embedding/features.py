"""The features of frames: renders from a sphere, encoded, in spherical harmonics.

Heading is ignored twice. The animal is turned to its frame, as well as its heading was tracked;
and magnitudes of harmonics do not change under turns. The latter is exact for whole steps of the
sphere's azimuths, so a heading that is wrong by half a turn changes nothing. Between steps it is as
good as the features are smooth from view to view: a network's are less so than wavelets', and more
azimuths help.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from pose_splatter.dataset import Recording, carve_frame
from pose_splatter.embedding.encoders import Encoder
from pose_splatter.embedding.sphere import ViewSphere, recording_scale, render_sphere
from pose_splatter.embedding.store import write_features
from pose_splatter.gaussians import Gaussians
from pose_splatter.model import PoseSplatter
from pose_splatter.progress import track


@dataclass(frozen=True)
class FeatureExtractor:
    """From a frame of a recording to the magnitudes of its features' spherical harmonics.

    `view_size` is the edge of the square pictures, in pixels.
    """

    model: PoseSplatter
    encoder: Encoder
    sphere: ViewSphere
    view_size: int
    device: str

    @torch.no_grad()
    def gaussians(self, recording: Recording, frame: int) -> Gaussians:
        """The frame's Gaussians in the animal's frame: centred, x ahead."""
        volume = carve_frame(recording, frame, recording.observed).to(self.device)
        return self.model(replace(volume, center=torch.zeros_like(volume.center), angle=0.0))

    @torch.no_grad()
    def features(self, gaussians: Gaussians, scale: float) -> Float[ndarray, "harmonic channel"]:
        """Of Gaussians about the origin, whose lengths are multiplied by `scale` (see sphere)."""
        images = render_sphere(gaussians, self.sphere, self.view_size, scale).images
        encoded = self.encoder(images.clamp(0, 1))
        return self.sphere.magnitudes(encoded.double().cpu().numpy()).astype(np.float32)

    def of_frames(
        self, recording: Recording, frames: Sequence[int]
    ) -> Iterator[Float[ndarray, "harmonic channel"]]:
        """Of one frame after the other; NaN without the animal."""
        scale, shape = recording_scale(recording.track), self.shape
        for frame in frames:
            if recording.track.visible[frame]:
                yield self.features(self.gaussians(recording, frame), scale)
            else:
                yield np.full(shape, np.nan, np.float32)

    @property
    def shape(self) -> tuple[int, int]:
        """(harmonic, channel) of a frame's features."""
        blank = torch.ones(1, self.view_size, self.view_size, 3, device=self.device)
        return len(self.sphere.harmonics), self.encoder(blank).shape[1]


def write_recording_features(
    path: str | Path,
    extractor: FeatureExtractor,
    recording: Recording,
    frames: Sequence[int],
    fingerprint: str,
) -> None:
    """Write the features of some frames as features.zarr holds them.

    Goes on where a job of the same `fingerprint` was killed (see `write_features`).
    """

    def features_from(first: int) -> Iterator[Float[ndarray, "harmonic channel"]]:
        left = frames[first:]
        return track(extractor.of_frames(recording, left), "embedding", len(left))

    attributes = {"recording": recording.name, "harmonics": extractor.sphere.harmonics}
    shape = (len(frames), *extractor.shape)
    write_features(path, features_from, shape, attributes, fingerprint)
