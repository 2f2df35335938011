"""The CPU rasterizer against a plain PyTorch one, against hand computation and against itself."""

import inspect
import math
import multiprocessing
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pose_splatter.errors import PoseSplatterError
from pose_splatter.rasterize import rasterization

sys.path.insert(0, str(Path(__file__).parents[1]))
from reference import rasterization_reference as reference

GAUSSIAN_FIELDS = ("means", "quats", "scales", "opacities", "colors")

# Relative distance from a cut-off within which rounding may decide otherwise: a few ulp of alpha
# times the number of splats in a pixel.
MARGIN = 5e-6
MAX_UNSURE = 1e-3


@dataclass(frozen=True)
class Scene:
    """Everything that `rasterization` takes."""

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor
    viewmats: Tensor
    Ks: Tensor
    width: int
    height: int

    def gaussians(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in GAUSSIAN_FIELDS}

    def cameras(self) -> dict:
        return {name: getattr(self, name) for name in ("viewmats", "Ks", "width", "height")}


def random_scene(n, seed=0, n_cameras=3, n_channels=3, width=45, height=37, size=0.1) -> Scene:
    """A cloud that surrounds the last camera and lies before the others.

    Every eighth Gaussian or so is sub-pixel, huge, fully transparent or fully opaque.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape, low=0.0, high=1.0):
        return low + (high - low) * torch.rand(*shape, generator=generator)

    kind = torch.randint(8, (n, 2), generator=generator)
    scales = size * uniform(n, 3, low=0.2)
    scales[kind[:, 0] == 0] *= 1e-3
    scales[kind[:, 0] == 1] *= 10
    opacities = uniform(n, low=0.02, high=0.98)
    opacities[kind[:, 1] == 0] = 0.0
    opacities[kind[:, 1] == 1] = 1.0
    quats = torch.randn(n, 4, generator=generator) * uniform(n, 1, low=0.1, high=10)
    viewmats = [look_at_origin(2 * math.pi * k / n_cameras, 3.0) for k in range(n_cameras - 1)]
    viewmats.append(look_at_origin(0.3, 0.2))
    K = torch.tensor([[40.0, 0.0, width * 0.45], [0.0, 45.0, height * 0.55], [0.0, 0.0, 1.0]])
    return Scene(
        means=uniform(n, 3, low=-1.5, high=1.5),
        quats=quats,
        scales=scales,
        opacities=opacities,
        colors=uniform(n, n_channels),
        viewmats=torch.stack(viewmats),
        Ks=K.repeat(n_cameras, 1, 1),
        width=width,
        height=height,
    )


def look_at_origin(angle: float, distance: float) -> Tensor:
    """World-to-camera of a camera on a circle around +z, upright."""
    viewmat = torch.eye(4)
    viewmat[:3, :3] = torch.tensor(
        [
            [math.cos(angle), -math.sin(angle), 0.0],
            [0.0, 0.0, -1.0],
            [math.sin(angle), math.cos(angle), 0.0],
        ]
    )
    viewmat[2, 3] = distance
    return viewmat


def one_gaussian(**changes) -> Scene:
    """An isotropic Gaussian on a camera's axis, which meets the centre of pixel [12, 16]."""
    scene = Scene(
        means=torch.tensor([[0.0, 0.0, 2.0]]),
        quats=torch.tensor([[1.0, 0.0, 0.0, 0.0]]),
        scales=torch.full((1, 3), 0.1),
        opacities=torch.tensor([0.8]),
        colors=torch.tensor([[0.2, 0.5, 1.0]]),
        viewmats=torch.eye(4)[None],
        Ks=torch.tensor([[[40.0, 0.0, 16.5], [0.0, 40.0, 12.5], [0.0, 0.0, 1.0]]]),
        width=33,
        height=25,
    )
    return replace(scene, **changes)


def render(scene: Scene, **options):
    return rasterization(**scene.gaussians(), **scene.cameras(), **options)


