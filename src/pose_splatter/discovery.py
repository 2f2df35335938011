"""What a folder holds: the cameras' videos, their masks, and the calibration that fits them.

Files of one kind, a file or folder for each camera, differ in one part of their paths: that part is
the camera's name, and the rest is the pattern that config wants. Calibrations are told by their
content, as `calibration` reads them.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path, PurePosixPath

import cv2
import h5py
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from pose_splatter.calibration import Calibration, read_calibration, read_cameras
from pose_splatter.calibration.camera import natural_key
from pose_splatter.cameras import CameraRig
from pose_splatter.errors import PoseSplatterError
from pose_splatter.paths import CAMERA, find_masks, with_camera
from pose_splatter.video import VideoInfo, probe, read_frames

VIDEOS = (
    *(".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv"),
    *(".ts", ".mts", ".mxf", ".ogv"),
)
PICTURES = (".png", ".tif", ".tiff", ".bmp")
STORES = (".h5", ".hdf5", ".zarr", ".json")  # that masks may lie in
MASK_WORDS = re.compile(r"mask|seg|silhouette|alpha|matte|foreground", re.IGNORECASE)
CAMERA_WORDS = re.compile(r"(cam|camera|view|angle|kamera)s?[-_. ]?$", re.IGNORECASE)
SKIPPED = ("results", "logs")  # what the workflow itself makes
DEPTH = 5  # folders below the given one
MOST_FILES = 400  # of one kind; more of them are more than a recording
LARGEST = 100_000_000  # bytes of a calibration file
TWO_VALUED = 0.97  # share of a mask's pixels that are black or white


@dataclass(frozen=True)
class Family:
    """Paths that differ in the camera's name alone, relative to the folder looked at."""

    pattern: str
    names: tuple[str, ...]

    def path(self, name: str) -> str:
        """One camera's path."""
        return str(with_camera(self.pattern, name))

    def named_after(self, known: Iterable[str]) -> "Family":
        """The same paths under the names that are known, where only a word before them differs.

        Camera{camera}/0.mp4 of camera 1 is {camera}/0.mp4 of camera Camera1.
        """
        known = set(known)
        words = re.findall(r"([A-Za-z]+[-_.]?)\{camera\}", self.pattern)
        if known.issuperset(self.names) or len(set(words)) != 1:
            return self
        longer = tuple(words[0] + name for name in self.names)
        if not known.issuperset(longer):
            return self
        return Family(self.pattern.replace(words[0] + CAMERA, CAMERA), longer)


@dataclass(frozen=True)
class Discovery:
    """What was found: patterns and paths as config wants them, and what there is to know of them.

    `masks` is auto where none were found. `heldout` are the cameras that evaluation could do
    with; `remarks` say what was doubtful, and how to decide it.
    """

    cameras: tuple[str, ...]
    videos: str
    infos: tuple[VideoInfo, ...]
    masks: str
    calibration: str
    calibration_format: str
    matched: str
    heldout: tuple[str, ...]
    remarks: tuple[str, ...]

    def table(self) -> list[str]:
        """A few lines for a person."""
        heldout = ", ".join(self.heldout) or (
            "none" if len(self.cameras) < 4 else "none yet: the calibration does not fit"
        )
        lines = [
            f"cameras      {', '.join(self.cameras)}",
            f"videos       {self.videos}",
            *(f"             {line}" for line in self.describe_videos()),
            f"masks        {self.masks if self.masks != 'auto' else 'none found: auto makes them'}",
            f"calibration  {self.calibration}",
            f"             {self.calibration_format}; {self.matched}",
            f"held out     {heldout}",
        ]
        return [*lines, *(f"note         {remark}" for remark in self.remarks)]

    def describe_videos(self) -> list[str]:
        """Sizes, rates and numbers of frames: one line, or one for each camera if they differ."""
        lines = [
            f"{info.width} x {info.height} pixels, {info.fps:.4g} frames/s, {info.n_frames} frames"
            + (f" ({info.n_frames / info.fps:.4g} s)" if info.fps else "")
            for info in self.infos
        ]
        if len(set(lines)) == 1:
            return lines[:1]
        return [f"{name}: {line}" for name, line in zip(self.cameras, lines, strict=True)]


