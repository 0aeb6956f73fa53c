"""What REST callers may say beside the picture, wherever they say it: in the query, a form or an object.

Said more than once, it must be the same. An empty text of a query or a form says nothing: forms of HTML have one for
each field that was left empty.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias
from urllib.parse import parse_qsl

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from detector_grpc.errors import InvalidRequest, Violation
from detector_grpc.rpc.status import MAX_VIOLATIONS
from detector_grpc.serving.options import MAX_DETECTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable

    Said: TypeAlias = list[tuple[str, Any]]

# Python makes values at some microseconds each, and a query has room for thousands.
MAX_PARAMETERS = 1000
MAX_SHOWN_LENGTH = 40


def _whole(text: str) -> str:
    text.encode()
    return text


# Escapes of JSON can make halves of characters, which no message can hold.
Text: TypeAlias = Annotated[str, AfterValidator(_whole)]


class Fields(BaseModel):
    """Fields of PredictRequest by their names, types checked, ranges not."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    conf_threshold: float | None = None
    version: Text | None = None
    model: Text | None = None
    iou_threshold: float | None = None
    classes: list[Text] | None = None
    multi_label: bool | None = None
    class_agnostic_nms: bool | None = None
    max_detections: int | None = Field(None, ge=1, le=MAX_DETECTIONS)


# Each time that it is said in a query or a form, it is one name more.
_LISTED = "classes"


def read_query(query: str, violations: list[Violation]) -> Said:
    """What the query of a URL says; adds what is wrong with it to `violations`.

    Raises:
        InvalidRequest: It has too many parameters.
    """
    return read_texts(_parameters(query), violations)


def refuse_parameters(query: str) -> None:
    """Of a path that takes none.

    Raises:
        InvalidRequest: There are some.
    """
    if violations := [Violation(cut(name), "this path takes no parameters") for name, _ in _parameters(query)]:
        raise InvalidRequest(violations)


def read_names(query: str, known: Iterable[str]) -> dict[str, str]:
    """What a query says of texts by name; an empty text says nothing.

    Raises:
        InvalidRequest: It says something else, or contradicts itself.
    """
    given, names = _parameters(query), list(known)
    there_are = f"there is no such parameter; there are {', '.join(names)}"
    violations = [Violation(cut(name) or '""', there_are) for name, _ in given if name not in names]
    values = joined([(name, text) for name, text in given if text and name in names], violations)
    if violations:
        raise InvalidRequest(violations[:MAX_VIOLATIONS])
    return values


def _parameters(query: str) -> list[tuple[str, str]]:
    """Names and values."""
    count = query.count("&") + 1
    if count > MAX_PARAMETERS:
        raise refused("query", f"must have at most {MAX_PARAMETERS} parameters, got {count}")
    return parse_qsl(query, keep_blank_values=True, errors="replace")


def read_texts(texts: list[tuple[str, str]], violations: list[Violation]) -> Said:
    """What names and values of a query or a form say; adds what is wrong with them to `violations`."""
    given = [(name, text) for name, text in texts if text or name not in Fields.model_fields]
    listed = [text for name, text in given if name == _LISTED]
    single = [(name, text) for name, text in given if name != _LISTED]
    return _checked([*single, (_LISTED, listed or None)], violations, strict=False)


def read_members(members: Said, violations: list[Violation]) -> Said:
    """What names and values of a JSON object say; adds what is wrong with them to `violations`."""
    return _checked(members, violations, strict=True)


def joined(said: Said, violations: list[Violation]) -> dict[str, Any]:
    """All that is said, once; adds to `violations` what contradicts itself."""
    values: dict[str, Any] = {}
    for name, value in said:
        if name not in values:
            values[name] = value
        elif values[name] != value:
            rule = f"must be the same wherever it is given, got {shown(values[name])} and {shown(value)}"
            if (violation := Violation(name, rule)) not in violations:
                violations.append(violation)
    return values


def _checked(statements: Said, violations: list[Violation], *, strict: bool) -> Said:
    said: Said = []
    for name, value in statements:
        if len(violations) >= MAX_VIOLATIONS:
            break  # nobody is told more
        try:
            fields = Fields.model_validate({name: value}, strict=strict)
        except ValidationError as error:
            violations += _violations(error)
        else:
            said += fields.model_dump(exclude_none=True).items()
    return said


# By the beginnings of pydantic's names of faults.
_RULES = {
    "extra_forbidden": f"there is no such field; there are {', '.join(Fields.model_fields)}",
    "float": "must be a number",
    "int": "must be a whole number",
    "greater_than_equal": f"must be in [1, {MAX_DETECTIONS}]",
    "less_than_equal": f"must be in [1, {MAX_DETECTIONS}]",
    "bool": "must be true or false",
    "string": "must be a text",
    "value_error": "must be a text of whole characters",
    "list": "must be a list of texts",
}


def _violations(error: ValidationError) -> Iterable[Violation]:
    """What is wrong with fields, in words for those who sent them."""
    for fault in error.errors(include_url=False):
        kind = fault["type"]
        rule = next((rule for name, rule in _RULES.items() if kind.startswith(name)), "cannot be read")
        actual = "" if kind == "extra_forbidden" else f", got {shown(fault['input'])}"
        yield Violation(cut(".".join(map(str, fault["loc"]))) or '""', rule + actual)


def shown(value: object) -> str:
    """A value as JSON has it, of a long one its beginning."""
    if isinstance(value, float):
        return f"{value:g}"
    return cut(json.dumps(cut(value) if isinstance(value, str) else value, ensure_ascii=False, default=list))


def cut(text: str) -> str:
    """The beginning of a text, which is all of most, as far as it can be sent."""
    beginning = text[:MAX_SHOWN_LENGTH].encode(errors="replace").decode()
    return beginning if len(text) <= MAX_SHOWN_LENGTH else f"{beginning}…"


def refused(field: str, description: str) -> InvalidRequest:
    """Of one field."""
    return InvalidRequest([Violation(field, description)])
