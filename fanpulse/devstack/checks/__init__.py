"""The checks of `fanpulse doctor`: this machine, the broker, and the services."""

from fanpulse.devstack.checks.finding import Finding, Level

__all__ = ["Finding", "Level"]
