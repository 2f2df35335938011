"""What training minimises, each term averaged over the cameras."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from pose_splatter.dataset import FrameBatch
from pose_splatter.model import Rendering


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms beside silhouette IoU, which counts 1."""

    image: float = 0.5
    ssim: float = 0.0


def iou_loss(
    alphas: Float[Tensor, "camera h w"], masks: Float[Tensor, "camera h w"]
) -> Float[Tensor, ""]:
    """1 - soft intersection over union of rendered and true silhouettes."""
    intersection = (alphas * masks).sum(dim=(1, 2))
    union = (alphas + masks - alphas * masks).sum(dim=(1, 2))
    return (1 - intersection / union.clamp_min(1.0)).mean()


def image_loss(
    images: Float[Tensor, "camera h w 3"],
    truth: Float[Tensor, "camera h w 3"],
    masks: Float[Tensor, "camera h w"],
) -> Float[Tensor, ""]:
    """L1 between pictures, per pixel of the animal: how small it is in the image plays no part."""
    difference = (images - truth).abs().mean(dim=-1).sum(dim=(1, 2))
    return (difference / masks.sum(dim=(1, 2)).clamp_min(1.0)).mean()


def ssim_loss(
    images: Float[Tensor, "camera h w 3"], truth: Float[Tensor, "camera h w 3"]
) -> Float[Tensor, ""]:
    """1 - structural similarity (Wang et al. 2004)."""
    # Here, since it takes as long to import as PyTorch, and few trainings use it.
    from torchmetrics.functional.image import structural_similarity_index_measure

    similarity = structural_similarity_index_measure(
        images.permute(0, 3, 1, 2), truth.permute(0, 3, 1, 2), data_range=1.0
    )
    assert isinstance(similarity, Tensor)
    return 1 - similarity


def compute_losses(
    rendering: Rendering, batch: FrameBatch, weights: LossWeights
) -> dict[str, Float[Tensor, ""]]:
    """Every term that has a weight, unweighted, and their weighted sum `loss`."""
    terms = {"iou": iou_loss(rendering.alphas, batch.masks)}
    total = terms["iou"]
    if weights.image:
        terms["image"] = image_loss(rendering.images, batch.images, batch.masks)
        total = total + weights.image * terms["image"]
    if weights.ssim:
        terms["ssim"] = ssim_loss(rendering.images, batch.images)
        total = total + weights.ssim * terms["ssim"]
    return {"loss": total, **terms}