def gradients(scene: Scene, rasterize, keep=None, **options):
    """Pictures, alpha, and the gradients of a random weighting of both over the pixels to keep."""
    leaves = {name: value.clone().requires_grad_() for name, value in scene.gaussians().items()}
    picture, alpha, _ = rasterize(**leaves, **scene.cameras(), **options)
    generator = torch.Generator().manual_seed(99)
    loss = 0.0
    for part in (picture, alpha):
        weights = torch.randn(part.shape, generator=generator)
        loss = loss + (part * weights * (1.0 if keep is None else keep[..., None])).sum()
    loss.backward()
    return picture.detach(), alpha.detach(), {name: leaf.grad for name, leaf in leaves.items()}


def assert_matches_reference(scene: Scene, **options):
    with torch.no_grad():
        *_, unsure = reference.rasterization(
            **scene.gaussians(), **scene.cameras(), margin=MARGIN, **options
        )
    assert unsure.float().mean() < MAX_UNSURE
    keep = ~unsure
    picture, alpha, ours = gradients(scene, rasterization, keep, **options)
    expected_picture, expected_alpha, theirs = gradients(
        scene, reference.rasterization, keep, **options
    )
    torch.testing.assert_close(picture[keep], expected_picture[keep], atol=1e-4, rtol=0)
    torch.testing.assert_close(alpha[keep], expected_alpha[keep], atol=1e-4, rtol=0)
    for name in GAUSSIAN_FIELDS:
        assert_gradients_close(name, ours[name], theirs[name])


def assert_gradients_close(name: str, ours: Tensor, theirs: Tensor):
    """1e-3 of the largest in every element, and of itself in each that is not tiny beside it."""
    if theirs.numel() == 0:
        assert ours.shape == theirs.shape
        return
    largest = theirs.abs().max()
    worst = (ours - theirs).abs().max()
    assert worst <= 1e-3 * largest, f"{name}: {worst} of {largest}"
    large = theirs.abs() > 1e-3 * largest
    relative = (ours - theirs)[large].abs() / theirs[large].abs()
    assert (relative <= 1e-3).all(), f"{name}: relative difference {relative.max()}"


# --- Against the reference -----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n", [1, 10, 100, 1000])
def test_matches_reference(n, seed):
    assert_matches_reference(random_scene(n, seed))


def test_matches_reference_with_20000_gaussians():
    assert_matches_reference(random_scene(20_000, n_cameras=2, width=41, height=30, size=0.03))


@pytest.mark.parametrize(
    "options",
    [
        {"radius_clip": 3.0},
        {"eps2d": 0.05},
        {"eps2d": 2.0},
        {"near_plane": 2.5},
        {"near_plane": 0.5, "far_plane": 3.0},
    ],
    ids=str,
)
def test_matches_reference_under(options):
    assert_matches_reference(random_scene(300, seed=4), **options)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (8, 16), (9, 7), (64, 3)])
def test_matches_reference_in_pictures_of_any_size(width, height):
    assert_matches_reference(random_scene(200, seed=5, n_cameras=4, width=width, height=height))


@pytest.mark.parametrize("n_channels", [1, 5])
def test_matches_reference_with_any_number_of_channels(n_channels):
    assert_matches_reference(random_scene(100, seed=6, n_channels=n_channels))


def test_matches_reference_where_many_opaque_gaussians_hide_each_other():
    scene = random_scene(500, seed=7)
    assert_matches_reference(replace(scene, opacities=torch.ones(500)))


def test_reference_is_the_same_by_tiles():
    scene = random_scene(300, seed=8)
    *expected, _ = reference.rasterization(**scene.gaussians(), **scene.cameras())
    *by_tiles, _ = reference.rasterization(**scene.gaussians(), **scene.cameras(), tile=16)
    torch.testing.assert_close(by_tiles, expected, atol=1e-6, rtol=0)


