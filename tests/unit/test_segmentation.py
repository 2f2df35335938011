"""Masks from raw videos: scenes whose masks are known, small and drawn on the spot."""

from dataclasses import replace

import cv2
import h5py
import numpy as np
import pytest

from pose_splatter import video
from pose_splatter.cameras import filmed_pixels
from pose_splatter.errors import PoseSplatterError
from pose_splatter.frames import chunk_of
from pose_splatter.masks import write_mask_video
from pose_splatter.segmentation.background import (
    background_of,
    gain,
    most_different,
    read_scene,
    telling_pictures,
    thumbnail,
)
from pose_splatter.segmentation.floor import save_floor
from pose_splatter.segmentation.foreground import (
    ForegroundSettings,
    calibrate_shadows,
    clean,
    segment,
)
from pose_splatter.segmentation.network import SaliencyNetwork, _leads_out
from pose_splatter.segmentation.recording import (
    load_model,
    make_segmenter,
    model_camera,
    read_parts,
    save_model,
    steady,
    write_mask_part,
)
from pose_splatter.segmentation.vote import Vote
from pose_splatter.video import VideoInfo, index_of, probe, read_frames, save_indexes

from ..conftest import ring_rig, silhouettes, walking_balls, write_video

HEIGHT, WIDTH = 96, 128
SETTINGS = ForegroundSettings()
FUR = np.array([70.0, 30.0, 40.0])


def floor() -> np.ndarray:
    """A textured floor, brighter on one side."""
    grain = np.random.default_rng(1).normal(0, 6, (HEIGHT, WIDTH))
    texture = 140 + cv2.GaussianBlur(grain, (0, 0), 1.5) * 4
    return texture[..., None] * np.array([1.0, 0.95, 0.85]) * np.linspace(0.8, 1.2, WIDTH)[:, None]


def body(x: float, y: float) -> np.ndarray:
    """(h w) of 0 and 1: a body with a thin tail."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.ellipse(mask, (round(x), round(y)), (14, 9), 0, 0, 360, 1, -1)
    cv2.line(mask, (round(x) + 12, round(y)), (round(x) + 30, round(y) + 6), 1, 2)
    return mask


def scene(places, shadow=1.0, light=None, seed=0) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (frame h w 3) and their true masks of an animal at the given places."""
    rng, ground = np.random.default_rng(seed), floor()
    pictures, masks = [], []
    for frame, (x, y) in enumerate(places):
        mask = body(x, y)
        dark = np.roll(mask, (8, 6), (0, 1))
        picture = ground * np.where(dark, shadow, 1.0)[..., None]
        picture = np.where(mask[..., None] > 0, FUR, picture)
        picture *= 1.0 if light is None else light[frame]
        picture += rng.normal(0, 2, picture.shape)
        pictures.append(picture.round().clip(0, 255).astype(np.uint8))
        masks.append(mask)
    return np.stack(pictures), np.stack(masks)


def path(n_frames: int) -> np.ndarray:
    """Places all over the picture."""
    angles = np.linspace(0, 2 * np.pi, n_frames, endpoint=False)
    return np.stack([50 + 28 * np.cos(angles), 42 + 22 * np.sin(angles)], axis=-1)


def iou(mask: np.ndarray, truth: np.ndarray) -> float:
    return float(((mask > 0) & (truth > 0)).sum() / ((mask > 0) | (truth > 0)).sum())


def scores(pictures, masks, settings=SETTINGS) -> np.ndarray:
    camera = calibrate_shadows(list(pictures), background_of(pictures), settings)
    made = [segment(picture, camera, settings) for picture in pictures]
    return np.array([iou(mine, truth) for mine, truth in zip(made, masks, strict=True)])


# --- background --------------------------------------------------------------------------------


def test_the_background_is_the_floor_where_the_animal_never_rests():
    background = background_of(scene(path(30))[0])
    assert np.abs(background.picture - floor()).mean() < 1.0
    assert 1.5 <= np.median(background.noise) < 3


