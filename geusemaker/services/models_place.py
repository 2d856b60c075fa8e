"""Where Ollama's models lie: on EFS or on the data volume. A fact of the deployment, which its first deploy says. Pure.

Moving them would be a change of data, which no update makes.
"""

from __future__ import annotations

from typing import get_args

from geusemaker.errors import InvalidInputError
from geusemaker.models.fields import ModelsOn
from geusemaker.models.stack import Target


def models_place(asked: str | None) -> ModelsOn:
    """The place that a first deploy asks for.

    Raises:
        InvalidInputError: there is no such place.
    """
    for known in get_args(ModelsOn):
        if asked in (None, known):
            place: ModelsOn = known
            return place
    raise InvalidInputError(f"--models-on is efs or volume, not {asked!r}.")


def require_models_stay(asked: str | None, name: str, target: Target) -> None:
    """Refuse another place than the models have.

    Raises:
        InvalidInputError
    """
    if asked is None or models_place(asked) == target.models_on:
        return
    place = "the data volume" if target.models_on == "volume" else "EFS"
    raise InvalidInputError(
        f"{name}'s models lie on {place}; that is chosen at the first deploy, and no change moves data.",
        next_step="Leave --models-on out; docs/aws.md (What it costs) says what helps where they are.",
    )
