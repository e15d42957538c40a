"""How it is told that training with a subject of a stream diverged."""

from __future__ import annotations

from benchmarks.errors import LearningError
from strategies.continual.experience import SubjectExperience


def diverged(experience: SubjectExperience, what: str) -> LearningError:
    """Error that names the subject, its place in the stream, and what showed it, with what may help."""
    return LearningError(
        f"Training diverged at subject {experience.subject}, number {experience.current_experience + 1} of the stream: "
        f"{what}. Try a smaller training.learning_rate, or a smaller strength of the strategy."
    )
