"""Masks in every format that labs keep them in become the same mask videos; bad ones are named."""

import json

import cv2
import h5py
import numpy as np
import pytest
import zarr

from pose_splatter import masks as masks_module
from pose_splatter.errors import PoseSplatterError
from pose_splatter.masks import as_mask, check_masks, read_masks, write_mask_video
from pose_splatter.paths import find_masks
from pose_splatter.video import VideoInfo, key_frames, probe, read_frames

from ..conftest import write_video

N, HEIGHT, WIDTH = 12, 24, 36
CAMERAS = ("a", "b")


@pytest.fixture
def truth():
    """(camera frame h w), 0 and 1: rectangles that move."""
    masks = np.zeros((2, N, HEIGHT, WIDTH), np.uint8)
    for frame in range(N):
        masks[0, frame, 3:15, frame : frame + 8] = 1
        masks[1, frame, 5:9, 20 - frame : 30 - frame] = 1
    return masks


@pytest.fixture
def video(tmp_path):
    return VideoInfo(tmp_path / "video.mp4", N, WIDTH, HEIGHT, 30.0)


def pictures(folder, masks, name="{:d}.png", first=0):
    folder.mkdir(parents=True, exist_ok=True)
    for frame, mask in enumerate(masks):
        cv2.imwrite(str(folder / name.format(frame + first)), mask * 255)


def write_pictures(folder, truth):
    for camera, masks in zip(CAMERAS, truth, strict=True):
        pictures(folder / camera, masks)
    return f"{folder}/{{camera}}"


def write_single_pictures(folder, truth):
    for camera, masks in zip(CAMERAS, truth, strict=True):
        pictures(folder, masks, camera + "_{:03d}_mask.png", first=1)
    return f"{folder}/{{camera}}_{{frame}}_mask.png"


def write_hdf5(folder, truth):
    with h5py.File(folder / "m.h5", "w") as file:
        file["other"], file["masks"] = np.zeros(3), truth
    return f"{folder}/m.h5"


def write_hdf5_per_camera(folder, truth):
    with h5py.File(folder / "m.h5", "w") as file:
        for camera, masks in zip(CAMERAS, truth, strict=True):
            file[f"animal/{camera}"] = masks.astype(bool)
    return f"{folder}/m.h5/animal/{{camera}}"


def write_zarr(folder, truth):
    zarr.save(folder / "m.zarr", truth.swapaxes(0, 1) * 255)
    return f"{folder}/m.zarr"


def write_zarr_group(folder, truth):
    group = zarr.create_group(folder / "m.zarr")
    for camera, masks in zip(CAMERAS, truth, strict=True):
        group.create_array(camera, data=masks)
    return f"{folder}/m.zarr/{{camera}}"


def run_lengths(mask):
    """COCO's: lengths of runs of 0 and 1, down the columns, zeros first."""
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges, flat.size]).tolist()
    return counts if flat[0] == 0 else [0, *counts]


def compressed(counts):
    """COCO's text of run lengths, as its documentation describes it."""
    text = ""
    for n, count in enumerate(counts):
        value = count - (counts[n - 2] if n > 2 else 0)
        more = True
        while more:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text += chr(48 + bits + 32 * more)
    return text


def coco(masks, encode=run_lengths):
    order = np.random.default_rng(0).permutation(N).tolist()
    images = [
        {"id": 7 + n, "file_name": f"{n}.png", "height": HEIGHT, "width": WIDTH} for n in order
    ]
    annotations = []
    for n in range(N):
        for part in (np.s_[:, :18], np.s_[:, 18:]):  # two pieces of an animal
            piece = np.zeros_like(masks[n])
            piece[part] = masks[n][part]
            outline = {"size": [HEIGHT, WIDTH], "counts": encode(piece)}
            annotations.append({"image_id": 7 + n, "segmentation": outline})
    return {"images": images, "annotations": annotations}


def write_coco(folder, truth, encode=run_lengths):
    for camera, masks in zip(CAMERAS, truth, strict=True):
        (folder / f"{camera}.json").write_text(json.dumps(coco(masks, encode)))
    return f"{folder}/{{camera}}.json"


def write_compressed_coco(folder, truth):
    return write_coco(folder, truth, lambda mask: compressed(run_lengths(mask)))


def write_videos(folder, truth):
    for camera, masks in zip(CAMERAS, truth, strict=True):
        write_video(folder / f"{camera}.mp4", masks * np.uint8(255))
    return f"{folder}/{{camera}}.mp4"


