"""Prometheus and Grafana, if they are installed, with the files of prometheus/ and grafana/."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import fanpulse
from fanpulse.devstack.ports import Ports
from fanpulse.devstack.state_paths import StatePaths
from services.runtime.private import make_folder
from services.runtime.settings import StackSettings
from services.supervise.addresses import HOST
from services.supervise.managed_process import HttpProcess

_PACKAGED = Path(__file__).with_name("files")
#: The wheel has them within the package; in a clone they are beside it.
SOURCE = _PACKAGED if _PACKAGED.is_dir() else Path(fanpulse.__file__).parent.parent
PROMETHEUS_FILES = SOURCE / "prometheus"
GRAFANA_FILES = SOURCE / "grafana"
RETENTION = "30d"

HOW_TO_GET = {
    "prometheus": "not on the PATH, so there is no history to chart; get it with `apt install prometheus`, "
    "`brew install prometheus` or from prometheus.io/download, and start again",
    "grafana": "not on the PATH, so there are no dashboards; get it from grafana.com/grafana/download or "
    "with `brew install grafana`, and start again (`fanpulse watch` is a board in the terminal)",
}


#: If a part of fanpulse was left behind, which is no fault of the PATH.
_INCOMPLETE = (
    "there, but its {files} are missing from this installation; install fanpulse again, from its wheel"
)
_OURS = {
    "prometheus": (PROMETHEUS_FILES / "rules", "rules"),
    "grafana": (GRAFANA_FILES / "dashboards", "dashboards"),
}


def why_absent(name: str) -> str:
    """Why the stack has no Prometheus or no Grafana, and how to get it."""
    folder, files = _OURS[name]
    return HOW_TO_GET[name] if folder.is_dir() else _INCOMPLETE.format(files=files)


def prometheus_binary() -> str | None:
    """The path of Prometheus; None if it cannot be used."""
    return shutil.which("prometheus") if _OURS["prometheus"][0].is_dir() else None


def grafana_home() -> tuple[str, Path] | None:
    """The path of Grafana's server and the folder of its own files; None if it cannot be used."""
    binary = shutil.which("grafana") or shutil.which("grafana-server")
    if binary is None or not _OURS["grafana"][0].is_dir():
        return None
    prefix = Path(binary).resolve().parent.parent
    for home in (prefix, prefix / "share" / "grafana", Path("/usr/share/grafana")):
        if (home / "conf" / "defaults.ini").is_file():
            return binary, home
    return None


def prometheus_process(
    binary: str,
    state_paths: StatePaths,
    stack: StackSettings,
    targets: Iterable[HttpProcess],
    inherited_fds: Sequence[int],
) -> HttpProcess:
    """Prometheus with our rules, scraping these services."""
    port = Ports(state_paths.ports).choose("prometheus", fixed={"prometheus": stack.prometheus_port})[
        "prometheus"
    ]
    folder = _prometheus_folder(state_paths.prometheus, targets)
    url = f"http://{HOST}:{port}"
    return HttpProcess(
        "prometheus",
        "prometheus",
        [
            binary,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--storage.tsdb.retention.time={RETENTION}",
            f"--web.listen-address={HOST}:{port}",
            "--log.level=warn",
        ],
        url=url,
        entry={"url": url},
        log=state_paths.log("prometheus"),
        env=os.environ,
        inherited_fds=inherited_fds,
        health_path="/-/healthy",
        ready_path="/-/ready",
    )


def grafana_process(
    found: tuple[str, Path],
    state_paths: StatePaths,
    stack: StackSettings,
    prometheus_url: str | None,
    inherited_fds: Sequence[int],
) -> HttpProcess:
    """Grafana with our dashboards."""
    binary, home = found
    port = Ports(state_paths.ports).choose("grafana", fixed={"grafana": stack.grafana_port})["grafana"]
    url = f"http://{HOST}:{port}"
    make_folder(state_paths.grafana)
    command = [binary, "server"] if Path(binary).name == "grafana" else [binary]
    variables = _grafana_variables(state_paths.grafana, port, prometheus_url or f"http://{HOST}:9090")
    return HttpProcess(
        "grafana",
        "grafana",
        [*command, "--homepath", str(home)],
        url=url,
        entry={"url": url},
        log=state_paths.log("grafana"),
        env={**os.environ, **variables},
        cwd=state_paths.grafana,
        inherited_fds=inherited_fds,
        health_path="/api/health",
        ready_path="/api/health",
    )


def _grafana_variables(folder: Path, port: int, prometheus_url: str) -> dict[str, str]:
    """Grafana's configuration. It listens on the loopback address, so only users of this machine can see it,
    without a login. Nobody can edit the dashboards, since they are generated."""
    dashboards = GRAFANA_FILES / "dashboards"
    return {
        "GF_PATHS_DATA": str(folder / "data"),
        "GF_PATHS_LOGS": str(folder / "logs"),
        "GF_PATHS_PLUGINS": str(folder / "plugins"),
        "GF_PATHS_PROVISIONING": str(GRAFANA_FILES / "provisioning"),
        "GF_SERVER_HTTP_ADDR": HOST,
        "GF_SERVER_HTTP_PORT": str(port),
        "GF_LOG_MODE": "console",
        "GF_LOG_LEVEL": "warn",
        "GF_AUTH_ANONYMOUS_ENABLED": "true",
        "GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
        "GF_AUTH_DISABLE_LOGIN_FORM": "true",
        "GF_AUTH_BASIC_ENABLED": "false",
        "GF_SECURITY_ADMIN_PASSWORD": secrets.token_urlsafe(24),  # nobody needs it; admin/admin is unsafe
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
        "GF_NEWS_NEWS_FEED_ENABLED": "false",
        "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH": str(dashboards / "fanpulse-live.json"),
        "DASHBOARDS_PATH": str(dashboards),
        "PROMETHEUS_URL": prometheus_url,
    }


def _prometheus_folder(folder: Path, targets: Iterable[HttpProcess]) -> Path:
    """Copy our configuration and rules beside one file of targets per service: its paths are relative."""
    shutil.rmtree(folder / "rules", ignore_errors=True)
    shutil.rmtree(folder / "targets", ignore_errors=True)
    make_folder(folder)
    (folder / "rules").mkdir()
    for rules in (PROMETHEUS_FILES / "rules").iterdir():
        shutil.copyfile(rules, folder / "rules" / rules.name)  # without the modes of the installation
    shutil.copyfile(PROMETHEUS_FILES / "prometheus.yml", folder / "prometheus.yml")
    (folder / "targets").mkdir()
    addresses: dict[str, list[str]] = {}
    for process in targets:
        addresses.setdefault(process.group, []).append(process.url.removeprefix("http://"))
    for group, found in addresses.items():
        (folder / "targets" / f"{group}.json").write_text(json.dumps([{"targets": found}]) + "\n")
    return folder
