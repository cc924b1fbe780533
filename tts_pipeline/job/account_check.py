"""Check a job against its account store before it runs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from tts_pipeline.account.budgets import Budget, list_budgets
from tts_pipeline.account.location import StoreLocation
from tts_pipeline.account.schema import migrate
from tts_pipeline.errors import StorageError
from tts_pipeline.flow.clock import Clock
from tts_pipeline.job.account import go_on_without, job_facts, store_of
from tts_pipeline.job.prepared_job import PreparedJob


def check_account(prepared: PreparedJob) -> None:
    """Refuse a job that a run would refuse for its account store; make no store.

    Raises:
        ConfigurationError: The store cannot be used, or a budget that counts the job cannot be kept.
    """
    location = store_of(prepared.job)
    if location is None:
        return
    try:
        budgets = _read_budgets(location)
    except StorageError as error:
        go_on_without(location, error)
        return
    job_facts(prepared).matching(budgets, Clock().utc_us())


def _read_budgets(location: StoreLocation) -> Sequence[Budget]:
    with closing(location.open()) as database:
        if not database.is_made():
            return ()
        migrate(database)
        with database.transaction() as transaction:
            return list_budgets(transaction)
