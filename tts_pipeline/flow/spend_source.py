"""The seam between a budget and the pots that other processes draw from, too."""

from __future__ import annotations

from typing import Protocol

from tts_pipeline.attempt import Attempt, Settlement
from tts_pipeline.errors import StoppedError
from tts_pipeline.money import SpendBound


class SpendSource(Protocol):
    """A pot of many processes, from which this process has drawn an amount for its attempts.

    For one event loop, and never blocking: a source draws in a thread, and calls ``Budget.on_change`` in the loop when
    it has drawn more, or when nothing can come back. The waiting rows then ask again. While it has too little, it calls
    ``Budget.give_back_others``.
    """

    def try_reserve(self, attempt: Attempt, margin: SpendBound) -> bool:
        """Reserve an attempt within the amount drawn; return False, and reserve nothing, if it does not fit.

        The rest of the amount has to cover the ``margin``, too: what the open attempts may cost beyond their bounds.
        """

    def release(self, attempt: Attempt) -> None:
        """Free the reservation of an attempt that was never recorded, so never sent."""

    def settle(self, attempt: Attempt, settlement: Settlement) -> None:
        """Replace an attempt's reservation with its settlement."""

    def request(self, attempt: Attempt, *, is_idle: bool) -> StoppedError | None:
        """Draw more for an attempt that does not fit; return why that is impossible for good, once that is known.

        ``is_idle`` states that this process has no attempt in flight, so that nothing of its own can come back.

        Raises:
            StorageError: The pot cannot be read or written: nothing may be sent.
        """

    def give_back(self) -> None:
        """Give back what is not spent: nothing is in flight, and nothing may be sent for now."""

    def close(self) -> None:
        """Draw no more until the next request."""
