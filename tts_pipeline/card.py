"""Values that describe a model (its card) and a service (its endpoint). Frozen, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Literal

from tts_pipeline.config import Limits
from tts_pipeline.models import ParameterValue, Price

PORTS = {"http": 80, "https": 443}
"""Default port of each URL scheme."""

ParameterType = Literal["string", "number", "integer", "boolean", "object", "array"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter that a model takes.

    Args:
        name: The service's own name, also the key in the request body.
        type: The JSON type that is sent.
        required: Whether a request without it is refused before it is sent.
        choices: Allowed values; None allows any value of the type and range.
        labels: The meaning of each choice, for people (``{"Cherry": "Intellectual Female"}``).
        minimum: Smallest number allowed, inclusive; None is no minimum.
        maximum: Largest number allowed, inclusive; None is no maximum.
        step: Numbers are ``minimum`` plus a multiple of the step, compared as decimals; None allows any number.
        in_body: False for a switch of the client that the body never carries (``stream``).
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
    """The parameters, limits, billing and prices of a model on a service.

    Args:
        service: The service's name, or ``*`` for a card that applies to any service.
        model: The model's name as sent.
        snapshot: The dated name that ``model`` stands for; None when unknown.
        parameters: Parameters by name, in the order of the service's documentation.
        languages: BCP-47 tag -> the service's word (``{"de": "German"}``); empty when the model takes no language.
        language_parameter: The parameter that carries the language; None when the model has none.
        input_limit: The longest text of one request, in ``input_unit``; None is no known limit.
        input_unit: The unit of ``input_limit``.
        billing: The unit that the service bills by.
        output_tokens_per_second: Tokens billed for a second of audio, with billing by token; None is unknown.
        prices: Prices in order of time.
        list_prices: The maker's published prices in order of time, also where ``prices`` are the user's own.
        requests_per_minute: The service's own limit for this model and one account; None is no known limit.
        account_concurrency: The most requests in flight that the service permits one account; None is no known limit.
        permissive: Whether parameters that the card does not know are sent.
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
    list_prices: tuple[Price, ...] = ()
    requests_per_minute: int | None = None
    account_concurrency: int | None = None
    permissive: bool = False
    source: str = ""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A service's address, dialect and key. ``tts_pipeline.Service`` adds the look-up by name.

    Args:
        name: ``local``, ``modelstream``, ``baze``, ``dashscope``, a name of the user's own, or the URL itself.
        base_url: URL without ``/v1`` and without a trailing slash.
        dialect: The form of its requests.
        auth: ``bearer`` or ``none``.
        api_key: Never shown, logged, stored or part of an identity.
        account: A label for the bill, never the key.
        maker: Whether the service is the maker of its models, so that it charges their list prices.
        source: Where these facts were read, and when.
        query: Query of each request's URL (``{"api-version": "2025-03-01"}``); part of the request key. No API key.
        headers: Headers of each request; part of the request key. No API key.
        key_header: The header that carries the API key.
        key_prefix: The word before the API key; None is ``Bearer`` in ``Authorization``, and no word in other headers.
        ca_file: A PEM file of authorities that are trusted beside the public ones; None adds none.
        proxy: The proxy for the service and its audio; ``none`` connects directly; None takes the environment's proxy.
            It may hold a login, so it is never shown. It never applies to this machine itself.
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


def with_card_limits(card: Card, limits: Limits) -> Limits:
    """Return limits with the card's rate of requests and concurrency of the account, where they have none."""
    if limits.requests_per_minute is None and card.requests_per_minute is not None:
        limits = replace(limits, requests_per_minute=float(card.requests_per_minute))
    if limits.account_concurrency is None and card.account_concurrency is not None:
        limits = replace(limits, account_concurrency=card.account_concurrency)
    return limits
