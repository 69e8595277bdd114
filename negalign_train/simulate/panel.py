"""Which ground truth a source of cases has."""

from __future__ import annotations

from negalign_train.simulate.mesh_reader import MeshTruth
from negalign_train.simulate.readers import GrammarTruth, GroundTruth
from negalign_train.vocabulary.errors import RecipeError


def truth_for(source: str) -> GroundTruth:
    """The ground truth of one source of cases.

    Raises:
        RecipeError: the source has no structured ground truth.
    """
    if source == "synthetic":
        return GrammarTruth()
    if source == "openi":
        return MeshTruth()
    raise RecipeError(
        f"feedback.source simulated needs cases with structured ground truth; {source} has none: "
        "use feedback.source log"
    )