FORMATS = {
    "video": write_videos,
    "pictures": write_pictures,
    "single pictures": write_single_pictures,
    "hdf5": write_hdf5,
    "hdf5, an array per camera": write_hdf5_per_camera,
    "zarr": write_zarr,
    "zarr, an array per camera": write_zarr_group,
    "coco": write_coco,
    "coco, compressed": write_compressed_coco,
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_holds_the_same_masks(tmp_path, truth, video, name):
    pattern = FORMATS[name](tmp_path, truth)
    for camera, expected in zip(CAMERAS, truth, strict=True):
        assert name.startswith(find_masks(pattern, camera).kind) or "pictures" in name
        read = np.stack(list(read_masks(pattern, camera, CAMERAS, video)))
        assert np.array_equal(read, expected), camera


def test_polygons_of_coco(tmp_path, video):
    content = coco(np.zeros((N, HEIGHT, WIDTH), np.uint8))
    polygon = [4, 2, 14, 2, 14, 10, 4, 10]
    content["annotations"] = [{"image_id": 7, "segmentation": [polygon]}]
    (tmp_path / "a.json").write_text(json.dumps(content))
    masks = list(read_masks(f"{tmp_path}/{{camera}}.json", "a", CAMERAS, video))
    assert masks[0][2:10, 4:14].all()
    assert masks[0].sum() == 80
    assert not np.any(masks[1:])


def test_the_file_of_masks_loses_nothing(tmp_path, truth, video):
    path = tmp_path / "made.mkv"
    write_mask_video(path, iter(truth[0]), video)
    first = path.read_bytes()
    write_mask_video(path, iter(truth[0]), video)
    assert path.read_bytes() == first
    info = probe(path)
    assert (info.n_frames, info.width, info.height) == (N, WIDTH, HEIGHT)
    for frames in (range(N), [2, 3, 9], [7]):
        read = list(read_frames(path, frames, "grey"))
        assert np.array_equal(read, truth[0, list(frames)] * 255)


def test_what_counts_as_animal():
    cutout = np.zeros((2, 2, 4), np.uint8)
    cutout[0, 0] = [9, 9, 9, 255]
    assert np.array_equal(as_mask(cutout, "x"), [[1, 0], [0, 0]])
    cutout[..., 3], cutout[0, 1, :3] = 255, 255
    assert np.array_equal(as_mask(cutout, "x"), [[0, 1], [0, 0]])
    assert np.array_equal(as_mask(np.array([[0, 65535]], np.uint16), "x"), [[0, 1]])
    assert np.array_equal(as_mask(np.array([[True, False]]), "x"), [[1, 0]])
    assert np.array_equal(as_mask(np.array([[127, 128, 255]], np.uint8), "x"), [[0, 1, 1]])


def drop_picture(folder, truth):
    pattern = write_pictures(folder, truth)
    (folder / "a/5.png").unlink()
    return pattern


def drop_last_picture(folder, truth):
    pattern = write_pictures(folder, truth)
    (folder / "a/11.png").unlink()
    return pattern


def break_picture(folder, truth):
    pattern = write_pictures(folder, truth)
    (folder / "a/5.png").write_text("no picture")
    return pattern


def name_picture_twice(folder, truth):
    pattern = write_pictures(folder, truth)
    (folder / "a/05.png").write_bytes((folder / "a/5.png").read_bytes())
    return pattern


def name_without_number(folder, truth):
    pattern = write_pictures(folder, truth)
    (folder / "a/mask.png").write_bytes((folder / "a/5.png").read_bytes())
    return pattern


def of_another_size(folder, truth):
    return write_pictures(folder, truth[..., :-2])


def no_pictures(folder, truth):
    (folder / "a").mkdir()
    return f"{folder}/{{camera}}"


def labels(folder, truth):
    pictures(folder / "a", truth[0])
    cv2.imwrite(str(folder / "a/3.png"), truth[0, 3] * 7)
    return f"{folder}/{{camera}}"


def text(name, content):
    def write(folder, truth):
        (folder / name).write_text(content)
        return f"{folder}/{name}".replace("a.json", "{camera}.json")

    return write


def edited_coco(edit):
    def write(folder, truth):
        content = coco(truth[0])
        edit(content)
        (folder / "a.json").write_text(json.dumps(content))
        return f"{folder}/{{camera}}.json"

    return write


def with_counts(counts):
    return edited_coco(lambda c: c["annotations"][0]["segmentation"].update(counts=counts))


def damaged_hdf5(folder, truth):
    pattern = write_hdf5(folder, truth)
    content = (folder / "m.h5").read_bytes()
    (folder / "m.h5").write_bytes(content[: len(content) // 2])
    return pattern


BAD = {
    "a gap": (drop_picture, "a: picture 5 is missing (1 in all, between 0 and 11)"),
    "one too few": (drop_last_picture, "there are 11 masks, but"),
    "no picture": (break_picture, "5.png: cannot read the picture"),
    "a number twice": (name_picture_twice, "have one number"),
    "no number": (name_without_number, "mask.png: the name has no number"),
    "wrong size": (of_another_size, "frame 0: the mask is 34 x 24 pixels, but"),
    "empty folder": (no_pictures, "a: the folder holds no pictures .png"),
    "frame in a folder": (lambda *_: "m/{frame}/{camera}.png", "must stand in the file's name"),
    "one file for all": (lambda folder, _: f"{folder}/none.mp4", "masks in config needs {camera}"),
    "labels": (labels, "frame 3: values go from 0 to 7, but a mask is 0 and 1, or 0 to 255"),
    "no file": (lambda folder, _: f"{folder}/{{camera}}.mp4", "a.mp4: no such video"),
    "no json": (text("a.json", '{"images": ['), "a.json: not a COCO file (JSONDecodeError"),
    "json without images": (text("a.json", "{}"), "a.json: not a COCO file (KeyError: 'images')"),
    "json of a list": (text("a.json", "[1]"), "a.json: not a COCO file (TypeError"),
    "unknown image": (
        edited_coco(lambda c: c["annotations"][0].update(image_id=99)),
        "not a COCO file (KeyError: 99)",
    ),
    "an image too few": (
        edited_coco(lambda c: c.update(images=c["images"][1:], annotations=[])),
        "there are 11 masks, but",
    ),
    "runs too short": (with_counts([3, 4]), "run lengths do not add up to the picture"),
    "runs below 0": (with_counts([HEIGHT * WIDTH + 4, -4]), "run lengths do not add up"),
    "runs of nonsense": (with_counts(5), "image 0.png: the segmentation cannot be decoded"),
    "text too long": (
        with_counts(compressed([10, HEIGHT * WIDTH])),
        "image 0.png: the segmentation cannot be decoded",
    ),
    "hdf5 cut off": (damaged_hdf5, "the file is damaged"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_masks_are_named(tmp_path, truth, video, name):
    write, message = BAD[name]
    with pytest.raises(PoseSplatterError) as error:
        list(read_masks(write(tmp_path, truth), "a", CAMERAS, video))
    assert message in str(error.value), error.value


@pytest.mark.parametrize("store", ["h5", "zarr"])
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((N, HEIGHT, WIDTH + 1), "masks has shape (12, 24, 37); for 2 cameras and"),
        ((N - 1, 2, HEIGHT, WIDTH), "it must be (12, 24, 36) (frame height width)"),
        ((3, N, HEIGHT, WIDTH), "one more axis of 2 before or after the frames"),
    ],
)
def test_arrays_of_a_wrong_shape(tmp_path, video, store, shape, message):
    path = tmp_path / f"m.{store}"
    if store == "h5":
        with h5py.File(path, "w") as file:
            file["masks"] = np.zeros(shape, np.uint8)
    else:
        zarr.save(path, np.zeros(shape, np.uint8))
    with pytest.raises(PoseSplatterError) as error:
        list(read_masks(str(path), "a", CAMERAS, video))
    assert message in str(error.value)


def test_an_array_of_fractions_or_none_at_all(tmp_path, video):
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["x"], file["y"] = np.zeros((N, HEIGHT, WIDTH)), np.zeros(3)
    for inside, message in (("x", "x holds float64"), ("", "no array 'masks' in it, but x, y")):
        with pytest.raises(PoseSplatterError, match=message):
            list(read_masks(f"{tmp_path}/m.h5/{inside}".rstrip("/"), "a", CAMERAS, video))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda masks: 1 - masks, "it is inverted; negate the masks"),
        (np.ones_like, "the mask is white all over"),
        (np.zeros_like, "the mask is black in all frames looked at"),
    ],
)
def test_masks_inverted_all_on_all_off(tmp_path, truth, change, message):
    write_video(tmp_path / "good.mp4", truth[0] * np.uint8(255))
    check_masks([tmp_path / "good.mp4"])
    write_video(tmp_path / "bad.mp4", change(truth[0]) * np.uint8(255))
    with pytest.raises(PoseSplatterError) as error:
        check_masks([tmp_path / "good.mp4", tmp_path / "bad.mp4"])
    assert "bad.mp4" in str(error.value)
    assert message in str(error.value)


