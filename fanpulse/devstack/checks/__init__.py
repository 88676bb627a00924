"""What `fanpulse doctor` looks at: this machine, and the broker."""

from fanpulse.devstack.checks.finding import Finding, Level

__all__ = ["Finding", "Level"]
