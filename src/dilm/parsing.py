"""From a form (a dataclass of options) to a command line: parsing, a help that fits a screen, shell completion."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

import tyro
from tyro.conf import PositionalMetavarFromFieldName, Suppress

from .arguments import DETAILS
from .errors import InputError

Form = TypeVar("Form")
SHELLS = ("bash", "zsh", "fish")


def parse(form: type[Form], verb: str, arguments: Sequence[str], default: Form | None = None) -> Form:
    """The form filled in. --help leaves out the form's details (`arguments.DETAILS`), --help-all shows everything."""
    brief = {"-h", "--help"} & set(arguments) and "--help-all" not in arguments
    shown = without(form, DETAILS.get(form.__name__, ())) if brief else form
    parsed = tyro.cli(
        shown,
        prog=f"dilm {verb}",
        args=["--help" if argument == "--help-all" else argument for argument in arguments],
        default=default if default is None else shown(**values(default)),
        config=(PositionalMetavarFromFieldName,),
    )
    return typing.cast(Form, parsed)


def values(form: Any) -> dict[str, Any]:
    """The fields of a dataclass as keywords."""
    return {field.name: getattr(form, field.name) for field in dataclasses.fields(form)}


def without(form: type[Form], names: Sequence[str]) -> type[Form]:
    """The form with some fields that the command line does not show."""
    hints = typing.get_type_hints(form, include_extras=True)
    hidden = [
        (field.name, Suppress[hints[field.name]], dataclasses.field(default=field.default))
        if field.default is not dataclasses.MISSING
        else (field.name, Suppress[hints[field.name]], dataclasses.field(default_factory=field.default_factory))  # type: ignore[arg-type]
        for field in dataclasses.fields(form)  # type: ignore[arg-type]
        if field.name in names
    ]
    made = dataclasses.make_dataclass(form.__name__, hidden, bases=(form,), frozen=True)
    made.__doc__ = form.__doc__
    return made


def completion(forms: Mapping[str, type], arguments: Sequence[str]) -> None:
    """Print the completion script of a shell for all verbs."""
    if len(arguments) != 1 or arguments[0] not in SHELLS:
        raise InputError(f"name a shell, as in: dilm completion bash (shells: {', '.join(SHELLS)})")
    branches = tuple(Annotated[form, tyro.conf.subcommand(verb)] for verb, form in forms.items())
    tyro.cli(
        typing.Union[branches],  # type: ignore[valid-type]  # noqa: UP007
        prog="dilm",
        args=["--tyro-write-completion", arguments[0], "-"],
    )
