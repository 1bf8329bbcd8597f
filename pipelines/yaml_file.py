"""Policy files: YAML read into strict models. Everything wrong with a file is refused at once, each reason with FILE:LINE."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from pipelines.errors import AllRefused, Refused


class PolicyRefused(AllRefused):
    """Everything that is wrong with the policy; as an exception it reads like the first reason."""


class Strict(BaseModel):
    """A mapping in which every key is known."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Dated(Strict):
    """Something that holds from the day `from`, to before the day `to`; without them, always."""

    start: date | None = Field(None, alias="from")
    end: date | None = Field(None, alias="to")


def _exact(value: Any) -> Any:
    """A number as it is written; YAML's floats have 15 certain digits and are taken at those."""
    return Decimal(f"{value:.15g}") if isinstance(value, float) else value


Name = Annotated[str, Field(min_length=1)]
Exact = Annotated[Decimal, BeforeValidator(_exact), Field(allow_inf_nan=False)]
Model = TypeVar("Model", bound=BaseModel)


def read(path: Path, model: type[Model]) -> tuple[Any, Model]:
    """The file as a tree that knows its lines, and as `model`; raises `PolicyRefused` with every reason."""
    try:
        tree = YAML().load(path.read_text(encoding="utf-8"))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path.name}:{mark.line + 1}" if mark else path.name
        raise PolicyRefused([Refused((error.problem or "not YAML").splitlines()[0], where, "correct the YAML")]) from None
    except FileNotFoundError:
        raise PolicyRefused([Refused("is missing", path.name, "add the file, or correct its path")]) from None
    except UnicodeDecodeError as error:
        raise PolicyRefused([Refused("cannot be read as YAML in UTF-8", path.name, type(error).__name__)]) from None
    except ValueError as error:  # of a date that does not exist, and it does not say where
        raise PolicyRefused([_no_date(path, error)]) from None
    except (OSError, YAMLError) as error:
        raise PolicyRefused([Refused("cannot be read as YAML in UTF-8", path.name, type(error).__name__)]) from None
    if not isinstance(tree, dict):
        raise PolicyRefused([Refused("is not a mapping", f"{path.name}:1", f"start from the shipped {path.name}")])
    try:
        return tree, model.model_validate(tree)
    except ValidationError as error:
        raise PolicyRefused([_refusal(path.name, tree, e) for e in error.errors()]) from None


def _no_date(path: Path, error: ValueError) -> Refused:
    """The first date of the file that no calendar has, such as 2026-02-30."""
    yaml = YAML()
    for event in yaml.parse(path.read_text(encoding="utf-8")):
        text = getattr(event, "value", None)
        if isinstance(text, str) and event.implicit[0]:
            try:
                YAML().load(text)
            except ValueError:
                return Refused(f"{text} is no date", f"{path.name}:{event.start_mark.line + 1}", "write a day of the calendar as YYYY-MM-DD")
            except YAMLError:
                continue
    return Refused(f"a value cannot be read: {error}", path.name, "correct it")


def line_of(tree: Any, loc: Iterable[Any]) -> int:
    """The line of the deepest part of `loc` that the file has."""
    node, found = tree, 1
    for key in loc:
        try:
            mark = node.lc.item(key) if isinstance(node, list) else node.lc.key(key)
            found, node = mark[0] + 1, node[key]
        except (KeyError, IndexError, AttributeError, TypeError):
            break
    return found


def _refusal(file: str, tree: Any, error: Any) -> Refused:
    key, where = ".".join(str(part) for part in error["loc"]), f"{file}:{line_of(tree, error['loc'])}"
    if error["type"] == "extra_forbidden":
        return Refused(f"unknown key {key}", where, "remove it or correct its name")
    if error["type"] == "missing":
        return Refused(f"{key} is missing", where, "add it")
    message = error["msg"].removeprefix("Value error, ")
    return Refused(f"{key}: {message}", where, f"it says {error['input']!r}"[:80])
