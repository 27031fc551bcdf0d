"""Real ClickHouse and real Postgres out of wheels, in a directory: nothing to install, one dialect each."""

from watchllm_proxy.store.embedded.clickhouse import EmbeddedClickHouse
from watchllm_proxy.store.embedded.postgres import EmbeddedPostgres

__all__ = ["EmbeddedClickHouse", "EmbeddedPostgres"]