def test_frames_are_chosen_that_differ():
    """Of a recording in which the animal rests for two thirds, few of the frames at rest."""
    pictures, _ = scene([*path(20), *[(50.0, 42.0)] * 40])
    chosen = most_different(np.stack([thumbnail(picture) for picture in pictures]), 24)
    assert sum(frame >= 20 for frame in chosen) <= 6
    assert len(set(chosen)) == len(chosen)


def test_the_background_has_no_ghost_of_a_resting_animal(tmp_path):
    pictures, masks = scene([*path(20), *[(50.0, 42.0)] * 40])
    write_video(tmp_path / "v.mp4", pictures, crf=8)
    background = background_of(telling_pictures(tmp_path / "v.mp4", range(60)))
    resting = masks[-1] > 0
    assert np.abs(np.median(pictures, axis=0) - floor())[resting].mean() > 40, "a plain median has"
    assert np.abs(background.picture - floor())[resting].mean() < 4


def trembling(n_frames: int) -> np.ndarray:
    """Places of an animal that stays where it is, and never quite still."""
    return np.array([60.0, 48.0]) + np.random.default_rng(3).uniform(-3, 3, (n_frames, 2))


def test_an_empty_scene_shows_what_an_animal_that_stays_hides():
    pictures, masks = scene(trembling(30))
    patches = cv2.resize(np.random.default_rng(4).uniform(0.5, 2, (24, 32)), (WIDTH, HEIGHT))
    for picture, mask, (x, y) in zip(pictures, masks, trembling(30), strict=True):
        coat = np.roll(patches, (round(y), round(x)), (0, 1))  # it moves along
        picture[mask > 0] = (picture * coat[..., None])[mask > 0].clip(0, 255)
    core = masks.min(axis=0) > 0
    assert core.sum() > 100
    empty = (floor() * 0.9).round().astype(np.uint8)  # in other light
    empty[5:25, 5:25] = (20, 200, 20)  # somebody, who is not there in the recording
    empty[70:90, 90:110] = (200, 20, 20)
    alone, helped = background_of(pictures), background_of(pictures, empty)
    assert np.abs(alone.picture - floor())[core].mean() > 40, "a ghost"
    assert np.abs(helped.picture - floor())[core].mean() < 3
    somebody = np.abs(empty / 0.9 - floor()).max(axis=-1) > 25
    assert np.abs(helped.picture - floor())[somebody].mean() < 3
    camera = calibrate_shadows(list(pictures), helped, SETTINGS)
    made = [segment(picture, camera, SETTINGS) for picture in pictures]
    assert np.median([iou(*pair) for pair in zip(made, masks, strict=True)]) > 0.9


def test_noise_is_not_that_of_an_animal_that_is_often_there():
    pictures, masks = scene([*path(24), *trembling(12)])
    often = masks.mean(axis=0) > 0.35
    assert often.sum() > 100
    noise = background_of(pictures).noise
    assert noise[often].max() < 2 * np.median(noise)


def test_an_empty_scene_is_a_picture_or_a_video_of_the_same_size(tmp_path):
    ground = floor().round().astype(np.uint8)
    cv2.imwrite(str(tmp_path / "empty.png"), ground[..., ::-1])
    assert (read_scene(tmp_path / "empty.png", HEIGHT, WIDTH) == ground).all()
    moving, _ = scene(path(9))
    write_video(tmp_path / "empty.mp4", moving, crf=1)
    assert np.abs(read_scene(tmp_path / "empty.mp4", HEIGHT, WIDTH) - floor()).mean() < 5
    with pytest.raises(
        PoseSplatterError, match=r"empty.png: .* has 128 x 96 pixels, but the video 96"
    ):
        read_scene(tmp_path / "empty.png", WIDTH, HEIGHT)


def test_a_covered_pixel_is_found_in_less_than_half_of_the_frames():
    """The floor in 12 frames, fur that looks different each time in 18."""
    pictures = np.full((30, 16, 16, 3), 120, np.uint8)
    shades = np.random.default_rng(0).integers(0, 255, (18, 1, 1, 1))
    pictures[6:24] = shades
    assert np.abs(background_of(pictures).picture - 120).max() < 8