def test_a_camera_close_up_is_not_inverted(tmp_path):
    """The animal fills most of the picture, and the picture's border is black all the same."""
    masks = np.zeros((N, HEIGHT, WIDTH), np.uint8)
    masks[:, 2:-2, 2:-2] = 255
    assert (masks > 0).mean() > 0.6
    write_video(tmp_path / "close.mp4", masks)
    check_masks([tmp_path / "close.mp4"])


def test_few_frames_do_not_decide_on_masks(tmp_path, truth, monkeypatch):
    """One key frame is not enough to accept them, and key frames alone not to refuse them."""
    masks = np.concatenate([truth[0]] * 5)[:30]
    inverted = np.where(np.arange(30)[:, None, None] == 0, masks, 1 - masks)
    write_video(tmp_path / "inverted.mp4", inverted * np.uint8(255), gop=30)
    with pytest.raises(PoseSplatterError, match="it is inverted"):
        check_masks([tmp_path / "inverted.mp4"])
    monkeypatch.setattr(masks_module, "key_frames", lambda path: np.array([0, 10]))
    with pytest.raises(PoseSplatterError, match="it is inverted"):
        check_masks([tmp_path / "inverted.mp4"])
    monkeypatch.undo()
    gaps = np.zeros((30, 96, 128), np.uint8)  # grey, so that the encoder sees no cuts
    gaps[:, 40:46, 60:66] = np.where(np.arange(30) % 5 > 0, 140, 110)[:, None, None]
    write_video(tmp_path / "gaps.mp4", gaps, gop=5)
    assert key_frames(tmp_path / "gaps.mp4").tolist() == [*range(0, 30, 5)]
    check_masks([tmp_path / "gaps.mp4"])
