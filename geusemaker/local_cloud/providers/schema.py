"""What a resource type consists of, as data: which inputs it has, which replace it, what it computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Property:
    """One input property.

    Args:
        required: the check fails without it.
        replaces: a change of it replaces the resource.
        computed: optional, and filled in by AWS where it is not given; taking it out of the program is no change.
        unordered: a list whose order means nothing.
        default: what AWS takes where it is not given; giving exactly that is no change.
        fields: the properties of a nested object, or of each object in a list.
        normalize: maps values that mean the same onto one; applied to values that are known.
    """

    required: bool = False
    replaces: bool = False
    computed: bool = False
    unordered: bool = False
    default: Any = None
    fields: Mapping[str, Property] | None = None
    normalize: Callable[[Any], Any] | None = None


@dataclass(frozen=True)
class AutoName:
    """The property that gets the resource's logical name and seven hex digits where no name is given."""

    property: str = "name"
    prefix_property: str = "namePrefix"
    max_length: int = 255


@dataclass(frozen=True)
class Schema:
    """The declarative half of a resource type.

    Args:
        token: Pulumi type token.
        label: what the AWS provider calls it in its messages (``EC2 Instance``).
        properties: the inputs.
        outputs: properties that only AWS gives.
        auto_name: naming rule, where the type has one.
        delete_before_replace: always deletes the old one first.
        needs_one_of: groups of inputs of which at least one must be given.
        exactly_one_of: groups of inputs of which one must be given, and no second one.
    """

    token: str
    label: str
    properties: Mapping[str, Property]
    outputs: tuple[str, ...] = ()
    auto_name: AutoName | None = None
    delete_before_replace: bool = False
    needs_one_of: tuple[tuple[str, ...], ...] = ()
    exactly_one_of: tuple[tuple[str, ...], ...] = ()
    computed: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        optional = {name for name, rule in self.properties.items() if rule.computed}
        object.__setattr__(self, "computed", frozenset(optional | set(self.outputs)))

    @property
    def taggable(self) -> bool:
        """Whether the type has tags, and so ``tagsAll``."""
        return "tags" in self.properties
