"""Query parameters: as one model, read in one go, and none that is not known.

FastAPI takes such a model apart field by field on every request, which costs a twelfth of a list's
time, and drops in silence what it does not know. Knows nothing of what the parameters mean.
"""

from collections.abc import Collection
from difflib import get_close_matches
from typing import Any, TypeVar, get_origin

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)


def read_parameters(request: Request, model: type[Model]) -> Model:
    """The query's parameters, of which `refuse_unknown` has seen the names.

    Args:
        request: of a parameter that is given twice the last one counts, unless it is a list.
        model: a list field collects every value of its parameter.

    Raises:
        RequestValidationError: one is wrong.
    """
    query = request.query_params
    given: dict[str, Any] = {}
    for name in query:
        field = model.model_fields.get(name)
        if field is not None:
            several = get_origin(field.annotation) is list
            given[name] = query.getlist(name) if several else query[name]
    try:
        return model.model_validate(given)
    except ValidationError as exc:
        raise RequestValidationError(
            [{**error, "loc": ("query", *error["loc"])} for error in exc.errors()]
        ) from exc


def refuse_unknown(request: Request, known: Collection[str]) -> None:
    """Refuse a query parameter that is none of the known ones.

    Raises:
        RequestValidationError: there is one; the message names it and the known ones.
    """
    unknown = [name for name in request.query_params if name not in known]
    if not unknown:
        return
    allowed = f"known here: {', '.join(sorted(known))}" if known else "there is none here"
    raise RequestValidationError(
        [
            {
                "type": "unknown_parameter",
                "loc": ("query", name),
                "msg": f"no such query parameter; {_near(name, known)}{allowed}",
                "input": request.query_params[name],
            }
            for name in unknown
        ]
    )


def _near(name: str, known: Collection[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}? " if close else ""


def document_parameters(model: type[BaseModel]) -> dict[str, Any]:
    """The `openapi_extra` of a route that reads a model; its fields' types are simple ones."""
    schema = model.model_json_schema()
    described = []
    for name, field in schema["properties"].items():
        text = field.pop("description", "")
        described.append(
            {"name": name, "in": "query", "required": False, "schema": field, "description": text}
        )
    return {"parameters": described}
