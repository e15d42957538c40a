"""Several predictors as one: the mean for a new person, a member's own for that member."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.predictions import Predictions
from benchmarks.windows import Windows
from strategies.baselines import Constant
from strategies.ensemble import Ensemble
from tests.strategies.learnings import gaussian_windows

WINDOWS = gaussian_windows(["new"], per_class=3)
MEMBERS: Mapping[str, Constant] = {"a": Constant(np.array([1.0, 0.0])), "b": Constant(np.array([0.25, 0.75]))}


def test_a_new_person_is_told_the_mean_probability() -> None:
    for subject in (None, "new"):
        said = Ensemble(MEMBERS).predict(WINDOWS, subject).probabilities
        np.testing.assert_allclose(said, np.tile([0.625, 0.375], (6, 1)), rtol=1e-15)


def test_a_member_is_told_what_its_own_predictor_says() -> None:
    np.testing.assert_array_equal(Ensemble(MEMBERS).predict(WINDOWS, "b").probabilities, np.tile([0.25, 0.75], (6, 1)))


@dataclass(frozen=True)
class BySign:
    """Predictor of the sign of a feature."""

    feature: int

    def predict(self, windows: Windows, subject: str | None = None) -> Predictions:
        one = (windows.x[:, self.feature] > 0).astype(float)
        return Predictions(np.stack([1 - one, one], axis=1))


def test_each_window_has_a_mean_of_its_own() -> None:
    members = {str(feature): BySign(feature) for feature in range(3)}
    votes = (WINDOWS.x[:, :3] > 0).mean(axis=1)
    np.testing.assert_allclose(Ensemble(members).predict(WINDOWS).probabilities[:, 1], votes)
