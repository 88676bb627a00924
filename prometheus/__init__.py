"""Prometheus: its configuration, and its rules as code. See prometheus.counts, prometheus.alerts.

The rules stand below the dashboards, since a panel draws what a rule records: grafana imports prometheus,
never the reverse. `python -m grafana.build` writes both.
"""
