"""Operators for Airflow: each ``execute`` is a thin call of ``job``, ``exports`` or ``report``."""
