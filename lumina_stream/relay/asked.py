"""A query as it stands behind the question mark: read into a Struct, or refused in words of ours."""

from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec
from starlette.datastructures import QueryParams

from lumina_stream.relay.selection import QueryError

Query = TypeVar("Query", bound=msgspec.Struct)


def read_query(given: QueryParams, kind: type[Query]) -> Query:
    """Return the parameters as a Struct; raise `QueryError` for one that is wrong.

    A field that is a tuple takes its parameter as often as it comes.
    """
    known = {field.name: field.type for field in msgspec.structs.fields(kind)}
    values: dict[str, Any] = {}
    for name, value in given.multi_items():
        if name not in known:
            raise QueryError(f"no parameter {name!r}; there are {', '.join(known)}")
        if get_origin(known[name]) is tuple:
            values[name] = (*values.get(name, ()), value)
            continue
        if name in values:
            raise QueryError(f"{name} comes twice")
        try:
            msgspec.convert(value, known[name], strict=False)
        except msgspec.ValidationError:
            raise QueryError(f"{name} is {value!r}; it takes {_takes(known[name])}") from None
        values[name] = value
    return msgspec.convert(values, kind, strict=False)


def _takes(kind: Any) -> str:
    if isinstance(kind, UnionType):
        kind = next(part for part in get_args(kind) if part is not type(None))
    if get_origin(kind) is Literal:
        return ", ".join(get_args(kind))
    return {int: "a whole number", bool: "true or false"}.get(kind, "a text")