def test_gradients_match_finite_differences():
    scene = random_scene(6, seed=9, n_cameras=2, width=12, height=10, size=0.6)
    names = dict(scene.gaussians(), opacities=torch.full((6,), 0.5))
    # Cut-offs make steps in the picture; float64 references are smooth to 1e-6 between them.
    double = {name: value.double() for name, value in names.items()}
    step = 1e-6
    _, _, ours = gradients(replace(scene, **names), rasterization)
    generator = torch.Generator().manual_seed(99)
    *parts, _ = reference.rasterization(**double, **scene.cameras())
    weights = [torch.randn(part.shape, generator=generator).double() for part in parts]

    def loss(values):
        *parts, _ = reference.rasterization(**values, **scene.cameras())
        return sum((part * weight).sum() for part, weight in zip(parts, weights, strict=True))

    for name, value in double.items():
        direction = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        slope = (
            loss(double | {name: value + step * direction})
            - loss(double | {name: value - step * direction})
        ) / (2 * step)
        torch.testing.assert_close(
            (ours[name].double() * direction).sum(), slope, rtol=1e-3, atol=1e-3
        )


# --- By hand -------------------------------------------------------------------------------------


def test_one_gaussian_by_hand():
    scene = one_gaussian()
    picture, alpha, info = render(scene)
    variance = (40 * 0.1 / 2) ** 2 + 0.3
    torch.testing.assert_close(alpha[0, 12, 16, 0], torch.tensor(0.8))
    expected = 0.8 * math.exp(-(3**2 + 2**2) / 2 / variance)
    torch.testing.assert_close(alpha[0, 12 + 2, 16 - 3, 0].item(), expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(picture, alpha * scene.colors[0])
    extent = math.sqrt(2 * math.log(255 * 0.8) * variance)
    assert info["radii"].tolist() == [[[math.ceil(extent)] * 2]]
    torch.testing.assert_close(info["means2d"], torch.tensor([[[16.5, 12.5]]]))
    torch.testing.assert_close(info["depths"], torch.tensor([[2.0]]))


def test_alpha_is_cut_at_its_limits():
    _, alpha, _ = render(one_gaussian(opacities=torch.ones(1)))
    assert alpha.max() == pytest.approx(0.999)
    assert alpha[alpha > 0].min() >= 1 / 255 - 1e-7
    assert (alpha == 0).any()


def test_a_pixel_stops_before_the_splat_that_would_close_it():
    """0.001 remains behind the first, 1e-6 would behind the second, so that one is left out."""
    two = one_gaussian(
        means=torch.tensor([[0.0, 0.0, 2.0], [0.0, 0.0, 3.0]]),
        quats=torch.tensor([[1.0, 0.0, 0.0, 0.0]] * 2),
        scales=torch.full((2, 3), 0.1),
        opacities=torch.ones(2),
        colors=torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
    )
    picture, _, _ = render(two)
    torch.testing.assert_close(picture[0, 12, 16], torch.tensor([0.999, 0.0, 0.0]))


def test_equal_depths_keep_the_order_of_the_gaussians():
    two = one_gaussian(
        means=torch.tensor([[0.0, 0.0, 2.0]] * 2),
        quats=torch.tensor([[1.0, 0.0, 0.0, 0.0]] * 2),
        scales=torch.full((2, 3), 0.1),
        opacities=torch.full((2,), 0.5),
        colors=torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
    )
    picture, _, _ = render(two)
    torch.testing.assert_close(picture[0, 12, 16], torch.tensor([0.5, 0.25, 0.0]))


def test_no_gaussians():
    scene = random_scene(0)
    picture, alpha, _ = render(scene)
    assert picture.shape == (3, 37, 45, 3)
    assert alpha.shape == (3, 37, 45, 1)
    assert not picture.any()
    assert_matches_reference(scene)


def test_nothing_in_view():
    behind = one_gaussian(means=torch.tensor([[0.0, 0.0, -2.0]]))
    picture, alpha, ours = gradients(behind, rasterization)
    assert not picture.any()
    assert not alpha.any()
    assert not any(gradient.any() for gradient in ours.values())


def test_a_gaussian_that_is_not_a_number_is_left_out():
    scene = random_scene(50, seed=10)
    expected, _, _ = render(scene)
    for name, value in scene.gaussians().items():
        if name != "colors":
            bad = torch.full_like(value[:1], math.nan)
            more = {key: torch.cat([part, part[:1]]) for key, part in scene.gaussians().items()}
            more[name] = torch.cat([value, bad])
            picture, _, _ = render(replace(scene, **more))
            torch.testing.assert_close(picture, expected, rtol=0, atol=0)


# --- Properties ----------------------------------------------------------------------------------

scenes = st.builds(random_scene, st.integers(1, 60), seed=st.integers(0, 2**20))
few = settings(max_examples=25, deadline=None)


@few
@given(scenes, st.randoms(use_true_random=False))
def test_order_of_gaussians_is_irrelevant(scene, random):
    order = list(range(len(scene.means)))
    random.shuffle(order)
    shuffled = replace(scene, **{name: part[order] for name, part in scene.gaussians().items()})
    for ours, expected in zip(render(shuffled)[:2], render(scene)[:2], strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=0)


@few
@given(scenes, st.integers(0, 59))
def test_transparent_gaussian_changes_nothing(scene, which):
    copy = which % len(scene.means)
    more = {name: torch.cat([part, part[copy, None]]) for name, part in scene.gaussians().items()}
    more["opacities"][-1] = 0.0
    for ours, expected in zip(render(replace(scene, **more))[:2], render(scene)[:2], strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=0)


@few
@given(scenes, st.floats(-math.pi, math.pi), st.floats(-5, 5))
def test_moving_camera_and_world_together_changes_nothing(scene, angle, shift):
    """Up to rounding, which moves a few pixels across a cut-off."""
    turn = look_at_origin(angle, shift)
    rotation, translation = turn[:3, :3], turn[:3, 3]
    moved = replace(
        scene,
        means=scene.means @ rotation.T + translation,
        quats=_multiply(_quaternion(angle), scene.quats),
        viewmats=scene.viewmats @ torch.linalg.inv(turn),
    )
    for ours, expected in zip(render(moved)[:2], render(scene)[:2], strict=True):
        assert ((ours - expected).abs() > 1e-3).float().mean() < 0.02


def _quaternion(angle: float) -> Tensor:
    """The rotation of `look_at_origin`: about z, then a quarter turn about x."""
    half = angle / 2
    about_z = torch.tensor([math.cos(half), 0.0, 0.0, math.sin(half)])
    about_x = torch.tensor([math.sqrt(0.5), math.sqrt(0.5), 0.0, 0.0])
    return _multiply(about_x, about_z)


def _multiply(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product of quaternions wxyz."""
    aw, av = a[..., :1], a[..., 1:]
    bw, bv = b[..., :1], b[..., 1:]
    vector = aw * bv + bw * av + torch.linalg.cross(av.expand_as(bv), bv)
    return torch.cat([aw * bw - (av * bv).sum(-1, keepdim=True), vector], dim=-1)


# --- Reproducibility -----------------------------------------------------------------------------


def test_bits_do_not_depend_on_the_run_or_on_threads():
    scene = random_scene(2000, seed=11)
    threads = torch.get_num_threads()
    results = []
    try:
        for n_threads in (2, 1, 2):
            torch.set_num_threads(n_threads)
            results.append(gradients(scene, rasterization))
    finally:
        torch.set_num_threads(threads)
    for picture, alpha, ours in results[1:]:
        assert torch.equal(picture, results[0][0])
        assert torch.equal(alpha, results[0][1])
        assert all(torch.equal(ours[name], results[0][2][name]) for name in GAUSSIAN_FIELDS)


def test_threads_may_render_at_once():
    scene = random_scene(500, seed=12)
    expected = gradients(scene, rasterization)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: gradients(scene, rasterization), range(8)))
    for picture, _, ours in results:
        assert torch.equal(picture, expected[0])
        assert torch.equal(ours["means"], expected[2]["means"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_may_render():
    scene = random_scene(50, seed=13)
    expected = render(scene)[0].sum().item()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(_render_sum, [scene]).get(timeout=60) == expected


def _render_sum(scene: Scene) -> float:
    return render(scene)[0].sum().item()


# --- Backends ------------------------------------------------------------------------------------


def test_backends_agree_on_the_signature():
    from pose_splatter.rasterize import cpu, gsplat_backend

    public = list(inspect.signature(rasterization).parameters)
    for backend in (cpu, gsplat_backend):
        assert [*inspect.signature(backend.rasterization).parameters, "backend"] == public


def test_cpu_backend_is_chosen_for_cpu_tensors():
    picture, _, _ = render(one_gaussian())
    explicit, _, _ = render(one_gaussian(), backend="cpu")
    assert torch.equal(picture, explicit)


def test_unknown_backend():
    with pytest.raises(ValueError, match="Unknown backend 'opengl': choose one of auto"):
        render(one_gaussian(), backend="opengl")


def test_gsplat_refuses_cpu_tensors():
    with pytest.raises(ValueError, match="Backend 'gsplat' cannot render tensors on cpu"):
        render(one_gaussian(), backend="gsplat")


def test_devices_must_match():
    with pytest.raises(ValueError, match="on one device, but they are on cpu, meta"):
        render(one_gaussian(colors=torch.ones(1, 3, device="meta")))


@pytest.mark.parametrize("name", ["viewmats", "Ks"])
def test_cpu_refuses_gradients_of_cameras(name):
    scene = one_gaussian()
    scene = replace(scene, **{name: getattr(scene, name).clone().requires_grad_()})
    with pytest.raises(ValueError, match="no gradients for viewmats and Ks"):
        render(scene)


def test_gsplat_is_asked_for_the_same_picture(monkeypatch):
    gsplat = pytest.importorskip("gsplat")
    from pose_splatter.rasterize import gsplat_backend

    signature = inspect.signature(gsplat.rasterization)
    scene = one_gaussian()
    calls = []

    def record(*args, **kwargs):
        calls.append(signature.bind(*args, **kwargs))
        return torch.zeros(1, 25, 33, 3), torch.zeros(1, 25, 33, 1), {}

    monkeypatch.setattr(gsplat, "rasterization", record)
    gsplat_backend.rasterization(
        **scene.gaussians(), **scene.cameras(),
        near_plane=0.1, far_plane=50.0, radius_clip=1.0, eps2d=0.2,
    )  # fmt: skip
    (call,) = calls
    for name, value in (scene.gaussians() | scene.cameras()).items():
        assert call.arguments[name] is value
    call.apply_defaults()
    expected = {
        "near_plane": 0.1, "far_plane": 50.0, "radius_clip": 1.0, "eps2d": 0.2,
        "sh_degree": None, "packed": False, "backgrounds": None, "render_mode": "RGB",
        "rasterize_mode": "classic", "camera_model": "pinhole", "covars": None,
        "with_ut": False, "with_eval3d": False, "radial_coeffs": None,
    }  # fmt: skip
    assert {name: call.arguments[name] for name in expected} == expected


@pytest.fixture
def kernels(monkeypatch):
    """gsplat's module of kernels, without any, and the locks under which it is imported."""
    from pose_splatter.rasterize import gsplat_backend

    backend, turns = ModuleType("gsplat.cuda._backend"), []
    monkeypatch.setitem(sys.modules, "gsplat.cuda._backend", backend)
    monkeypatch.setattr(gsplat_backend, "alone", lambda path: turns.append(path) or nullcontext())
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", "/on/all/nodes")
    gsplat_backend.require_kernels.cache_clear()
    yield backend, turns
    gsplat_backend.require_kernels.cache_clear()


def test_gsplats_kernels_are_locked_once_a_process(kernels):
    from pose_splatter.rasterize import gsplat_backend

    backend, turns = kernels
    backend._C = object()
    for _ in range(3):
        gsplat_backend.require_kernels()
    assert len(turns) == 1


@pytest.mark.parametrize("compiler", ["none", "fails"])
def test_gsplat_without_kernels_is_one_sentence(monkeypatch, kernels, compiler):
    from pose_splatter.rasterize import gsplat_backend

    backend, turns = kernels
    words = "cannot import name '_C'"
    if compiler == "none":
        backend._C, words = None, "no CUDA compiler is here"
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(PoseSplatterError, match=r"\); install NVIDIA's CUDA toolkit 13\.0") as e:
        gsplat_backend.require_kernels()
    assert words in str(e.value)
    assert turns == [Path("/on/all/nodes/pose-splatter.lock")], "two jobs would compile at once"
