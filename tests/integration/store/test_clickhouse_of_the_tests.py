"""The ClickHouse that tests talk to stands what clients do to it: each end of it would be an outage for a test."""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from clickhouse_driver import Client

from tests.fixtures.engines import clickhouse_library, run_clickhouse

ROWS = [(number, "x" * 500) for number in range(2_000)]
INSERTS = 24


class Gone(Exception):
    """The client is."""


def test_clients_that_are_killed_before_they_hear_that_their_insert_is_done_do_not_end_it(tmp_path: Path) -> None:
    with run_clickhouse(clickhouse_library(), tmp_path) as (url, server):
        asker = client_of(url)
        asker.execute("CREATE TABLE t (a UInt64, s String) ENGINE = MergeTree ORDER BY a")
        for number in range(INSERTS):
            insert_and_die(client_of(url), after_s=number % 6 / 1000)
        deadline = time.monotonic() + 30
        while asker.execute("SELECT count() FROM t") != [(INSERTS * len(ROWS),)]:
            assert time.monotonic() < deadline, "what was sent whole is stored"
            time.sleep(0.05)  # between two looks at the condition
        asker.disconnect()
        assert server.restarts == 0


def insert_and_die(client: Client, *, after_s: float) -> None:
    """As `kill -9` does it: what comes for who is gone is answered with a reset."""

    def die(*_: object, **__: object) -> None:
        time.sleep(after_s)
        end: socket.socket = client.connection.socket
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.close()
        raise Gone

    client.receive_end_of_insert_query = die
    with pytest.raises(Gone):
        client.execute("INSERT INTO t (a, s) VALUES", ROWS)


def client_of(url: str) -> Client:
    parts = urlsplit(url)
    return Client(parts.hostname, port=parts.port, send_receive_timeout=20)