def test_gain_follows_the_light_and_ignores_the_animal():
    pictures, _ = scene(path(3), light=[1.0, 0.8, 1.2])
    measured = [float(gain(picture, floor()).mean()) for picture in pictures]
    assert np.allclose(measured, [1.0, 0.8, 1.2], atol=0.02)


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        (np.full((20, 48, 64, 3), 90, np.uint8), "nothing moves in the frames that config chooses"),
        (
            np.random.default_rng(0)
            .integers(0, 2, (20, 6, 8, 1), np.uint8)
            .repeat(8, 1)
            .repeat(8, 2)
            .repeat(3, 3)
            * np.uint8(200),
            "needs a camera that stands still in steady light",
        ),
    ],
)
def test_a_scene_without_animal_or_with_a_moving_camera_is_refused(tmp_path, pictures, message):
    write_video(tmp_path / "v.mp4", pictures)
    with pytest.raises(PoseSplatterError, match=message):
        telling_pictures(tmp_path / "v.mp4", range(20))


# --- foreground --------------------------------------------------------------------------------


def test_masks_of_an_animal_on_a_textured_floor():
    assert np.median(scores(*scene(path(24)))) > 0.93


def test_shadows_are_no_animal():
    pictures, masks = scene(path(24), shadow=0.55)
    tolerant = np.median(scores(pictures, masks))
    strict = np.median(scores(pictures, masks, ForegroundSettings(shadow=1.0)))
    assert tolerant > 0.88
    assert strict < 0.75, "without tolerance, the shadow is in the mask"


def test_flickering_light_changes_nothing():
    light = 1 + 0.15 * np.sin(np.arange(24))
    assert np.median(scores(*scene(path(24), light=light))) > 0.93


def test_the_tail_stays_and_specks_go():
    mask = body(40, 40)
    dirty = mask.copy()
    dirty[5:7, 5:7] = 1
    dirty[40:42, 38:40] = 0
    cleaned = clean(dirty)
    assert np.array_equal(cleaned[:20, :20], np.zeros((20, 20)))
    assert cleaned[40:42, 38:40].all()
    assert iou(cleaned, mask) > 0.97


def test_a_hole_that_shows_the_floor_stays_and_one_that_changed_is_filled():
    ring = np.zeros((60, 60), np.uint8)
    cv2.circle(ring, (30, 30), 20, 1, -1)
    cv2.circle(ring, (30, 30), 6, 0, -1)
    assert clean(ring, np.zeros_like(ring))[30, 30] == 0
    assert clean(ring, np.ones_like(ring))[30, 30] == 1


def test_an_empty_scene_has_an_empty_mask():
    pictures, _ = scene(path(24))
    camera = calibrate_shadows(list(pictures), background_of(pictures), SETTINGS)
    empty = floor() + np.random.default_rng(5).normal(0, 2, (HEIGHT, WIDTH, 3))
    assert not segment(empty.round().clip(0, 255).astype(np.uint8), camera, SETTINGS).any()


def test_pieces_that_flash_up_go():
    """In one camera; what another one shows does not matter."""
    still, flash = np.zeros((3, 2, 100, 100), np.uint8), np.s_[1, 0, 10:14, 10:14]
    still[:, :, 50:70, 50:70] = 1
    still[:, 1, 10:14, 10:14] = 1
    masks = still.copy()
    masks[flash] = 1
    assert np.array_equal(list(steady(iter(masks))), still)
    masks[0][flash[1:]] = 1
    assert list(steady(iter(masks)))[1][0, 12, 12], "what was there the frame before stays"


