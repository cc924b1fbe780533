"""Runs DAGs with ``dag.test()``, one after another, as ``home.py`` asks: a request and an answer per line, as JSON.

A process of its own, so that what Airflow does to a process (logging, signals, warnings, environment) stays there.
``dag.test()`` waits for retry delays: they are taken away here, and nowhere else.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from datetime import datetime, timedelta
from typing import Any

from airflow.dag_processing.dagbag import DagBag
from airflow.models.pool import Pool
from airflow.utils.db import initdb


def main() -> None:
    """Make the database, and answer requests until there are no more; what is printed goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    initdb()
    Pool.create_or_update_pool("speech", slots=4, description="requests to the speech service", include_deferred=False)
    for line in sys.stdin:
        try:
            answer = _run(json.loads(line))
        except BaseException:
            answer = {"broken": traceback.format_exc()}
        print(json.dumps(answer), file=answers)


def _run(request: dict[str, Any]) -> dict[str, Any]:
    os.environ.update(request["environ"])
    bag = DagBag(bundle_name="dags-folder")  # anew: a DAG that was tested keeps the parameters of its run
    assert not bag.import_errors, bag.import_errors
    dag = bag.dags[request["dag_id"]]
    for task in dag.tasks:
        task.retry_delay = timedelta(0)
    logical_date, run_after = (_moment(request[name]) for name in ("logical_date", "run_after"))
    return _describe_run(dag.test(run_conf=request["conf"], logical_date=logical_date, run_after=run_after))


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _describe_run(run: Any) -> dict[str, Any]:
    from airflow.models.asset import AssetEvent
    from airflow.models.renderedtifields import RenderedTaskInstanceFields as Rendered
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        instances = run.get_task_instances(session=session)
        xcoms = session.scalars(select(XComModel).where(XComModel.run_id == run.run_id)).all()
        events = session.scalars(select(AssetEvent).where(AssetEvent.source_run_id == run.run_id)).all()
        rendered = session.scalars(select(Rendered).where(Rendered.run_id == run.run_id)).all()
        return {
            "state": run.state,
            "tasks": [
                {"task_id": ti.task_id, "state": ti.state, "tries": ti.try_number, "label": ti.rendered_map_index}
                for ti in instances
            ],
            "xcoms": [{"task_id": x.task_id, "key": x.key, "value": x.value} for x in xcoms],
            "rendered": [{"task_id": each.task_id, **each.rendered_fields} for each in rendered],
            "events": [{"asset": event.asset.name, "extra": event.extra} for event in events],
        }


if __name__ == "__main__":
    main()