def discover(
    folder: str | Path,
    calibration: str | None = None,
    videos: str | None = None,
    masks: str | None = None,
) -> Discovery:
    """Look through a folder, which config's paths then start with, as it is given.

    `videos` and `masks` are patterns in the folder, `masks` also one HDF5 or Zarr of all cameras;
    `calibration` is a path. What is given is not searched for. Raises PoseSplatterError where there
    are no videos of two cameras, or there is no calibration.
    """
    folder = Path(folder)
    remarks: list[str] = []
    contents = _Contents.of(folder, remarks)
    found = _find_calibrations(contents) if calibration is None else []
    known = _names(calibration) if calibration else [n for c in found for n in _names_of(c)]
    family = _choose_videos(contents, videos, known, remarks).named_after(known)
    infos = _probe(folder, family)
    if calibration is None:
        calibration = _choose_calibration(folder, found, contents, family, remarks)
    rig, matched, format_name = _match(calibration, family, infos[0], remarks)
    mask_pattern = _choose_masks(contents, masks, family, remarks)
    return Discovery(
        cameras=family.names,
        videos=_joined(folder, family.pattern),
        infos=infos,
        masks=mask_pattern if mask_pattern == "auto" else _joined(folder, mask_pattern),
        calibration=calibration,
        calibration_format=format_name,
        matched=matched,
        heldout=propose_heldout(family.names, rig),
        remarks=tuple(remarks),
    )


def _joined(folder: Path, pattern: str) -> str:
    """A pattern of the folder as config wants it."""
    return (PurePosixPath(folder.as_posix()) / pattern).as_posix()


# --- the folder --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Contents:
    """The paths in a folder by kind, relative to it, sorted as people count."""

    folder: Path
    videos: tuple[str, ...]
    picture_folders: tuple[str, ...]
    stores: tuple[str, ...]
    others: tuple[str, ...]  # files and folders that may be calibrations

    @classmethod
    def of(cls, folder: Path, remarks: list[str]) -> "_Contents":
        """What is there; of subfolders that cannot be looked into, it is said that they are not."""
        kinds: dict[str, list[str]] = {"videos": [], "pictures": [], "stores": [], "others": []}
        closed: list[Path] = []
        for path, inside in _walk(_top(folder), DEPTH, closed):
            for kind in _kinds(path, inside):
                kinds[kind].append(path.relative_to(folder).as_posix())
        ordered = {kind: tuple(sorted(paths, key=natural_key)) for kind, paths in kinds.items()}
        if len(ordered["videos"]) > MOST_FILES:
            raise PoseSplatterError(
                f"{folder}: there are {len(ordered['videos'])} videos in it; name the folder of "
                "one recording."
            )
        if closed:
            more = f" and {len(closed) - 1} more" if len(closed) > 1 else ""
            remarks.append(
                f"left out: {closed[0].relative_to(folder).as_posix()}{more}, which cannot be "
                "looked into; if the recording lies there, give yourself the right to"
            )
        return cls(folder, *ordered.values())


def _top(folder: Path) -> list[Path]:
    """What lies in the folder itself, which has to be one that config can name."""
    if not folder.is_dir():
        raise PoseSplatterError(f"{folder}: no such folder; name that of the recording.")
    if "{" in str(folder) or "}" in str(folder):
        raise PoseSplatterError(
            f"{folder}: braces in a path mean the camera's name in config; rename the folder."
        )
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise PoseSplatterError(
            f"{folder}: cannot be looked into ({error.strerror}); give yourself the right to."
        ) from error


