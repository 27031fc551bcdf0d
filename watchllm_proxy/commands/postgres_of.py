"""The Postgres that a command asks itself: the server that is named, or the embedded one while it runs."""

from __future__ import annotations

from watchllm_proxy.settings import Settings


def postgres_dsn(settings: Settings) -> str | None:
    """None: none is named, and none runs on the data directory."""
    from watchllm_proxy.store.embedded import EmbeddedPostgres  # noqa: PLC0415 - as heavy as the drivers

    embedded = settings.data_dir / "postgres"
    if settings.database_url is not None or not embedded.is_dir():
        return settings.database_url
    return EmbeddedPostgres(embedded).running_dsn
