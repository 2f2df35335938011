"""The stores: parts, gathering, Zarr, all with the same bytes; and masks that are empty."""

import shutil

import av
import h5py
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from pose_splatter import cameras
from pose_splatter.contact_sheet import read_pictures
from pose_splatter.errors import PoseSplatterError
from pose_splatter.frames import (
    CameraFiles,
    FrameStore,
    chunk_of,
    gather_parts,
    mask_box,
    prepare_frame,
    split_frames,
    write_part,
    write_zarr,
)
from pose_splatter.tracking import sample_path
from pose_splatter.video import describe_recording

from ..conftest import DAMAGES, ring_rig, write_video


def camera_files(folder, rig):
    return [
        CameraFiles(name, folder / f"video{name}.mp4", folder / f"mask{name}.mp4")
        for name in rig.names
    ]


def test_downsampling_averages_the_animal_alone():
    """Half of the left block is animal: it keeps its colour; a quarter of the right one: white."""
    image = np.full((2, 4, 3), 200, np.uint8)
    mask = np.array([[1, 1, 1, 0], [0, 0, 0, 0]], np.uint8)
    image[mask > 0] = [[10, 20, 30], [30, 40, 50], [0, 0, 0]]
    small, small_mask = prepare_frame(image, mask, 2)
    np.testing.assert_array_equal(small_mask, [[1, 0]])
    np.testing.assert_array_equal(small, [[[20, 30, 40], [255, 255, 255]]])


def test_white_fur_stays_in_the_mask():
    image = np.full((8, 8, 3), 255, np.uint8)
    mask = np.zeros((8, 8), np.uint8)
    mask[2:6, 2:6] = 1
    assert prepare_frame(image, mask, 2)[1].sum() == 4


def average_blocks(image, mask, downsample):
    """What `prepare_frame` promises, block by block over the whole picture."""
    small_mask = np.zeros([size // downsample for size in mask.shape], np.uint8)
    small = np.full((*small_mask.shape, 3), 255, np.uint8)
    for row, column in np.ndindex(small_mask.shape):
        top, left = row * downsample, column * downsample
        block = slice(top, top + downsample), slice(left, left + downsample)
        animal = mask[block] > 0
        if animal.mean() >= 0.5:
            small[row, column] = np.rint(image[block][animal].mean(axis=0))
            small_mask[row, column] = 1
    return small, small_mask


@pytest.mark.parametrize("downsample", [1, 2, 4])
@pytest.mark.parametrize("share", [1.0, 0.6])
@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        pytest.param((5, 9), (3, 12), id="inside"),
        pytest.param((0, 3), (0, 5), id="first corner"),
        pytest.param((7, 13), (11, 18), id="last rows and columns"),
        pytest.param((12, 13), (0, 18), id="rest that is cut off"),
        pytest.param((0, 13), (0, 18), id="everywhere"),
        pytest.param((0, 0), (0, 0), id="nowhere"),
    ],
)
def test_the_masks_box_is_averaged_as_the_whole_picture(rows, columns, share, downsample):
    """13 x 18 pixels: no multiples of 4, and 13 none of 2."""
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (13, 18, 3), np.uint8)
    mask = np.zeros((13, 18), np.uint8)
    box = slice(*rows), slice(*columns)
    mask[box] = random.random(mask[box].shape) < share
    expected, expected_mask = average_blocks(image, mask, downsample)
    small, small_mask = prepare_frame(image, mask, downsample)
    np.testing.assert_array_equal(small_mask, expected_mask)
    np.testing.assert_array_equal(small, expected)


