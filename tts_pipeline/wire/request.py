"""Build the HTTP request of an attempt, in the service's dialect."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlencode

import orjson
from msgspec import Struct

from tts_pipeline.card import Card, Endpoint
from tts_pipeline.errors import ConfigurationError, PermanentError
from tts_pipeline.models import Parameters, ParameterValue

STREAM_PARAMETER = "stream"
"""The client's own switch: it requests server-sent events and is never in a body."""

_STREAM_HEADER = "x-dashscope-sse"
_RESERVED = frozenset({"model", "input"})
_TEXT_MARK = os.urandom(16).hex()
"""Marks the place of the text in a template. It is random, so that no parameter can contain it."""
_MAX_TEMPLATES = 64
"""Templates that are kept; a run with more sets of parameters makes the others for each request."""


class Request(Struct, frozen=True, gc=False):
    """The HTTP request for one segment, without the API key: the sender adds ``Authorization``.

    Header names are in lower case. The body is UTF-8 JSON in a fixed order of keys, so that equal requests are equal
    bytes. ``request_key`` is the hex SHA-256 over the service's name, the path, the service's own query and headers
    (if any), and the body. It leaves out the base URL, the stream switch and the API key: the same request to a
    restarted local service or another mirror, or streamed, is the same purchase.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    request_key: str

    def __repr__(self) -> str:
        """Show all fields but the body, which holds a person's text."""
        fields = (f"{name}={getattr(self, name)!r}" for name in ("method", "url", "headers", "request_key"))
        return f"Request({', '.join(fields)})"


_BodyBuilder = Callable[[str, str, dict[str, ParameterValue]], dict[str, object]]


@dataclass(frozen=True, slots=True)
class _Dialect:
    prefix: str
    route: str
    build_body: _BodyBuilder


def _flat_body(model: str, text: str, parameters: dict[str, ParameterValue]) -> dict[str, object]:
    return {"model": model, "input": text, **parameters}


_DASHSCOPE_INPUT = ("voice", "language_type")


def _nested_body(model: str, text: str, parameters: dict[str, ParameterValue]) -> dict[str, object]:
    # As in the maker's own SDK (dashscope-sdk-python, aigc/multimodal_conversation.py): the text, the voice and the
    # language go into "input", all others into "parameters".
    input_parameters = {name: parameters[name] for name in _DASHSCOPE_INPUT if name in parameters}
    other_parameters = {name: value for name, value in parameters.items() if name not in input_parameters}
    body: dict[str, object] = {"model": model, "input": {"text": text, **input_parameters}}
    return {**body, "parameters": other_parameters} if other_parameters else body


_DIALECTS: Mapping[str, _Dialect] = {
    "openai": _Dialect("/v1", "/audio/speech", _flat_body),
    "dashscope": _Dialect("/api/v1", "/services/aigc/multimodal-generation/generation", _nested_body),
}


class _Template(NamedTuple):
    """A request without its text: the body before and after it, and the headers."""

    head: bytes
    tail: bytes
    headers: Mapping[str, str]


class RequestBuilder:
    """Builds the requests of one model on one service, and their common parts only once.

    The base URL may end with the dialect's version (``/v1``, ``/api/v1``) or not. The card determines the order of keys
    and the parameters that stay out of the body.

    Raises:
        ConfigurationError: The dialect is unknown.
    """

    def __init__(self, service: Endpoint, card: Card) -> None:
        dialect = _dialect_of(service)
        path = dialect.prefix + dialect.route
        self._card = card
        self._build_body = dialect.build_body
        self._url = service.base_url.rstrip("/").removesuffix(dialect.prefix) + path + query_of(service)
        self._headers = {**service.headers, "content-type": "application/json"}
        self._digest = _identity_digest(service, path)
        self._order = tuple(dict.fromkeys(("voice", *card.parameters)))
        self._templates: dict[bytes, _Template] = {}
        self._unsent = frozenset(name for name in (STREAM_PARAMETER, *self._order) if not is_in_body(card, name))

    def build(self, text: str, parameters: Parameters) -> Request:
        """Build the request for one segment with the unchanged text; the parameters are already checked and normalised.

        Unset parameters are not sent; an explicit ``False`` is sent.

        Raises:
            ConfigurationError: A parameter would overwrite the model or the text.
            PermanentError: ``UnencodableText``: the text is not valid Unicode (a lone surrogate). Nothing was sent.
        """
        head, tail, headers = self._template_of(parameters)
        body = head + _encode(text) + tail
        digest = self._digest.copy()
        digest.update(body)
        return Request("POST", self._url, headers, body, digest.hexdigest())

    def _template_of(self, parameters: Parameters) -> _Template:
        """Return the template for parameters. Nearly every request of a run has the same ones, written the same way."""
        try:
            key = orjson.dumps(parameters)
        except orjson.JSONEncodeError:
            return self._make_template(parameters)
        template = self._templates.get(key)
        if template is None:
            template = self._make_template(parameters)
            if len(self._templates) < _MAX_TEMPLATES:
                self._templates[key] = template
        return template

    def _make_template(self, parameters: Parameters) -> _Template:
        body = _encode(self._build_body(self._card.model, _TEXT_MARK, self._body_parameters(parameters)))
        head, _, tail = body.partition(_encode(_TEXT_MARK))
        headers = self._headers
        if parameters.get(STREAM_PARAMETER) is True and STREAM_PARAMETER in self._card.parameters:
            headers = {**headers, _STREAM_HEADER: "enable"}
        return _Template(head, tail, headers)

    def _body_parameters(self, parameters: Parameters) -> dict[str, ParameterValue]:
        """Return the parameters of the body: the voice, then the card's order, then unknown names, sorted."""
        if not _RESERVED.isdisjoint(parameters):
            names = ", ".join(sorted(_RESERVED & parameters.keys()))
            raise ConfigurationError(f"{names} cannot be set as a parameter", hint="use `model` and `text`")
        order = dict.fromkeys((*self._order, *sorted(parameters)))  # a known name keeps its first place
        return {name: parameters[name] for name in order if name in parameters and name not in self._unsent}


def query_of(service: Endpoint) -> str:
    """Return the query of a service as the end of a URL; empty without a query."""
    return f"?{urlencode(service.query)}" if service.query else ""


def _dialect_of(service: Endpoint) -> _Dialect:
    try:
        return _DIALECTS[service.dialect]
    except KeyError:
        choices = ", ".join(_DIALECTS)
        raise ConfigurationError(
            f"service {service.name!r} has the unknown dialect {service.dialect!r}", hint=f"use one of {choices}"
        ) from None


def is_in_body(card: Card, name: str) -> bool:
    """Return whether a parameter is part of the body, and so of the request key."""
    parameter = card.parameters.get(name)
    return name != STREAM_PARAMETER and (parameter is None or parameter.in_body)


def _encode(value: object) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        raise PermanentError(
            "the text or a parameter cannot be written as UTF-8 JSON",
            code="UnencodableText",
            may_be_billed=False,
            hint="look for lone surrogates or broken characters in the row",
        ) from None


def _identity_digest(service: Endpoint, path: str) -> hashlib._Hash:
    digest = hashlib.sha256(f"{service.name}\0{path}\0".encode("utf-8", "surrogatepass"))
    if service.query or service.headers:  # a service without them keeps the request keys of earlier versions
        digest.update(orjson.dumps([service.query, service.headers], option=orjson.OPT_SORT_KEYS))
    return digest
