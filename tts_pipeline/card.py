"""A model's card and a service's endpoint: what requests may carry, where they go, what they cost. Frozen, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from tts_pipeline.models import ParameterValue, Price

PORTS = {"http": 80, "https": 443}
"""By the scheme of a URL."""

ParameterType = Literal["string", "number", "integer", "boolean", "object", "array"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter a model takes.

    Args:
        name: The service's own name, also the key in the request body.
        type: The JSON type that is sent.
        required: A request without it is refused before it is sent.
        choices: Allowed values; None is any value of the type and range.
        labels: What a choice means, for people (``{"Cherry": "Intellectual Female"}``).
        minimum: Smallest number allowed, inclusive.
        maximum: Largest number allowed, inclusive.
        step: Numbers are ``minimum`` plus a multiple of it, compared as decimals; None is any.
        in_body: False for a switch of the client's that is never in the body (``stream``).
        description: One sentence.
    """

    name: str
    type: ParameterType
    required: bool = False
    choices: tuple[ParameterValue, ...] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    minimum: Decimal | None = None
    maximum: Decimal | None = None
    step: Decimal | None = None
    in_body: bool = True
    description: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """What a model on a service takes and costs, each figure with its source.

    Args:
        service: The service's name, or ``*`` for a card that holds on any service.
        model: The model's name as sent.
        snapshot: The dated name it stands for; None when unknown.
        parameters: By name, in the order of the documentation.
        languages: BCP-47 tag -> the service's word (``{"de": "German"}``); empty when it takes none.
        language_parameter: The parameter that carries the language; None when there is none.
        input_limit: The longest text of one request, in ``input_unit``; None is no limit known.
        input_unit: What ``input_limit`` counts.
        billing: The counter that the bill follows.
        output_tokens_per_second: Billed by token: what a second of audio takes; None is not known.
        prices: In order of time.
        requests_per_minute: The service's own limit for this model and an account; None is none known.
        permissive: True where parameters that the card does not know are let through.
        source: Where the card's figures were read, and when.
    """

    service: str
    model: str
    snapshot: str | None = None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    languages: Mapping[str, str] = field(default_factory=dict)
    language_parameter: str | None = None
    input_limit: int | None = None
    input_unit: Literal["characters", "bytes", "tokens"] = "characters"
    billing: Literal["han_double", "characters", "tokens"] = "characters"
    output_tokens_per_second: int | None = None
    prices: tuple[Price, ...] = ()
    requests_per_minute: int | None = None
    permissive: bool = False
    source: str = ""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint: where, in which dialect, with which key. ``tts_pipeline.Service`` adds the look-up by name.

    Args:
        name: ``local``, ``modelstream``, ``baze``, ``dashscope``, the user's own, or the URL itself.
        base_url: Without ``/v1`` and without a trailing slash.
        dialect: How requests are built.
        auth: ``bearer`` or ``none``.
        api_key: Never shown, logged, stored or part of an identity.
        account: A label for the bill, never the key.
        maker: Whether it is its models' own maker, so that their list prices are what it charges.
        source: Where these facts were read, and when.
        query: In the URL of every request (``{"api-version": "2025-03-01"}``); part of what is asked for. Never a key.
        headers: With every request, by name; part of what is asked for. Never a key.
        key_header: The header that carries the key.
        key_prefix: A word before the key in it; None is ``Bearer`` in ``Authorization``, and none in any other.
        ca_file: A PEM file of authorities that are trusted beside the public ones; None is none.
        proxy: Where the service and its audio are reached through; ``none`` is straight; None is what the environment
            names. May hold a login, so it is shown nowhere. Never for this machine itself.
    """

    name: str
    base_url: str
    dialect: str = "openai"
    auth: Literal["bearer", "none"] = "bearer"
    api_key: str | None = field(default=None, repr=False, compare=False)
    account: str | None = None
    maker: bool = False
    source: str = ""
    query: Mapping[str, str] = field(default_factory=dict, hash=False)
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)
    key_header: str = "Authorization"
    key_prefix: str | None = None
    ca_file: str | None = field(default=None, compare=False)
    proxy: str | None = field(default=None, repr=False, compare=False)