@pytest.mark.parametrize(("downsample", "count"), [(1, 3), (3, 8)])
def test_parts_gather_to_what_one_part_holds(tmp_path, small_recording, downsample, count):
    rig = ring_rig()
    files = camera_files(small_recording, rig)
    frames = range(3, 27, 2)
    write_part(tmp_path / "one.h5", rig, files, frames, downsample, recording="balls", fps=30.0)
    gather_parts(tmp_path / "whole.h5", [tmp_path / "one.h5"])
    parts = [tmp_path / f"part{n}.h5" for n in range(count)]
    for n, part in enumerate(parts):
        chunk = chunk_of(frames, f"{n + 1}-of-{count}")
        write_part(part, rig, files, chunk, downsample, recording="balls", fps=30.0)
    gather_parts(tmp_path / "images.h5", parts)
    assert (tmp_path / "images.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()
    write_zarr(tmp_path / "images.zarr", tmp_path / "images.h5")
    store = FrameStore.open(tmp_path / "images.zarr")
    with h5py.File(tmp_path / "whole.h5") as whole, h5py.File(tmp_path / "images.h5") as gathered:
        assert dict(gathered.attrs)["recording"] == "balls"
        for name in ("images", "masks", "source_frames"):
            np.testing.assert_array_equal(whole[name][:], gathered[name][:])
        for frame in range(len(frames)):
            np.testing.assert_array_equal(store.read_images(frame), whole["images"][frame])
            np.testing.assert_array_equal(store.read_masks(frame), whole["masks"][frame])
        outside = gathered["masks"][:] == 0
        assert (gathered["images"][:][outside] == 255).all()
        assert set(np.unique(gathered["masks"][:])) == {0, 1}
    assert store.cameras == rig.names
    assert store.downsample == downsample
    np.testing.assert_array_equal(store.source_frames, frames)
    n_files = len(list((tmp_path / "images.zarr/images").iterdir()))
    assert n_files == len(frames) + 1, "a frame is a file, not a folder of folders"
    assert zarr.open_group(tmp_path / "images.zarr").attrs["fps"] == 30.0
    assert not list(tmp_path.glob(".*tmp*"))


def test_damaged_chunks_are_found_on_the_way_to_zarr(tmp_path, small_recording):
    rig = ring_rig()
    write_part(tmp_path / "i.h5", rig, camera_files(small_recording, rig), range(2), 4)
    with h5py.File(tmp_path / "i.h5") as file:
        chunk = file["images"].id.get_chunk_info(1)
    content = bytearray((tmp_path / "i.h5").read_bytes())
    middle = chunk.byte_offset + chunk.size // 2
    content[middle : middle + 16] = bytes(16)
    (tmp_path / "i.h5").write_bytes(bytes(content))
    with pytest.raises(PoseSplatterError, match=r"i\.h5: frame 1 of images is damaged"):
        write_zarr(tmp_path / "i.zarr", tmp_path / "i.h5")
    assert not (tmp_path / "i.zarr").exists()


def delete(path):
    path.unlink()


@pytest.mark.parametrize("damage", [*DAMAGES, "missing"])
@pytest.mark.parametrize("name", ["images", "masks"])
def test_a_damaged_chunk_is_named_and_made_anew(tmp_path, small_recording, name, damage):
    rig, source, store = ring_rig(), tmp_path / "i.h5", tmp_path / "images.zarr"
    write_part(source, rig, camera_files(small_recording, rig), range(2), 4)
    write_zarr(store, source)
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    chunk = next((store / name).glob("c.1.*"))
    DAMAGES.get(damage, delete)(chunk)
    frames = FrameStore.open(store)
    read = frames.read_images if name == "images" else frames.read_masks
    read(0)
    with pytest.raises(
        PoseSplatterError,
        match=rf"images\.zarr: frame 1 of {name} is damaged .* delete images\.zarr and run",
    ):
        read(1)
    shutil.rmtree(store)
    write_zarr(store, source)
    after = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize("damage", ["cut short", "empty"])
def test_a_damaged_store_is_named(tmp_path, small_recording, damage):
    rig = ring_rig()
    write_part(tmp_path / "i.h5", rig, camera_files(small_recording, rig), range(2), 4)
    write_zarr(tmp_path / "i.zarr", tmp_path / "i.h5")
    for path in (tmp_path / "i.zarr/images/zarr.json", tmp_path / "i.h5"):
        DAMAGES[damage](path)
    with pytest.raises(PoseSplatterError, match=r"i\.zarr: the store is damaged .* delete i\.zarr"):
        FrameStore.open(tmp_path / "i.zarr")
    with pytest.raises(PoseSplatterError, match=r"i\.h5: the file is damaged .* delete i\.h5 and"):
        write_zarr(tmp_path / "other.zarr", tmp_path / "i.h5")


def test_preprocessing_on_a_full_disk(tmp_path, small_recording, small_disk):
    rig, videos = ring_rig(), camera_files(small_recording, ring_rig())
    write_part(tmp_path / "i.h5", rig, videos, range(9), 2)
    write_zarr(tmp_path / "i.zarr", tmp_path / "i.h5")
    part, store = small_disk.folder / "i.h5", small_disk.folder / "i.zarr"
    size = (tmp_path / "i.h5").stat().st_size // 1024
    small_disk.resize(size // 2)
    with pytest.raises(PoseSplatterError, match=r"i\.h5: the disk is full; free some space"):
        write_part(part, rig, videos, range(9), 2)
    assert not list(small_disk.folder.iterdir())
    small_disk.resize(size * 3 // 2)
    write_part(part, rig, videos, range(9), 2)
    with pytest.raises(PoseSplatterError, match=r"i\.zarr: the disk is full; free some space"):
        write_zarr(store, part)
    assert [path.name for path in small_disk.folder.iterdir()] == ["i.h5"]
    assert part.read_bytes() == (tmp_path / "i.h5").read_bytes()
    small_disk.resize(size * 8)
    write_zarr(store, part)
    for path in (tmp_path / "i.zarr").rglob("c.*"):
        assert (store / path.relative_to(tmp_path / "i.zarr")).read_bytes() == path.read_bytes()


def test_an_empty_mask_is_named_and_nothing_is_left(tmp_path, small_recording):
    rig = ring_rig().subset([0, 1])
    files = camera_files(small_recording, rig)
    masks = np.zeros((30, rig.height, rig.width), np.uint8)
    masks[:, 40:60, 40:60] = 255
    masks[[7, 8]] = 0
    write_video(tmp_path / "holes.mp4", masks)
    files[1] = CameraFiles("1", files[1].video, tmp_path / "holes.mp4")
    with pytest.raises(PoseSplatterError, match=r"holes\.mp4: .*camera 1 is empty in frame 7"):
        write_part(tmp_path / "part.h5", rig, files, range(30), 2)
    assert list(tmp_path.iterdir()) == [tmp_path / "holes.mp4"]
    write_part(tmp_path / "part.h5", rig, files, range(30), 2, allow_empty_masks=True)
    with h5py.File(tmp_path / "part.h5") as part:
        assert not part["masks"][7, 1].any()


def test_distortion_is_removed_from_images_and_masks(tmp_path):
    """A disc drawn where the distorting camera sees it comes out where the pinhole would."""
    rig = ring_rig().subset([0])
    k1 = -2.0
    distorted = cameras.CameraRig(
        rig.names, rig.width, rig.height, rig.intrinsics, rig.rotations, rig.translations,
        np.array([[k1, 0, 0, 0, 0]]),
    )  # fmt: skip
    target = np.array([40.5, 30.5])
    ray = (target - rig.intrinsics[0, :2, 2]) / 300
    seen = 300 * ray * (1 + k1 * (ray @ ray)) + rig.intrinsics[0, :2, 2]
    v, u = np.mgrid[: rig.height, : rig.width] + 0.5
    disc = (np.hypot(u - seen[0], v - seen[1]) < 4).astype(np.uint8)
    write_video(tmp_path / "m.mp4", np.stack([disc, 0 * disc]) * np.uint8(255))
    write_part(
        tmp_path / "p.h5", distorted, [CameraFiles("0", tmp_path / "m.mp4", tmp_path / "m.mp4")],
        range(2), 1,
    )  # fmt: skip
    with h5py.File(tmp_path / "p.h5") as part:
        rows, columns = np.nonzero(part["masks"][0, 0])
        assert (part["images"][0, 0][rows, columns] >= 128).all(), "the image moves with its mask"
        assert not part["masks"][1].any()
        assert (part["images"][1] == 255).all()
    np.testing.assert_allclose([columns.mean() + 0.5, rows.mean() + 0.5], target, atol=0.4)
    assert np.linalg.norm(seen - target) > 2


@given(st.integers(0, 200), st.integers(1, 12))
def test_chunks_cover_the_frames_once(n_frames, count):
    frames = range(5, 5 + 3 * n_frames, 3)
    chunks = [chunk_of(frames, f"{n + 1}-of-{count}") for n in range(count)]
    assert [frame for chunk in chunks for frame in chunk] == list(frames)
    sizes = [len(chunk) for chunk in chunks]
    assert max(sizes) - min(sizes) <= 1


def test_the_box_of_a_mask():
    for rows, columns in ((0, 0), (5, 8), (0, 8), (3, 4)):
        mask = np.zeros((6, 9), np.uint8)
        mask[rows, columns] = 1
        assert mask_box(mask) == (slice(rows, rows + 1), slice(columns, columns + 1))
        mask[2, 6] = 1
        assert mask[mask_box(mask)].sum() == mask.sum()
    for shape in ((6, 9), (0, 9), (6, 0)):
        assert mask_box(np.zeros(shape, np.uint8)) == (slice(0, 0), slice(0, 0))


@given(st.integers(3, 1000))
def test_splits_are_thirds_in_order_of_time(n_frames):
    split = split_frames(n_frames, [0.3333, 0.3333, 0.3334])
    assert [*split.train, *split.valid, *split.test] == list(range(n_frames))
    assert all(abs(len(part) - n_frames / 3) <= 1 for part in (split.train, split.valid))


def drop_first_frames(source, target, count):
    """The same packets, bit by bit, from the key frame `count` on."""
    with av.open(str(source)) as file, av.open(str(target), "w") as copy:
        stream = file.streams.video[0]
        copied = copy.add_stream_from_template(stream)
        packets = [packet for packet in file.demux(stream) if packet.size]
        keys = [number for number, packet in enumerate(packets) if packet.is_keyframe]
        assert count in keys
        start = packets[count].pts
        for packet in packets[count:]:
            packet.pts, packet.dts, packet.stream = packet.pts - start, packet.dts - start, copied
            copy.mux(packet)


@pytest.mark.parametrize("late", ["one camera", "all others"])
def test_offsets_give_what_cameras_in_step_give(tmp_path, small_recording, late):
    """Cameras start ten frames late: what is read is what was read before, frame by frame."""
    rig, names = ring_rig(), [f"{kind}{n}.mp4" for kind in ("video", "mask") for n in range(6)]
    for name in names:
        if ("3" in name) == (late == "one camera"):
            drop_first_frames(small_recording / name, tmp_path / name, 10)
        else:
            shutil.copy(small_recording / name, tmp_path / name)
    offsets = [0, 0, 0, -10 if late == "one camera" else 10, 0, 0]
    paths = [[folder / name for name in names] for folder in (small_recording, tmp_path)]
    plain = describe_recording(paths[0][:6], paths[0][6:], start=10)
    shifted = describe_recording(paths[1][:6], paths[1][6:], offsets=offsets, stop=None)
    frames = [plain.source_frames, shifted.source_frames]
    assert list(frames[1]) == [n - 10 * (late == "all others") for n in frames[0]]
    shifts = [plain.offsets, shifted.offsets]
    stores = []
    for folder, chosen, by in zip((small_recording, tmp_path), frames, shifts, strict=True):
        files = [
            CameraFiles(file.name, file.video, file.masks, offset)
            for file, offset in zip(camera_files(folder, rig), by, strict=True)
        ]
        path = tmp_path / f"{folder.name}.h5"
        write_part(path, rig, files, chosen, 2)
        with h5py.File(path) as store:
            stores.append((store["images"][:], store["masks"][:]))
            np.testing.assert_array_equal(store["source_frames"][:], list(chosen))
    for one, other in zip(*stores, strict=True):
        np.testing.assert_array_equal(one, other)
    tracks = [
        sample_path(rig, masks[6:], chosen, by)
        for masks, chosen, by in zip(paths, frames, shifts, strict=True)
    ]
    np.testing.assert_array_equal(*tracks)
    pictures = [
        read_pictures(videos[:6], rig, list(chosen)[4:6], by, 2)
        for videos, chosen, by in zip(paths, frames, shifts, strict=True)
    ]
    np.testing.assert_array_equal(*pictures)