def test_parts_are_cleaned_in_time_across_their_ends(tmp_path):
    """What flashes up goes; what is there in a part's last frame and the next one's first stays."""
    pictures = np.zeros((12, HEIGHT, WIDTH, 3), np.uint8)
    pictures[:, 40:70, 50:80] = 255
    flash, short = np.s_[3, 8:16, 8:16], np.s_[5:7, 80:88, 8:16]
    pictures[flash] = pictures[short] = 255
    write_video(tmp_path / "v.mp4", pictures)
    parts = [tmp_path / "first.h5", tmp_path / "second.h5"]
    for part, frames in zip(parts, (range(6), range(6, 12)), strict=True):
        files, index = (part, [tmp_path / "v.mp4"]), [index_of(tmp_path / "v.mp4")]
        write_mask_part(*files, bright, None, [0], range(12), frames, index)
    info = VideoInfo(tmp_path / "v.mp4", 12, WIDTH, HEIGHT, 30.0)
    pictures[flash] = 0
    np.testing.assert_array_equal(list(read_parts(parts, 0, info)), pictures[..., 0] > 0)


def bright(pictures) -> np.ndarray:
    """A segmenter: what is bright."""
    return (np.stack(pictures)[..., 0] > 128).view(np.uint8)


# --- vote --------------------------------------------------------------------------------------


@pytest.fixture
def rig():
    return ring_rig(6)


@pytest.fixture
def masks(rig):
    return silhouettes(rig, walking_balls(30)[10], radius=22)


def corner(mask: np.ndarray) -> np.ndarray:
    """A reflection far from the animal."""
    mask = mask.copy()
    mask[:12, :12] = 1
    return mask


def test_what_all_see_stays_and_what_one_sees_goes(rig, masks):
    vote = Vote.of(rig, range(6), grid=48)
    assert np.array_equal(vote(masks), masks)
    disturbed = masks.copy()
    disturbed[2] = corner(masks[2])
    assert np.array_equal(vote(disturbed), masks)


def test_a_body_seen_by_no_two_cameras_is_no_body(rig, masks):
    alone = np.zeros_like(masks)
    alone[1] = masks[1]
    assert not Vote.of(rig, range(6), grid=48)(alone).any()


def test_distorted_cameras_vote_where_they_see(rig, masks):
    """Cameras with strong distortion: masks drawn where they really see the balls."""
    distorted = replace(rig, distortions=np.tile([-0.35, 0.1, 0.002, -0.001, 0], (6, 1)))
    balls = walking_balls(30)[10]
    seen = np.zeros_like(masks)
    for camera in range(6):
        turn, _ = cv2.Rodrigues(rig.rotations[camera])
        pixels, _ = cv2.projectPoints(
            balls,
            turn,
            rig.translations[camera],
            rig.intrinsics[camera],
            distorted.distortions[camera],
        )
        for u, v in pixels[:, 0]:
            cv2.circle(seen[camera], (round(u), round(v)), 6, 1, -1)
    assert np.array_equal(Vote.of(distorted, range(6), grid=48)(seen), seen)


def test_fisheye_cameras_vote_where_they_see(rig, masks):
    strong = np.tile([0.3, -0.1, 0.0, 0.0], (6, 1))
    fisheye = replace(rig, distortions=strong, fisheye=rig.names)
    seen = np.zeros_like(masks)
    for camera in range(6):
        for u, v in filmed_pixels(fisheye, camera, walking_balls(30)[10]):
            cv2.circle(seen[camera], (round(u), round(v)), 6, 1, -1)
    assert np.array_equal(Vote.of(fisheye, range(6), grid=48)(seen), seen)


def test_held_out_cameras_have_no_vote_and_keep_their_pieces_whole(rig, masks):
    observed = [0, 1, 2, 3, 5]
    vote = Vote.of(rig, observed, grid=48)
    disturbed = masks.copy()
    disturbed[4] = 1 - masks[4]
    assert np.array_equal(vote.body(disturbed), vote.body(masks))
    assert np.array_equal(vote(disturbed)[observed], vote(masks)[observed])
    attached = masks.copy()  # a smear that only the held-out camera sees, grown onto the animal
    rows, columns = np.nonzero(masks[4])
    attached[4, rows.min() - 30 : rows.min() + 5, columns.mean().astype(int)] = 1
    assert np.array_equal(vote(attached)[4], attached[4]), "not cut to the others' hull"
    far = masks.copy()
    far[4] = corner(masks[4])
    assert np.array_equal(vote(far)[4], masks[4]), "whole pieces far away go"
    hull_of_others_grown = masks.copy()
    hull_of_others_grown[observed] = [cv2.dilate(m, np.ones((5, 5))) for m in masks[observed]]
    assert np.array_equal(vote(hull_of_others_grown)[4], masks[4]), "and nothing is filled in"


