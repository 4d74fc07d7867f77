"""Selection methods, all with one signature: (features [n, d], labels [n], k, seed) -> places [classes * k]."""

from ..errors import InputError, suggest
from .base import Reference, Selector, standardised
from .coverage import greedy_k_center, herding, k_centers, random
from .kernel import kernel
from .learned import gradient_match, loss_rank

METHODS: dict[str, Selector] = {
    "random": random,
    "k-centers": k_centers,
    "greedy-k-center": greedy_k_center,
    "herding": herding,
    "loss-rank": loss_rank,
    "gradient-match": gradient_match,
    "kernel": kernel,
}

LOOK_AT_CANDIDATES_ALONE = ("random", "k-centers", "greedy-k-center")
"""Methods for which it makes no difference what the chosen texts are to stand for."""


def check_method(name: str) -> None:
    """InputError if there is no such method."""
    if name not in METHODS:
        raise InputError(f"no method '{name}'{suggest(name, METHODS)}; methods: {', '.join(METHODS)}")


__all__ = ["LOOK_AT_CANDIDATES_ALONE", "METHODS", "Reference", "Selector", "check_method", "standardised"]
