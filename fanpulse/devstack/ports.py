"""Free ports that are chosen once and remembered."""

from __future__ import annotations

import json
import os
from pathlib import Path

from services.runtime.private import make_folder
from services.supervise.addresses import is_free, new_port


class PortTakenError(RuntimeError):
    """Another process uses a port that the settings ask for."""


class Ports:
    """Ports by name, kept in a JSON file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def remembered(self) -> dict[str, int]:
        """The ports chosen so far; empty if the file is missing or unreadable."""
        try:
            data = json.loads(self.path.read_bytes())
        except (OSError, ValueError):
            return {}
        if not isinstance(data, dict):
            return {}
        return {name: port for name, port in data.items() if isinstance(port, int) and 0 < port < 65536}

    def choose(self, *names: str, fixed: dict[str, int] | None = None) -> dict[str, int]:
        """A free port for each name: the fixed one, else the remembered one, else a new one.

        A fixed port of 0 counts as not set. Raises PortTakenError if a fixed port is taken.
        """
        known = self.remembered()
        chosen: dict[str, int] = {}
        for name in names:
            if wanted := (fixed or {}).get(name, 0):
                if not is_free(wanted):
                    raise PortTakenError(
                        f"port {wanted} for {name} is taken; stop what listens there, or set another port"
                    )
                chosen[name] = wanted
            elif (port := known.get(name)) and is_free(port) and port not in chosen.values():
                chosen[name] = port
            else:
                chosen[name] = new_port(set(known.values()) | set(chosen.values()))
        if any(known.get(name) != port for name, port in chosen.items()):
            self._write(known | chosen)
        return chosen

    def forget(self) -> None:
        """Choose new ports next time."""
        self.path.unlink(missing_ok=True)

    def _write(self, ports: dict[str, int]) -> None:
        make_folder(self.path.parent)
        fresh = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        fresh.write_text(json.dumps(ports, indent=1) + "\n")
        fresh.replace(self.path)