def test_a_piece_that_lies_apart_is_kept_where_all_cameras_see_it():
    """Of three cameras two agree on nearly everything, a reflection on the floor included."""
    rig = ring_rig(3)
    masks = silhouettes(rig, walking_balls(1)[0], radius=22)
    vote = Vote.of(rig, range(3), grid=48)
    hand, reflection = masks.copy(), masks.copy()
    rows, columns = np.nonzero(masks[0])
    cut = round(np.quantile(columns, 0.8))
    hand[0][:, cut : cut + 3] = 0  # a piece cut off by a hole in the mask
    assert cv2.connectedComponents(hand[0])[0] == 3
    assert np.array_equal(vote(hand)[0], hand[0])
    reflection[0][rows.max() + 12 : rows.max() + 20, columns.min() : columns.max()] = 1
    assert np.array_equal(vote(reflection)[0], masks[0])


# --- networks ----------------------------------------------------------------------------------


def field(number: int, payload: bytes | int) -> bytes:
    """One field of a protocol buffer: a number or bytes."""
    if isinstance(payload, int):
        return bytes([number << 3, payload])
    length, head = len(payload), b""
    while length > 127:
        head, length = head + bytes([length & 127 | 128]), length >> 7
    return bytes([number << 3 | 2]) + head + bytes([length]) + payload


def shape(name: str, sizes: list[int]) -> bytes:
    """ONNX's description of an array of floats."""
    axes = b""
    for size in sizes:
        number = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
        axes += field(1, bytes([1 << 3]) + number)
    return field(1, name.encode()) + field(2, field(1, field(1, 1) + field(2, axes)))


def network(path, size: int = 320):
    """An ONNX file: how red each pixel is, by one convolution with weights (1, 0, 0)."""
    weights = np.array([1, 0, 0], "<f4").tobytes()
    tensor = field(1, 1) + field(1, 3) + field(1, 1) + field(1, 1) + field(2, 1)
    tensor += field(8, b"w") + field(9, weights)
    node = field(1, b"x") + field(1, b"w") + field(2, b"y") + field(4, b"Conv")
    graph = field(1, node) + field(2, b"g") + field(5, tensor)
    graph += field(11, shape("x", [1, 3, size, size])) + field(12, shape("y", [1, 1, size, size]))
    opset = field(1, b"") + field(2, 13)
    path.write_bytes(field(1, 8) + field(7, graph) + field(8, opset))
    return path


def reddened(truth: np.ndarray) -> np.ndarray:
    """A picture that is red where the mask is set."""
    return np.where(truth[..., None] > 0, np.uint8([250, 90, 160]), np.uint8([20, 90, 160]))


def test_a_network_of_rembgs_kind_plugs_in(tmp_path):
    picture = np.full((HEIGHT, WIDTH, 3), [20, 90, 160], np.uint8)
    picture[30:60, 40:90] = [250, 90, 160]
    weights = network(tmp_path / "n.onnx")
    segmenter = make_segmenter(ring_rig(2), [0], "rembg", 5.0, 0.35, [], None, weights)
    truth = np.zeros((HEIGHT, WIDTH), np.uint8)
    truth[30:60, 40:90] = 1
    black, mine = segmenter([0 * picture, picture])
    assert iou(mine, truth) > 0.97
    assert not black.any()