def _walk(
    paths: Iterable[Path], depth: int, closed: list[Path]
) -> Iterator[tuple[Path, list[Path] | None]]:
    """The paths and all below them, each with what lies in it, or None for what is no folder.

    What cannot be looked into is added to `closed` instead. Zarr's folders are one store.
    """
    for path in paths:
        if path.name.startswith(".") or path.name in SKIPPED or "{" in path.name:
            continue
        try:
            is_folder = path.is_dir() and path.suffix.lower() != ".zarr"
            inside = list(path.iterdir()) if is_folder else None
        except OSError:
            closed.append(path)
            continue
        yield path, inside
        if inside and depth:
            yield from _walk(inside, depth - 1, closed)


def _kinds(path: Path, inside: list[Path] | None) -> Iterator[str]:
    """All that a path may be, by its ending or by what lies in it."""
    suffix = path.suffix.lower()
    if suffix in VIDEOS:
        yield "videos"
    elif inside is not None:
        if any(file.suffix.lower() in PICTURES for file in inside):
            yield "pictures"
        yield "others"
    elif suffix not in PICTURES:
        if suffix in STORES:
            yield "stores"
        if path.is_file() and path.stat().st_size <= LARGEST:
            yield "others"


# --- families ----------------------------------------------------------------------------------


def families(paths: Sequence[str]) -> list[Family]:
    """All ways in which two or more of the paths differ in one part alone.

    The part is a run of digits or of letters, or more of them where no such run does, and may come
    again, as in cam1/cam1.mp4. Those that differ in a single run come first, then the larger ones.
    """
    tokens = {path: _tokens(path) for path in paths}
    names: dict[str, set[str]] = {}
    runs: dict[str, int] = {}
    for first, second in combinations(paths, 2):
        for one, other in ((first, second), (second, first)):
            if (split := _split(tokens[one], tokens[other])) is not None:
                pattern, name, count = split
                names.setdefault(pattern, set()).add(name)
                runs[pattern] = max(runs.get(pattern, 0), count)
    found = [Family(p, tuple(sorted(n, key=natural_key))) for p, n in names.items() if len(n) > 1]
    return sorted(found, key=lambda f: (runs[f.pattern] > 1, -len(f.names), natural_key(f.pattern)))


def _tokens(path: str) -> list[list[str]]:
    """The runs of digits, of letters and of nothing of them, of each part; an ending is one run."""
    ending = PurePosixPath(path).suffix
    parts = path.removesuffix(ending).split("/") if ending else path.split("/")
    runs = [re.findall(r"\d+|[^\W\d_]+|.", part) for part in parts]
    return [*runs, [ending]]


def _split(one: Sequence[list[str]], other: Sequence[list[str]]) -> tuple[str, str, int] | None:
    """The pattern that two paths share, what stands for {camera} in the first, in how many runs."""
    if len(one) != len(other):
        return None
    if one[-1] != other[-1]:
        return None
    parts, mine, theirs = [], set(), set()
    for a, b in zip(one, other, strict=True):
        if a == b:
            parts.append("".join(a))
            continue
        start = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), -1)
        if start < 0:
            return None
        end = 0
        while end < min(len(a), len(b)) - start - 1 and a[-1 - end] == b[-1 - end]:
            end += 1
        mine.add(tuple(a[start : len(a) - end]))
        theirs.add(tuple(b[start : len(b) - end]))
        parts.append("".join([*a[:start], CAMERA, *a[len(a) - end :]]))
    if len(mine) != 1 or len(theirs) != 1:
        return None
    run = mine.pop()
    name = "".join(run)
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        return None
    return "/".join(parts[:-1]) + parts[-1], name, len(run)


def _relative(folder: Path, pattern: str) -> str:
    """A pattern that a person wrote, with the folder before it or without."""
    return pattern.removeprefix(folder.as_posix() + "/")


