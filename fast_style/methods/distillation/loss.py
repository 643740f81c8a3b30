"""How far a student's features are from its teacher's."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fast_style.losses.functional import gram
from fast_style.losses.normalizations import LayerWeights, layer_weights
from fast_style.networks.loss_network import AnyLossNetwork, check_names
from fast_style.networks.student import Student


class DistillationLoss(nn.Module):
    """Regression of a teacher's features and of their Gram matrices (FitNets, Romero et al. 2015, with both).

    Terms are relative over the batch: `sum ||F - F_t||^2 / sum ||F_t||^2`, and alike for `G`. Of each photo on its own
    a flat one, with next to no features, would outweigh all others. The teacher's features are normalised by a factor a
    layer, so that the student's are of the order of 1 whatever the teacher's are; relative losses don't see it.

    A layer narrower than the teacher's speaks through a head, a matrix `W` (teacher's channels by student's). Linear,
    for then `W^T W` is all that must stay in the file for distances between the student's features, and between their
    Gram matrices, to be the teacher's (`student.save_student`). Without it they are not: where the teacher's relu3_1
    put a painted photo at 0.056 from its style, a student's bare layer saw 0.008.

    Args:
        teacher: frozen features by name.
        student: what learns; its layers go by the teacher's names.
        layers: names, or names with weights.
        examples: `(N, 3, H, W)`, pictures by whose features the factors are found.
        feature_weight, gram_weight: of the two kinds of terms; 0 drops one.
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
            raise ValueError("A student needs layers and a weight above 0 to learn from.")
        check_names(self.layers, teacher.names)
        check_names(self.layers, student.names)
        if student.names[-1] not in self.layers:
            raise ValueError(
                f"Nobody would teach {student.names[-1]}, the student's last layer: add it to loss.layers, or shorten "
                "student.stages."
            )
        self.teacher = teacher
        channels, roots = _channels_and_roots(teacher, examples, list(self.layers))
        narrow = [name for name in student.expansions if student.channels[name] != channels.get(name)]
        if narrow:
            raise ValueError(
                f"student.expansions gives {narrow[0]} {student.channels[narrow[0]]} channels, and the teacher has "
                f"{channels.get(narrow[0], 'none to teach')} there: it is to be as wide as the teacher."
            )
        # In checkpoints: a run that goes on has the targets that it had, whatever became of the examples.
        self.register_buffer("roots", roots)
        self.heads = nn.ModuleDict(
            {
                name: nn.Conv2d(student.channels[name], wanted, 1, bias=False)
                for name, wanted in channels.items()
                if student.channels[name] != wanted
            }
        )
        #: The weight of every term by its name, as `forward` names them.
        self.weights = {f"feature/{name}": weight * feature_weight for name, weight in self.layers.items()}
        self.weights |= {f"gram/{name}": weight * gram_weight for name, weight in self.layers.items()}
        self.weights = {name: weight for name, weight in self.weights.items() if weight}

    def forward(
        self, student: Student, pictures: Tensor, *, heads: Mapping[str, nn.Module] | None = None
    ) -> dict[str, Tensor]:
        """Unweighted terms, scalars, of `(N, 3, H, W)` in 0..1; other heads may speak for another student."""
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
        """A student's features by name as its heads speak them: as wide as the teacher's, of the order of 1."""
        heads = dict(self.heads.items()) if heads is None else heads
        found = student(pictures, layers)
        return {name: heads[name](found[name]) if name in heads else found[name] for name in layers}

    @property
    def scales(self) -> dict[str, float]:
        """By layer, the root of the mean square of the teacher's features: what the student's are short of."""
        return dict(zip(self.layers, self.roots.tolist(), strict=True))

    def weigh(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The terms times their weights; their sum is the loss."""
        return {name: self.weights[name] * term for name, term in terms.items()}


def batch_error(found: Tensor, wanted: Tensor) -> Tensor:
    """`sum ||x - y||^2 / sum ||y||^2` over a whole batch, float32, a scalar."""
    found, wanted = found.float(), wanted.float()
    # The floor is far below any picture's energy.
    return (found - wanted).square().sum() / wanted.square().sum().clamp_min(1e-12)


@torch.no_grad()
def _channels_and_roots(
    teacher: AnyLossNetwork, examples: Tensor, layers: Sequence[str]
) -> tuple[dict[str, int], Tensor]:
    """The width of each layer, and the root of the mean square of its features; one picture at a time."""
    squares = torch.zeros(len(layers))
    for example in examples:
        features = teacher(example[None], layers)
        squares += torch.stack([features[name].square().mean() for name in layers]) / len(examples)
    roots = squares.sqrt()
    return {name: features[name].shape[1] for name in layers}, torch.where(roots > 0, roots, 1.0)
