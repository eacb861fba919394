"""Losses that shape an embedding by classifying it: logits from angles to learnt class centres.

Every loss is a module with

    logits(embeddings)             (batch, dims) -> (batch, classes), not normalised
    forward(embeddings, labels)    soft labels (batch, classes) -> scalar, the mean over the batch

Labels are soft (rows sum to one), because mixup and feature exchange make them so; the loss is the cross
entropy between them and the softmax of the logits. All arithmetic is done in float32 or better, whatever
autocast says: a scale of 30 on a bfloat16 cosine would leave two digits.

The angular losses keep a fixed scale: the adaptive one of AdaCos is known to run away
(wilkinghoff/ssl4asd, issue 5).

Args:
    embeddings: (batch, dims).
    labels: (batch, classes), in [0, 1].
    n_dims: length of an embedding.
    n_classes: number of classes.
"""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from torch import nn
from torch.nn.functional import linear, normalize

from asd.core.losses.cells import SoftCrossEntropy, at_least_float32
from asd.types import AsdError, one_of


class ClassificationLoss(nn.Module, ABC):
    """Cross entropy of soft labels on the logits of a subclass."""

    def __init__(self) -> None:
        super().__init__()
        self.cross_entropy = SoftCrossEntropy()

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Loss of embeddings (batch, dims) against soft labels (batch, classes)."""
        with torch.autocast(embeddings.device.type, enabled=False):
            logits = self.training_logits(at_least_float32(embeddings), labels)
            return self.cross_entropy(logits, labels)

    @abstractmethod
    def logits(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Class logits (batch, classes) of embeddings (batch, dims), without any margin."""

    def training_logits(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The logits that are learnt from; other than `logits` only where there is a margin."""
        del labels
        return self.logits(embeddings)


class CrossEntropy(ClassificationLoss):
    """Plain softmax classifier: the floor that the angular losses are measured against."""

    def __init__(self, n_dims: int, n_classes: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(n_dims, n_classes)

    def logits(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Affine functions of the embeddings."""
        return self.classifier(embeddings)


class SubClusterAdaCos(ClassificationLoss):
    """Each class is a mixture of directions, so that a class may have several modes.

    The softmax runs over all sub-centres and a class's probability is the sum of its own:
    logit_c = log sum_k exp(s cos(z, w_ck)) with s the scale, by default sqrt(2) ln(classes * centres - 1).

    Source: Wilkinghoff, "Sub-cluster AdaCos", IJCNN 2021; scale fixed, centres trainable.
    """

    def __init__(self, n_dims: int, n_classes: int, n_centres: int = 16, scale: float | None = None) -> None:
        super().__init__()
        self.centres = nn.Parameter(_directions(n_classes, n_centres, n_dims))
        self.scale = scale or _adacos_scale(n_classes * n_centres)

    def logits(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Log of the summed exponentials over a class's centres."""
        cosines = linear(normalize(embeddings, dim=1), normalize(self.centres, dim=-1).flatten(0, 1))
        return (self.scale * cosines).unflatten(1, self.centres.shape[:2]).logsumexp(2)


class AdaProj(ClassificationLoss):
    """Each class is a subspace: the logit is the scaled cosine to the projection onto it.

    Source: Wilkinghoff, "AdaProj: Adaptively Scaled Angular Margin Subspace Projections", DCASE Workshop
    2024 (arXiv 2403.14179); the scale, sqrt(2) ln(classes - 1), is fixed here.

    Args:
        n_centres: directions that span a class's subspace.
        scale: factor of the cosine; None: the formula above.
    """

    def __init__(self, n_dims: int, n_classes: int, n_centres: int = 32, scale: float | None = None) -> None:
        super().__init__()
        self.basis = nn.Parameter(_directions(n_classes, n_centres, n_dims))
        self.scale = scale or _adacos_scale(n_classes)

    def logits(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Scaled cosine between z and p = sum_k <z, w_k> w_k, without ever forming p.

        <z, p> = a.a and |p|^2 = a G a with a_k = <z, w_k> and the Gram matrix G of the basis: memory is
        (batch, classes, directions), not (batch, classes, dims).
        """
        basis = normalize(self.basis, dim=-1)
        a = linear(normalize(embeddings, dim=1), basis.flatten(0, 1)).unflatten(1, basis.shape[:2])
        gram = basis @ basis.mT
        length_squared = (torch.einsum("bck,ckl->bcl", a, gram) * a).sum(2)
        # An embedding orthogonal to the subspace has cosine 0 there, and a gradient that is no NaN.
        tiny = torch.finfo(a.dtype).eps ** 2
        return self.scale * a.square().sum(2) * length_squared.clamp_min(tiny).rsqrt()


class ArcFace(ClassificationLoss):
    """One direction per class, and a margin in angle that the true class has to overcome.

    A soft label has the margin in the proportion of the label: y cos(theta + m) + (1 - y) cos(theta).
    `margin_on="all"` adds it for every class alike, as a public toolkit does (ASDKit); that only bends
    the cosine and separates nothing, but makes its numbers comparable.

    Source: Deng et al., "ArcFace", CVPR 2019.

    Args:
        margin: angle in radians.
        margin_on: "true" class, in proportion to the label, or "all" classes.
    """

    def __init__(
        self,
        n_dims: int,
        n_classes: int,
        scale: float = 30.0,
        margin: float = 0.5,
        margin_on: Literal["true", "all"] = "true",
    ) -> None:
        super().__init__()
        self.centres = nn.Parameter(_directions(n_classes, 1, n_dims).squeeze(1))
        self.scale, self.margin = scale, margin
        self.margin_on = one_of(margin_on, ("true", "all"), "margin_on")

    def logits(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Scaled cosines to the class centres."""
        return self.scale * self._cosines(embeddings)

    def training_logits(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Scaled cosines, with the margin."""
        cosines = self._cosines(embeddings)
        with_margin = self._add_margin(cosines)
        if self.margin_on == "all":
            return self.scale * with_margin
        return self.scale * torch.lerp(cosines, with_margin, labels.to(cosines.dtype))

    def _cosines(self, embeddings: torch.Tensor) -> torch.Tensor:
        return linear(normalize(embeddings, dim=1), normalize(self.centres, dim=1))

    def _add_margin(self, cosines: torch.Tensor) -> torch.Tensor:
        """cos(theta + m) by the addition theorem; the gradient of an arc cosine is infinite at 1."""
        sines = (1 - cosines.square()).clamp_min(torch.finfo(cosines.dtype).eps).sqrt()
        moved = cosines * math.cos(self.margin) - sines * math.sin(self.margin)
        # Beyond pi - m the cosine would rise again: there the margin is taken off in a straight line.
        straight = cosines - math.sin(self.margin) * self.margin
        return torch.where(cosines > -math.cos(self.margin), moved, straight)


# name -> (dims, classes, options) -> loss
LOSSES: dict[str, Callable[..., ClassificationLoss]] = {
    "subcluster_adacos": SubClusterAdaCos,
    "adaproj": AdaProj,
    "arcface": ArcFace,
    "cross_entropy": CrossEntropy,
}


def loss_named(name: str, n_dims: int, n_classes: int, **options: float) -> ClassificationLoss:
    """A fresh loss of `LOSSES`, with options of its class; `AsdError` where there is no such name or option."""
    known = inspect.signature(LOSSES[one_of(name, tuple(LOSSES), "loss")]).parameters
    if unknown := [option for option in options if option not in known]:
        raise AsdError(f"loss={name} has no {unknown[0]}; leave embedding.{unknown[0]} out or take another loss")
    return LOSSES[name](n_dims, n_classes, **options)


def _directions(n_classes: int, n_vectors: int, n_dims: int) -> torch.Tensor:
    """Random directions (classes, vectors, dims): normal, of length about one."""
    return torch.randn(n_classes, n_vectors, n_dims) / math.sqrt(n_dims)


def _adacos_scale(n_logits: int) -> float:
    """Fixed scale of AdaCos (Zhang et al., CVPR 2019), sqrt(2) ln(n - 1); of three where there are fewer."""
    return math.sqrt(2) * math.log(max(n_logits, 3) - 1)