@pytest.mark.parametrize("length", [40, 300], ids=["short", "leads out of the second look"])
@pytest.mark.parametrize("turned", [False, True])
def test_a_network_looks_closely_at_what_it_finds(tmp_path, length, turned):
    """In a picture of 1280, it sees every fourth pixel: a tail two pixels wide is faint there."""
    truth = np.zeros((1280, 1280), np.uint8)
    truth[600:660, 500:620] = truth[626:628, 620 : 620 + length] = 1
    truth = np.ascontiguousarray(truth.T) if turned else truth
    mask = SaliencyNetwork(network(tmp_path / "n.onnx"))(reddened(truth))
    assert iou(mask, truth) > 0.98
    assert mask[truth > 0].mean() > 0.98


def test_a_network_looks_closely_at_the_pictures_edge(tmp_path):
    truth = np.zeros((640, 640), np.uint8)
    truth[600:, :90] = 1
    assert iou(SaliencyNetwork(network(tmp_path / "n.onnx"))(reddened(truth)), truth) > 0.99


def test_what_fills_the_picture_is_looked_at_once(tmp_path, monkeypatch):
    truth = np.zeros((640, 640), np.uint8)
    truth[20:620, 20:620] = 1
    segmenter, looks = SaliencyNetwork(network(tmp_path / "n.onnx")), []
    look = segmenter._look
    monkeypatch.setattr(segmenter, "_look", lambda p: looks.append(p.shape) or look(p))
    assert iou(segmenter(reddened(truth)), truth) > 0.99
    assert looks == [(640, 640, 3)]


@pytest.mark.parametrize("side", range(4))
def test_a_mask_leads_out_where_the_picture_goes_on(side):
    cut = np.zeros((8, 8), np.uint8)
    cut[4, 4:] = 1  # to the right
    cut = np.ascontiguousarray(np.rot90(cut, side))
    inner = slice(4, 12), slice(4, 12)
    ends = [slice(4, 12), slice(8, 16)], [slice(0, 8), slice(4, 12)]
    ends += [slice(4, 12), slice(0, 8)], [slice(8, 16), slice(4, 12)]
    assert _leads_out(cut, inner, (16, 16))
    for other in range(4):
        assert _leads_out(cut, tuple(ends[other]), (16, 16)) == (other != side)


def test_a_closer_look_that_finds_nothing_is_no_loss(tmp_path, monkeypatch):
    truth = np.zeros((640, 640), np.uint8)
    truth[300:340, 200:290] = 1
    segmenter = SaliencyNetwork(network(tmp_path / "n.onnx"))
    look = segmenter._look
    monkeypatch.setattr(
        segmenter, "_look", lambda p: look(p) if len(p) == 640 else np.zeros(p.shape[:2], np.uint8)
    )
    assert iou(segmenter(reddened(truth)), truth) > 0.9


def test_weights_that_are_missing_or_no_network(tmp_path):
    with pytest.raises(PoseSplatterError, match="no such file; put the network's weights"):
        SaliencyNetwork(tmp_path / "u2net.onnx")
    (tmp_path / "u2net.onnx").write_text("not a network")
    with pytest.raises(PoseSplatterError, match="OpenCV cannot read the network"):
        SaliencyNetwork(tmp_path / "u2net.onnx")


# --- recordings --------------------------------------------------------------------------------


def made_in_parts(folder, count, videos, segmenter, vote, offsets, frames) -> list[bytes]:
    """The files of all cameras' mask videos, and of their indexes, made from `count` parts."""
    folder.mkdir()
    names, indexes = [f"{n + 1}-of-{count}" for n in range(count)], [*map(index_of, videos)]
    parts = [folder / f"masks.{name}.h5" for name in names]
    for name, part in zip(names, parts, strict=True):
        chunk = chunk_of(range(len(frames)), name)
        run = frames[chunk.start : chunk.stop]
        write_mask_part(part, videos, segmenter, vote, offsets, frames, run, indexes)
    made = []
    for camera, info in enumerate(map(probe, videos)):
        masks, index = folder / f"{camera}.mkv", folder / f"{camera}.index.npz"
        write_mask_video(masks, read_parts(parts, camera, info), info)
        save_indexes(index, [masks])
        made += [masks.read_bytes(), index.read_bytes()]
    return made


