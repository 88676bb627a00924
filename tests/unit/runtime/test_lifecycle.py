"""The end of a service."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from services.runtime.lifecycle import stop_event


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_asks_to_finish(number: signal.Signals) -> None:
    """Either signal sets the event and does nothing else."""
    stop = stop_event()
    assert not stop.is_set()
    os.kill(os.getpid(), number)
    async with asyncio.timeout(5):
        await stop.wait()


def test_a_second_signal_does_not_ask() -> None:
    """A service that hangs while it finishes ends at the second signal."""
    script = textwrap.dedent("""
        import asyncio
        from services.runtime.lifecycle import stop_event

        async def main():
            stop = stop_event()
            print("runs", flush=True)
            await stop.wait()
            print("finishes", flush=True)
            await asyncio.sleep(300)

        asyncio.run(main())
    """)
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = iter(process.stdout)
        assert "runs" in next(said)
        process.send_signal(signal.SIGTERM)
        assert any("finishes" in line for line in said)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == -signal.SIGTERM
