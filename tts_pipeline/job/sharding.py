"""Divide an account's limits among shards, so that all shards together keep them."""

from __future__ import annotations

from dataclasses import replace

from tts_pipeline.card import Card, with_card_limits
from tts_pipeline.config import Limits
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.job.job import Shard


def limits_of_shard(limits: Limits, card: Card, shard: Shard, at_a_time: int | None = None) -> Limits:
    """Return the limits of one shard: those of the account are divided, its own concurrency is not.

    Limits that are not set are the card's. ``at_a_time`` None means all shards run at one time.
    """
    if at_a_time is not None and at_a_time < 1:
        raise ConfigurationError(f"at_a_time is {at_a_time}", hint="give at least 1")
    shards = shard.shards if at_a_time is None else min(at_a_time, shard.shards)
    limits = with_card_limits(card, limits)
    requests, characters, in_flight = (
        limits.requests_per_minute,
        limits.characters_per_minute,
        limits.account_concurrency,
    )
    return replace(
        limits,
        requests_per_minute=None if requests is None else requests / shards,
        characters_per_minute=None if characters is None else characters / shards,
        account_concurrency=None if in_flight is None else max(in_flight // shards, 1),
    )
