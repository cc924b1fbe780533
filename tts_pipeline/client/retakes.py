"""Retakes: decide whether audio with quality flags is kept, bought again or rejected."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import cast, get_args

from msgspec import Struct

from tts_pipeline.audio.measure import UNVERIFIED_LENGTH
from tts_pipeline.audio.quality import EMPTY, FLAGS, UNDECODABLE, badness
from tts_pipeline.client.headerless_pcm import ASSUMED_RATE, OTHER_RATE
from tts_pipeline.config import QualityAction, QualityPolicy
from tts_pipeline.errors import ConfigurationError, PermanentError, did_you_mean
from tts_pipeline.models import Answer
from tts_pipeline.wire.timestamps import TIMESTAMPS_DROPPED

_NO_SPEECH = frozenset({EMPTY, UNDECODABLE})
"""Flags of audio without speech: if the policy buys such audio again, it is never kept."""


KNOWN_FLAGS = (*FLAGS, TIMESTAMPS_DROPPED, UNVERIFIED_LENGTH, ASSUMED_RATE, OTHER_RATE)
"""The flags that the audio of one segment can have, so that a policy can act upon them."""


def quality_policy(actions: Mapping[str, str]) -> QualityPolicy:
    """Return the default policy with the given actions of some flags.

    Raises:
        ConfigurationError: A flag or an action is unknown; the error lists the known ones.
    """
    default = QualityPolicy()
    all_actions: dict[str, QualityAction] = dict(default.actions)
    for flag, action in actions.items():
        if flag not in KNOWN_FLAGS:
            hint = f"{did_you_mean(flag, KNOWN_FLAGS)}The flags are {', '.join(KNOWN_FLAGS)}"
            raise ConfigurationError(f"unknown quality flag {flag!r}", hint=hint)
        if action not in get_args(QualityAction):
            hint = f"{did_you_mean(action, get_args(QualityAction))}The actions are keep, retry and reject"
            raise ConfigurationError(f"the action for audio with the flag {flag} is {action!r}", hint=hint)
        all_actions[flag] = cast("QualityAction", action)
    return replace(default, actions=all_actions)


class Candidate(Struct, frozen=True):
    """One purchase of a segment that brought audio; ``is_kept`` while it is the best one."""

    attempt_id: str
    answer: Answer
    is_kept: bool
    is_to_retake: bool


def action_for(policy: QualityPolicy, flags: Collection[str]) -> QualityAction:
    """Return the strongest action of a policy for some flags."""
    if not flags:
        return "keep"
    actions = tuple(map(policy.actions.get, flags))
    return "reject" if "reject" in actions else "retry" if "retry" in actions else "keep"


def is_worth_keeping(policy: QualityPolicy, answer: Answer, best: Candidate | None) -> bool:
    """Return whether an answer is kept, at least for now: it is speech, and better than the best so far."""
    action = action_for(policy, answer.quality)
    if action == "reject" or (action == "retry" and not _NO_SPEECH.isdisjoint(answer.quality)):
        return False
    return best is None or badness(answer.quality) < badness(best.answer.quality)


def refusal(policy: QualityPolicy, answer: Answer) -> PermanentError:
    """Return the error of an utterance whose audio is not kept, although it was answered and billed."""
    flags = [flag for flag in answer.quality if policy.actions.get(flag, "keep") != "keep"]
    return PermanentError(
        f"the service's audio is {' and '.join(flags)}",
        code=f"Quality.{flags[0]}",
        http_status=200,
        request_id=answer.request_id,
        hint=f"listen to other audio of this voice, or keep such audio with `quality={{{flags[0]!r}: 'keep'}}`",
    )
