"""What fine-tuning sees in a text: the gradient of a fresh classifier at it, in few numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..task import TextInput
from .compute import derived_seed, seeded
from .learner import Learner

HEADS = 2
"""Fresh heads at which the gradients are taken: training begins at another one every time."""
RANK = 8
"""A layer's gradient is projected to RANK x RANK numbers."""


class TangentFeatures:
    """Features whose inner products tell how far a step of fine-tuning on one text moves the logits of another.

    For small steps a network is linear in its weights, and training it is kernel regression with the kernel
    <df(x)/dw, df(y)/dw> (the neural tangent kernel, Jacot et al. 2018). Here f is one logit of the pretrained encoder
    with a fresh head. The gradient at a linear layer is a sum over tokens of (gradient at its output) x (its input);
    both factors are projected to RANK random directions (LoGra, Choe et al. 2024), so that no gradient is ever formed.
    AdamW divides by the size of the gradient: a layer of n weights whose gradients have the norm g counts as
    g sqrt(n), not as g^2.
    """

    def __init__(self, learner: Learner, reference: Sequence[TextInput], size: int = 512):
        """reference: texts that tell how large the gradients of each layer are, and which `size` directions matter."""
        self.learner = learner
        random = torch.Generator().manual_seed(derived_seed("tangent"))
        head = {id(module) for module in learner.head_modules}
        self.layers = [m for m in learner.model.modules() if isinstance(m, nn.Linear) and id(m) not in head]
        self.projections = [
            tuple(
                torch.randn(n, RANK, generator=random).to(learner.device) / RANK**0.5
                for n in (m.in_features, m.out_features)
            )
            for m in self.layers
        ]
        blocks = self._blocks(reference)
        weights = [learner.output_layer.in_features, *(m.weight.numel() for m in self.layers)]
        counts = [weights[0], *[w for _ in range(HEADS) for w in weights[1:]]]
        self.scales = [
            n**0.25 / max(float((b**2).sum(1).mean()), 1e-30) ** 0.25 for n, b in zip(counts, blocks, strict=True)
        ]
        whole = self._joined(blocks)
        with seeded(derived_seed("tangent")):
            found = torch.svd_lowrank(torch.from_numpy(whole).to(learner.device), q=min(size, *whole.shape), niter=2)
        self.directions = found[2].cpu().numpy()
        self.reference = whole @ self.directions
        """The features of the reference."""

    def __call__(self, texts: Sequence[TextInput]) -> Float[np.ndarray, "n p"]:
        """At most of unit length: what lies outside the directions is left out."""
        return self._joined(self._blocks(texts)) @ self.directions

    def _joined(self, blocks: list[np.ndarray]) -> np.ndarray:
        whole = np.hstack([block * scale for block, scale in zip(blocks, self.scales, strict=True)])
        return whole / np.linalg.norm(whole, axis=1, keepdims=True)

    def _blocks(self, texts: Sequence[TextInput]) -> list[np.ndarray]:
        """[n, d] of what enters the head, and [n, RANK^2] of every layer and head."""
        blocks: list[np.ndarray] = []
        for number in range(HEADS):
            self.learner.reinitialize(derived_seed("tangent", number))
            inputs, gradients = self._gradients(texts)
            blocks += gradients if number else [inputs, *gradients]
        return blocks

    def _gradients(self, texts: Sequence[TextInput]) -> tuple[np.ndarray, list[np.ndarray]]:
        model, caught = self.learner.model, dict[int, Tensor]()
        trained = [p for p in model.parameters() if p.requires_grad]

        def watch(place: int) -> Callable[..., None]:
            left, right = self.projections[place]

            def hook(_: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
                seen = args[0].detach() @ left

                def back(gradient: Tensor) -> None:
                    a, b = (t if t.ndim == 3 else t[:, None] for t in (seen, gradient @ right))
                    caught[place] = torch.einsum("btp,btq->bpq", a, b).flatten(1)

                output.register_hook(back)

            return hook

        heads: list[Tensor] = []
        hooks = [layer.register_forward_hook(watch(place)) for place, layer in enumerate(self.layers)]
        hooks.append(
            self.learner.output_layer.register_forward_pre_hook(lambda _, args: heads.append(args[0].detach()))
        )
        hooks.append(model.get_input_embeddings().register_forward_hook(lambda _, __, out: out.requires_grad_()))
        inputs = np.empty((len(texts), self.learner.output_layer.in_features), np.float32)
        gradients = [np.empty((len(texts), RANK**2), np.float32) for _ in self.layers]
        try:
            for parameter in trained:
                parameter.requires_grad_(False)
            for rows, batch in self.learner.padded_batches(texts, 128):
                model(**batch).logits[:, 0].sum().backward()
                inputs[rows] = heads.pop().cpu().numpy()
                for place, block in enumerate(gradients):
                    block[rows] = caught.pop(place).cpu().numpy()
        finally:
            for hook in hooks:
                hook.remove()
            for parameter in trained:
                parameter.requires_grad_(True)
        return inputs, gradients
