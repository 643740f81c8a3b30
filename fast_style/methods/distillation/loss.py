"""The distillation loss: errors of a student's features and Gram matrices against its teacher's."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fast_style.losses.functional import gram
from fast_style.losses.normalizations import LayerWeights, layer_weights
from fast_style.networks.loss_network import AnyLossNetwork, check_names
from fast_style.networks.student import Student


class DistillationLoss(nn.Module):
    """Regression of a teacher's features (FitNets, Romero et al. 2015) and of their Gram matrices.

    The terms are relative over the batch: `sum ||F - F_t||^2 / sum ||F_t||^2`, and the same for `G`. With one relative
    error per image, a flat image with almost no features would outweigh all others. The teacher's features are divided
    by one factor per layer, so that the student's features are of the order of 1 for any teacher. The factor does not
    change the relative losses.

    A student layer narrower than the teacher's layer has a head: a 1x1 convolution with a matrix `W` (teacher channels
    by student channels). The head is linear. So `W^T W` in the saved file is enough to make distances between the
    student's features, and between their Gram matrices, those of the teacher (`student.save_student`). Without `W^T W`
    the distances are wrong: the teacher's relu3_1 measured a style error of 0.056 where the bare student layer
    measured 0.008.

    Args:
        teacher: frozen loss network.
        student: the network to train; its layer names are the teacher's.
        layers: layer names, or names with weights.
        examples: images `(N, 3, H, W)`; their features give the factor of each layer.
        feature_weight, gram_weight: weights of the two kinds of terms; 0 drops the term.

    Raises:
        ValueError: no layers, no weight above 0, an unknown layer, an untrained last layer, or a wrong layer width.
    """

    roots: Tensor

    def __init__(
        self,
        *,
        teacher: AnyLossNetwork,
        student: Student,
        layers: LayerWeights,
        examples: Tensor,
        feature_weight: float = 1.0,
        gram_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.layers = layer_weights(layers, 1.0)
        if not self.layers or not feature_weight + gram_weight:
            raise ValueError(
                f"Distillation needs loss.layers and a weight above 0; got layers {list(self.layers)}, "
                f"loss.feature_weight={feature_weight}, loss.gram_weight={gram_weight}."
            )
        check_names(self.layers, teacher.names)
        check_names(self.layers, student.names)
        if student.names[-1] not in self.layers:
            raise ValueError(
                f"loss.layers must contain {student.names[-1]}, the student's last layer; got {list(self.layers)}: add "
                "it, or shorten student.stages."
            )
        self.teacher = teacher
        channels, roots = _channels_and_roots(teacher, examples, list(self.layers))
        narrow = [name for name in student.expansions if student.channels[name] != channels.get(name)]
        if narrow:
            raise ValueError(
                f"student.expansions gives {narrow[0]} {student.channels[narrow[0]]} channels, but the teacher has "
                f"{channels.get(narrow[0], 'none')} there: give it the teacher's number, on a layer of loss.layers."
            )
        # A buffer, so it is in checkpoints: a resumed run keeps its targets even if the example images changed.
        self.register_buffer("roots", roots)
        self.heads = nn.ModuleDict(
            {
                name: nn.Conv2d(student.channels[name], wanted, 1, bias=False)
                for name, wanted in channels.items()
                if student.channels[name] != wanted
            }
        )
        #: Weight of each term, by the names that `forward` returns.
        self.weights = {f"feature/{name}": weight * feature_weight for name, weight in self.layers.items()}
        self.weights |= {f"gram/{name}": weight * gram_weight for name, weight in self.layers.items()}
        self.weights = {name: weight for name, weight in self.weights.items() if weight}

    def forward(
        self, student: Student, pictures: Tensor, *, heads: Mapping[str, nn.Module] | None = None
    ) -> dict[str, Tensor]:
        """Return the unweighted terms (scalars) of images `(N, 3, H, W)` in 0..1.

        Args:
            heads: heads that belong to `student`; None takes the trained heads.
        """
        with torch.no_grad():
            wanted = self.teacher(pictures, self.layers)
            wanted = {name: wanted[name] / root for name, root in zip(self.layers, self.roots, strict=True)}
        found = self.projected_features(student, pictures, list(self.layers), heads=heads)
        terms = {}
        for name in self.layers:
            if f"feature/{name}" in self.weights:
                terms[f"feature/{name}"] = batch_error(found[name], wanted[name])
            if f"gram/{name}" in self.weights:
                terms[f"gram/{name}"] = batch_error(gram(found[name]), gram(wanted[name]))
        return terms

    def projected_features(
        self,
        student: Student,
        pictures: Tensor,
        layers: Sequence[str],
        *,
        heads: Mapping[str, nn.Module] | None = None,
    ) -> dict[str, Tensor]:
        """Return the student's features by name after its heads: as wide as the teacher's, of the order of 1."""
        heads = dict(self.heads.items()) if heads is None else heads
        found = student(pictures, layers)
        return {name: heads[name](found[name]) if name in heads else found[name] for name in layers}

    @property
    def scales(self) -> dict[str, float]:
        """Root mean square of the teacher's features by layer; multiply the student's features by it to match them."""
        return dict(zip(self.layers, self.roots.tolist(), strict=True))

    def weigh(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Multiply the terms by their weights; the sum is the loss."""
        return {name: self.weights[name] * term for name, term in terms.items()}


def batch_error(found: Tensor, wanted: Tensor) -> Tensor:
    """Return `sum ||x - y||^2 / sum ||y||^2` over a whole batch as a float32 scalar."""
    found, wanted = found.float(), wanted.float()
    # The floor is far below the energy of any image.
    return (found - wanted).square().sum() / wanted.square().sum().clamp_min(1e-12)


@torch.no_grad()
def _channels_and_roots(
    teacher: AnyLossNetwork, examples: Tensor, layers: Sequence[str]
) -> tuple[dict[str, int], Tensor]:
    """Return the width and the root mean square of the features of each layer, computed one image at a time."""
    squares = torch.zeros(len(layers))
    for example in examples:
        features = teacher(example[None], layers)
        squares += torch.stack([features[name].square().mean() for name in layers]) / len(examples)
    roots = squares.sqrt()
    return {name: features[name].shape[1] for name in layers}, torch.where(roots > 0, roots, 1.0)