def _given(pattern: str, contents: _Contents, paths: Sequence[str], option: str) -> Family:
    """The family of a pattern that a person wrote."""
    pattern = _relative(contents.folder, pattern)
    if CAMERA not in pattern:
        raise PoseSplatterError(
            f"{option} {pattern!r} does not say where a camera's name goes; write {CAMERA} there."
        )
    before, *rest = map(re.escape, pattern.split(CAMERA))
    regex = f"{before}(?P<camera>[A-Za-z0-9_][A-Za-z0-9_.-]*?)" + "(?P=camera)".join(rest)
    matches = [re.fullmatch(regex, path) for path in paths]
    names = sorted({match["camera"] for match in matches if match}, key=natural_key)
    if len(names) < 2:
        raise PoseSplatterError(
            f"{option} {pattern!r} is the path of {len(names)} files in {contents.folder}, but two "
            "cameras are the fewest; correct the pattern."
        )
    return Family(pattern, tuple(names))


# --- videos ------------------------------------------------------------------------------------


def _choose_videos(
    contents: _Contents, given: str | None, known: Sequence[str], remarks: list[str]
) -> Family:
    """The cameras' videos; where several families could be them, it is said which was taken."""
    if given is not None:
        return _given(given, contents, contents.videos, "--videos")
    if not contents.videos:
        raise PoseSplatterError(
            f"{contents.folder}: there are no videos in it ({', '.join(VIDEOS[:4])} and so on); "
            "name the folder of the recording."
        )
    related = families(contents.videos)
    found = [f for f in related if not _is_mask(contents.folder, f)]
    if not found:
        raise PoseSplatterError(
            f"{contents.folder}: no two of its {len(contents.videos)} videos have paths that "
            "differ in one part alone, as camera0.mp4 and camera1.mp4 do; rename them, or say what "
            f"they are called with --videos 'folder/{CAMERA}.mp4'."
        )
    ranked = sorted(found, key=lambda family: _rank(family, known))
    chosen = ranked[0]
    taken = {chosen.path(name) for name in chosen.names}
    for other in ranked[1:]:
        apart = taken.isdisjoint(other.path(name) for name in other.names)
        if apart and _rank(other, known)[:2] == _rank(chosen, known)[:2]:
            remarks.append(
                f"there are other videos too, {other.pattern} ({', '.join(other.names)}); for "
                f"these give --videos '{other.pattern}'"
            )
    alone = set(contents.videos) - {f.path(name) for f in related for name in f.names}
    if alone:
        remarks.append(
            f"left out: {', '.join(sorted(alone))}, which is not called as the others are; for a "
            f"camera's video, rename it after {chosen.pattern}"
        )
    return chosen


def _rank(family: Family, known: Sequence[str]) -> tuple[bool, bool]:
    """Lower is likelier: the calibration knows the names; a word says that these are cameras."""
    renamed = family.named_after(known)
    before = family.pattern.split(CAMERA)[0].rsplit("/", 1)[-1]
    worded = bool(CAMERA_WORDS.search(before)) or all(
        re.search(r"cam|view|left|right|top|side|front|back", n, re.IGNORECASE)
        for n in family.names
    )
    return not set(known).issuperset(renamed.names), not worded


