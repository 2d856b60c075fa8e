"""What somebody typed, and what went wrong, in words for whoever typed it."""

from __future__ import annotations

from geusemaker.errors import GeusemakerError, InterruptedOperationError, InvalidInputError


def as_known_error(error: BaseException) -> GeusemakerError:
    """The error as one for the operator; what nobody foresaw becomes one sentence."""
    if isinstance(error, GeusemakerError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return InterruptedOperationError(
            "Interrupted.", next_step="`geusemaker status` tells what state things are in."
        )
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        # Its own text tells what stands there, which may be a secret or a megabyte.
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        return GeusemakerError(
            f"Something that is stored cannot be read by this geusemaker ({error.title}"
            f"{f', {place}' if place else ''}: {first['msg']}).",
            next_step="It was written by another version of geusemaker, or is damaged: use the version that wrote it, "
            "or see what `geusemaker doctor` tells.",
        )
    text = " ".join(str(error).split())[:300]
    return GeusemakerError(
        f"Something unforeseen went wrong ({type(error).__name__}{': ' + text if text else ''}).",
        next_step="Run again with --debug to see where; `geusemaker status` tells what state things are in.",
    )


def nearest(word: str, known: list[str]) -> str | None:
    """The known word most like this one, if any is near."""
    import difflib

    return next(iter(difflib.get_close_matches(word.lower(), known, n=1)), None)


def check_name(name: str) -> None:
    """Refuse what cannot be a deployment's name.

    Raises:
        InvalidInputError: with the rule.
    """
    from geusemaker.models.stack import DEPLOYMENT_NAME

    if not DEPLOYMENT_NAME.fullmatch(name):
        raise InvalidInputError(
            f"{name!r} cannot be the name of a deployment.",
            next_step="Use at most 40 lower-case letters, digits and hyphens, beginning with a letter.",
        )