@pytest.mark.parametrize("count", [2, 8])
def test_parts_make_the_masks_of_the_whole(tmp_path, monkeypatch, count):
    """However a recording is cut, and also where only every second frame is used.

    Of what is small and far from the animal, that in frames 12 and 14 stays: it is there in one
    part's last frame and in the next one's first. What flashes up in frame 8 goes.
    """
    pictures, truth = scene(path(24))
    flash, short = np.s_[8, 2:10, 112:120], np.s_[12:15:2, 84:92, 112:120]
    pictures[flash] = pictures[short] = FUR
    write_video(tmp_path / "v.mp4", pictures, crf=8)
    save_model(tmp_path / "m.npz", model_camera(tmp_path / "v.mp4", range(24), SETTINGS))
    saved = load_model(tmp_path / "m.npz")
    assert saved.background.picture.shape == (HEIGHT, WIDTH, 3)
    save_floor(tmp_path / "f.npz", None)
    files = [tmp_path / "m.npz"], tmp_path / "f.npz", ""
    segmenter = make_segmenter(ring_rig(1), [0], "background", 5.0, 0.35, *files)
    used, videos = [*range(2, 24, 2)], [tmp_path / "v.mp4"]
    recording = videos, segmenter, None, [0], used
    whole = made_in_parts(tmp_path / "whole", 1, *recording)
    assert made_in_parts(tmp_path / "parts", count, *recording) == whole
    made = np.stack(list(read_frames(tmp_path / "whole/0.mkv", range(24), "grey"))) // 255
    assert not made[[0, 1, 3, 23]].any(), "frames that are not used are black"
    assert np.median([iou(a, b) for a, b in zip(made[used], truth[used], strict=True)]) > 0.9
    assert made[short].mean() > 0.8
    assert not made[flash].any()
    numbers = []
    for n in range(count):
        with h5py.File(tmp_path / f"parts/masks.{n + 1}-of-{count}.h5") as file:
            numbers += file["source_frames"][:, 0].tolist()
    assert numbers == used
    index, late, part = [index_of(videos[0])], tmp_path / "late.h5", range(2, 20, 2)
    monkeypatch.setattr(video, "index_of", None)  # the file is not looked through once more
    write_mask_part(late, videos, segmenter, None, [2], part, part, index)
    info = VideoInfo(videos[0], 24, WIDTH, HEIGHT, 30.0)
    shifted = np.stack(list(read_parts([late], 0, info)))
    np.testing.assert_array_equal(shifted[6:20], made[6:20])
    assert not shifted[:4].any(), "the camera's frame 4 is the recording's frame 2"


def dark(pictures) -> np.ndarray:
    """A segmenter: what is dark, and in the third camera a reflection."""
    masks = (np.stack(pictures)[..., 0] < 128).view(np.uint8)
    masks[2] = corner(masks[2])
    return masks


def test_masks_put_to_the_vote_are_the_same_in_eight_parts(tmp_path, small_recording):
    """Ten frames, with one camera held out and one that is late."""
    rig, observed, offsets = ring_rig(), [0, 2, 3, 4, 5], [0, 0, 0, 2, 0, 0]
    videos = [small_recording / f"video{name}.mp4" for name in rig.names]
    recording = videos, dark, Vote.of(rig, observed, grid=48), offsets, [*range(10, 20)]
    whole = made_in_parts(tmp_path / "whole", 1, *recording)
    assert made_in_parts(tmp_path / "parts", 8, *recording) == whole
    for camera, offset in enumerate(offsets):
        masks = np.stack(list(read_frames(tmp_path / f"whole/{camera}.mkv", range(30), "grey")))
        assert not masks[:, :12, :12].any(), "the others see no reflection"
        shown = np.flatnonzero(masks.any(axis=(1, 2)))
        assert shown.tolist() == [*range(10 + offset, 20 + offset)]