def _is_mask(folder: Path, family: Family) -> bool:
    """By a word in the path, else by a look at one of the videos."""
    if MASK_WORDS.search(family.pattern):
        return True
    path = folder / family.path(family.names[0])
    try:
        count = probe(path).n_frames
        wanted = sorted({count // 4, count // 2, 3 * count // 4})
        return all(two_valued(picture) for picture in read_frames(path, wanted))
    except PoseSplatterError:
        return False


def two_valued(picture: UInt8[ndarray, "height width *channel"]) -> bool:
    """Whether a picture is black and white and has some of both, as a mask has."""
    if picture.ndim == 3 and int(np.ptp(picture.astype(np.int16), axis=2).max()) > 48:
        return False
    extreme = (picture < 40) | (picture > 215)
    return bool(extreme.mean() > TWO_VALUED and 0 < (picture > 215).mean() < 0.9)


def _probe(folder: Path, family: Family) -> tuple[VideoInfo, ...]:
    return tuple(probe(folder / family.path(name)) for name in family.names)


# --- masks -------------------------------------------------------------------------------------


def _choose_masks(
    contents: _Contents, given: str | None, family: Family, remarks: list[str]
) -> str:
    """The masks of just these cameras, or auto."""
    if given is not None:
        return given if given == "auto" else _given_masks(contents, given, family)
    others: list[str] = []
    comparable = list(_comparable(contents, remarks))
    for paths in comparable:
        for found in families(paths):
            masks = found.named_after(family.names)
            if masks.pattern == family.pattern or not _holds_masks(contents, masks):
                continue
            if set(family.names) <= set(masks.names):
                return masks.pattern
            others.append(f"{found.pattern} ({', '.join(found.names)})")
    for store in (path for paths in comparable for path in paths if path in contents.stores):
        if MASK_WORDS.search(store) and _has_array(contents.folder / store):
            return store
    if others:
        remarks.append(
            f"{others[0]} look like masks, but are not named as the videos are; rename them, or "
            "masks are made from the videos"
        )
    return "auto"


def _given_masks(contents: _Contents, given: str, family: Family) -> str:
    """The pattern of the masks that a person named: a file for each camera, or a store."""
    pattern = _relative(contents.folder, given)
    if _in_store(_joined(contents.folder, pattern), family.names):
        return pattern
    if CAMERA not in pattern:
        raise PoseSplatterError(
            f"--masks {given!r} is no HDF5 or Zarr, which alone hold all cameras in one; correct "
            f"the path, or write {CAMERA} where a camera's name goes."
        )
    every = [*contents.videos, *contents.picture_folders, *contents.stores]
    masks = _given(pattern, contents, every, "--masks").named_after(family.names)
    missing = [name for name in family.names if name not in masks.names]
    if missing:
        raise PoseSplatterError(
            f"--masks {given!r} has no file for camera {missing[0]}; give masks of all "
            "cameras, named as the videos are."
        )
    return masks.pattern


def _in_store(pattern: str, names: Sequence[str]) -> bool:
    """Whether the path of each camera's masks leads to or into HDF5 or Zarr."""
    try:
        return all(find_masks(pattern, name).kind in ("hdf5", "zarr") for name in names)
    except (PoseSplatterError, OSError):  # one path for all cameras, and something else there
        return False


def _comparable(contents: _Contents, remarks: list[str]) -> Iterator[Sequence[str]]:
    """The paths that may be masks, by kind, but for a kind of which there are too many.

    Every path is compared with every other of its kind: thousands of them, as poses of single
    frames are, would take many minutes.
    """
    kinds = {"videos": contents.videos, "folders of pictures": contents.picture_folders}
    for suffix in STORES:
        kinds[f"{suffix} files"] = tuple(s for s in contents.stores if s.lower().endswith(suffix))
    for kind, paths in kinds.items():
        if len(paths) <= MOST_FILES:
            yield paths
        else:
            remarks.append(
                f"there are {len(paths)} {kind}, too many to look for masks among them; if masks "
                "are there, say which with --masks"
            )


def _holds_masks(contents: _Contents, family: Family) -> bool:
    path = contents.folder / family.path(family.names[0])
    if path.suffix.lower() in VIDEOS:
        return _is_mask(contents.folder, family)
    if MASK_WORDS.search(family.pattern):
        return True
    if not path.is_dir():
        return False
    pictures = sorted(file for file in path.iterdir() if file.suffix.lower() in PICTURES)
    picture = cv2.imread(str(pictures[len(pictures) // 2])) if pictures else None
    return picture is not None and two_valued(picture)


def _has_array(path: Path) -> bool:
    """Whether a file holds arrays of masks rather than cameras; a damaged one holds nothing."""
    if path.suffix.lower() == ".zarr":
        return True
    try:
        if not path.is_file() or not h5py.is_hdf5(path):
            return False
        with h5py.File(path, "r") as file:
            return any(isinstance(item, h5py.Dataset) and item.ndim >= 3 for item in file.values())
    except OSError:
        return False


# --- calibration -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Found:
    """A calibration in the folder, its path relative to it."""

    path: str
    calibration: Calibration


def _names_of(found: _Found) -> list[str]:
    return [camera.name for camera in found.calibration.cameras if camera.name is not None]


def _names(path: str) -> list[str]:
    """The names of the cameras in a calibration that a person named."""
    if CAMERA in path:
        return []
    return [camera.name for camera in read_cameras(path).cameras if camera.name is not None]


def _find_calibrations(contents: _Contents) -> list[_Found]:
    """What reads as a calibration of one camera or more, among the first files and folders."""
    found = []
    for path in contents.others[:MOST_FILES]:
        try:
            found.append(_Found(path, read_cameras(contents.folder / path)))
        except PoseSplatterError:
            continue
    return found


def _choose_calibration(
    folder: Path,
    found: Sequence[_Found],
    contents: _Contents,
    family: Family,
    remarks: list[str],
) -> str:
    """The one that has the cameras' names, else a file for each, else one with as many cameras."""
    count = len(family.names)
    by_name = [f.path for f in found if set(family.names) <= set(_names_of(f))]
    single = [f.path for f in found if len(f.calibration.cameras) == 1]
    apart = [
        renamed.pattern
        for renamed in (other.named_after(family.names) for other in families(single))
        if set(family.names) <= set(renamed.names)
    ]
    by_place = [f.path for f in found if len(f.calibration.cameras) == count]
    ranked = list(dict.fromkeys([*by_name, *apart, *by_place]))
    if not ranked:
        there = "; ".join(
            f"{f.path} has {len(f.calibration.cameras)} ({', '.join(_names_of(f)) or 'no names'})"
            for f in found
        )
        what = f"no calibration of its {count} cameras ({there})" if found else "no calibration"
        left = len(contents.others[MOST_FILES:])
        more = f", but {left} of its files and folders were not opened" if left else ""
        raise PoseSplatterError(
            f"{folder}: {what} was found in it{more}; name the file with --calibration "
            "(docs/calibration.md lists the formats)."
        )
    rivals = by_name or apart or by_place
    for other in rivals[1:]:
        remarks.append(
            f"{other} would do as a calibration too; for it give --calibration "
            f"'{_joined(folder, other)}'"
        )
    return _joined(folder, ranked[0])


def _match(
    calibration: str, family: Family, info: VideoInfo, remarks: list[str]
) -> tuple[CameraRig | None, str, str]:
    """The rig, how its cameras are told, and the format's name."""
    if CAMERA in calibration:
        first, matched = with_camera(calibration, family.names[0]), "a file for each camera"
        format_name = read_cameras(first).format
    else:
        read = read_cameras(calibration)
        format_name = read.format
        known = [camera.name for camera in read.cameras]
        matched = "cameras are matched by name"
        if not set(family.names) <= set(known):
            pairs = ", ".join(f"{a} is {b}" for a, b in zip(family.names, known, strict=False) if b)
            matched = "cameras are matched by place" + (f": {pairs}" if pairs else "")
        elif idle := [name for name in known if name and name not in family.names]:
            remarks.append(f"calibrated, but without a video: {', '.join(idle)}")
    try:
        rig = read_calibration(calibration, family.names, info.width, info.height)
    except PoseSplatterError as error:
        remarks.append(f"the calibration does not fit yet: {error}")
        return None, matched, format_name
    return rig, matched, format_name


# --- held-out cameras --------------------------------------------------------------------------


def propose_heldout(names: Sequence[str], rig: CameraRig | None) -> tuple[str, ...]:
    """One of four or five cameras, two of more; of fewer, none can be spared.

    The first is the one whose neighbours are nearest, in the direction in which they look: its
    view is told best by the others. The second looks from as far away from it as any.
    """
    count = 0 if len(names) < 4 or rig is None else 1 if len(names) < 6 else 2
    if rig is None or not count:
        return ()
    axes = rig.rotations[:, 2]
    angles = np.arccos(np.clip(axes @ axes.T, -1, 1))
    first = int(np.sort(angles, axis=1)[:, 1:3].sum(axis=1).argmin())
    second = int(angles[first].argmax())
    return tuple(names[camera] for camera in sorted([first, second][:count]))
