"""The only reader of the environment: one table, parsed once at start into a frozen `Settings`.

Everything wrong is reported together, before a port opens. `docs/settings.md` documents each name, and a
test fails for one that it lacks.
"""

from __future__ import annotations

import difflib
import hashlib
import ipaddress
import os
import sysconfig
import tempfile
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import platformdirs

from watchllm_proxy import setting_values as values
from watchllm_proxy.errors import SettingsError

PREFIX = "WATCHLLM_"
MIB = 1024 * 1024
_PACKAGE_ROOT = str(Path(__file__).resolve().parents[1])
MAX_SOCKET_DIR_BYTES = 80


def _setting(name: str, default: Any, parse: Callable[[str], Any], help: str, *, secret: bool = False) -> Any:
    return field(
        default=default,
        repr=not secret,
        metadata={"name": name, "parse": parse, "help": help, "secret": secret},
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings. Secrets are left out of `repr`."""

    host: str = _setting("WATCHLLM_HOST", "127.0.0.1", values.word, "Address to listen on.")
    port: int = _setting("WATCHLLM_PORT", 8787, values.port, "The one port.")
    key: str | None = _setting(
        "WATCHLLM_KEY",
        None,
        values.word,
        "Project key with the scope read, for `watchllm runs`, `show` and `tail` where the server asks for one.",
        secret=True,
    )
    public_url: str | None = _setting(
        "WATCHLLM_PUBLIC_URL",
        None,
        values.url("https", "http"),
        "Address at which people and agents reach the port, where a server before it has another name or TLS. "
        "The dashboard then answers for that host and loopback names only; with https its cookies are for https.",
    )
    session_s: float = _setting(
        "WATCHLLM_SESSION_S",
        43_200.0,
        values.seconds,
        "How long somebody who logged in to the dashboard stays in.",
    )
    data_dir: Path = _setting(
        "WATCHLLM_DATA_DIR",
        Path(platformdirs.user_data_dir("watchllm")),
        values.path,
        "Directory of the capture log and the embedded stores.",
    )
    upstream_url: str = _setting(
        "WATCHLLM_UPSTREAM_URL",
        "https://openrouter.ai/api/v1",
        values.url("https", "http"),
        "Where /v1/x is forwarded to, as …/x.",
    )
    upstream_api_key: str | None = _setting(
        "WATCHLLM_UPSTREAM_API_KEY", None, values.word, "Provider key put in place of a project key.", secret=True
    )
    secret_keys: tuple[str, ...] = _setting(
        "WATCHLLM_SECRET_KEY",
        (),
        values.secrets,
        "Random secret that the provider keys of projects are sealed with; `openssl rand -base64 32` makes one. "
        "To change it: NEW,OLD, then `watchllm provider-keys reseal`. Unset: projects have none of their own.",
        secret=True,
    )
    clickhouse_url: str | None = _setting(
        "WATCHLLM_CLICKHOUSE_URL",
        None,
        values.url("clickhouse", "clickhouses"),
        "ClickHouse server, clickhouse://user:password@host:9000/database. Unset: embedded.",
        secret=True,
    )
    database_url: str | None = _setting(
        "WATCHLLM_DATABASE_URL",
        None,
        values.postgres_url,
        "Postgres server, postgresql://user:password@host:5432/database. Unset: embedded.",
        secret=True,
    )
    owner_database_url: str | None = _setting(
        "WATCHLLM_OWNER_DATABASE_URL",
        None,
        values.postgres_url,
        "The same database as the role that owns the tables, for migrations. Unset: WATCHLLM_DATABASE_URL.",
        secret=True,
    )
    allow_anonymous: bool | None = _setting(
        "WATCHLLM_ALLOW_ANONYMOUS",
        None,
        values.flag,
        "Calls without a project key belong to the project `default`. "
        "Unset: on for `watchllm up` on a loopback address, else off. Weakens tenant separation where on.",
    )
    keep_raw_days: int = _setting(
        "WATCHLLM_KEEP_RAW", 0, values.days, "Days to keep the exact bytes of each call."
    )
    retention_days: int = _setting(
        "WATCHLLM_RETENTION_DAYS",
        90,
        values.days,
        "Days that calls and runs are kept, where a project says nothing else. 0: for ever.",
    )
    export_bytes: int = _setting(
        "WATCHLLM_EXPORT_BYTES",
        10 * 1024 * MIB,
        values.whole,
        "Room on the disk for exports that are made in the dashboard, all together; each is kept for a day.",
    )
    redact: str = _setting(
        "WATCHLLM_REDACT",
        "all",
        values.one_of("off", "secrets", "all"),
        "What is taken out of calls before anything is stored, where a project says nothing else: off, secrets "
        "(credentials), all (and personal data). Off weakens privacy: prompts are stored as they are.",
    )
    redaction_key: str | None = _setting(
        "WATCHLLM_REDACTION_KEY",
        None,
        values.secret,
        "Secret that tags of redacted values are made with; recorders of one installation share it. "
        "Unset: a file in the data directory, made at the first start.",
        secret=True,
    )
    clickhouse_cluster: str | None = _setting(
        "WATCHLLM_CLICKHOUSE_CLUSTER",
        None,
        values.word,
        "Name of the cluster that the ClickHouse server is of: tables are made on all of it, replicated. "
        "Unset: one server.",
    )
    price_update_hours: int = _setting(
        "WATCHLLM_PRICE_UPDATE_HOURS",
        0,
        values.hours,
        "Fetch the upstream's list of models each so many hours for newer prices, without a key. 0: never; "
        "`watchllm prices update` does it by hand.",
    )
    ask_generation: bool = _setting(
        "WATCHLLM_ASK_GENERATION",
        True,
        values.flag,
        "Ask OpenRouter afterwards, with the key of the call, what a broken answer cost.",
    )
    workers: int = _setting("WATCHLLM_WORKERS", 1, values.workers, "Proxy processes on the port.")
    max_requests: int = _setting(
        "WATCHLLM_MAX_REQUESTS",
        2000,
        values.count,
        "Requests under way at once per worker; above it the answer is 503 with Retry-After.",
    )
    max_body_bytes: int = _setting(
        "WATCHLLM_MAX_BODY_BYTES", 256 * MIB, values.count, "Largest request body; above it the answer is 413."
    )
    capture_body_bytes: int = _setting(
        "WATCHLLM_CAPTURE_BODY_BYTES",
        16 * MIB,
        values.count,
        "Bytes kept of each body; of a longer one its beginning, size and SHA-256 are kept.",
    )
    capture_memory_bytes: int = _setting(
        "WATCHLLM_CAPTURE_MEMORY_BYTES",
        256 * MIB,
        values.count,
        "Memory for captures under way per worker; above it new captures are shed and counted. "
        "Requests always pass.",
    )
    log_max_bytes: int = _setting(
        "WATCHLLM_LOG_MAX_BYTES",
        8192 * MIB,
        values.count,
        "Disk for each worker's capture log; above it captures are shed and counted. Requests always pass.",
    )
    connect_timeout_s: float = _setting(
        "WATCHLLM_CONNECT_TIMEOUT_S", 10.0, values.seconds, "Limit to connect to the upstream (502 after it)."
    )
    first_byte_timeout_s: float = _setting(
        "WATCHLLM_FIRST_BYTE_TIMEOUT_S",
        600.0,
        values.seconds,
        "Limit for the upstream's response head (504 after it).",
    )
    idle_timeout_s: float = _setting(
        "WATCHLLM_IDLE_TIMEOUT_S", 300.0, values.seconds, "Limit between two pieces of an answer; then it is cut."
    )
    header_timeout_s: float = _setting(
        "WATCHLLM_HEADER_TIMEOUT_S", 10.0, values.seconds, "Limit for a client to send its request head."
    )
    body_progress_timeout_s: float = _setting(
        "WATCHLLM_BODY_TIMEOUT_S",
        30.0,
        values.seconds,
        "Limit between two pieces of a request body (408 after it).",
    )
    drain_timeout_s: float = _setting(
        "WATCHLLM_DRAIN_TIMEOUT_S", 30.0, values.seconds, "After SIGTERM: time for open answers to finish."
    )
    run_silence_s: float = _setting(
        "WATCHLLM_RUN_SILENCE_S", 600.0, values.seconds, "A run without a call for this long is ended."
    )
    log_level: str = _setting(
        "WATCHLLM_LOG_LEVEL",
        "info",
        values.one_of("debug", "info", "warning", "error"),
        "debug, info, warning or error.",
    )

    @property
    def base_url(self) -> str:
        """Address of the one port as a client of this machine writes it, without a path."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def public_host(self) -> str | None:
        """The name in `public_url`, in small letters."""
        return None if self.public_url is None else urllib.parse.urlsplit(self.public_url).hostname

    @property
    def is_public_by_tls(self) -> bool:
        return self.public_url is not None and self.public_url.startswith("https:")

    @property
    def capture_dir(self) -> Path:
        """One directory per proxy worker lies below it, each a capture log."""
        return self.data_dir / "capture"

    @property
    def key_file(self) -> Path:
        """Hashes of the project keys in force, for the proxies."""
        return self.data_dir / "keys.json"

    @property
    def usage_dir(self) -> Path:
        """How many requests each project sent, counted by the proxies, and what of that others must know."""
        return self.data_dir / "usage"

    @property
    def suspect_file(self) -> Path:
        """The recorder's note on a record that may be ending it. Rarely there."""
        return self.data_dir / "suspect.json"

    @property
    def exports_dir(self) -> Path:
        """Exports that were asked for in the dashboard, for as long as they are kept."""
        return self.data_dir / "exports"

    @property
    def redaction_key_file(self) -> Path:
        """The secret behind the tags of redacted values, where no setting gives one."""
        return self.data_dir / "redaction.key"

    @property
    def run_dir(self) -> Path:
        """Sockets and small state files of the running processes.

        The path of a unix socket is limited to 107 bytes: a deep data directory gets a stand-in in the
        system's temporary directory, named by its hash and the user, the same for every process.
        """
        beside = self.data_dir / "run"
        if len(os.fsencode(beside)) <= MAX_SOCKET_DIR_BYTES:
            return beside
        digest = hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"watchllm-{os.getuid()}-{digest}"

    @property
    def console_socket(self) -> Path:
        return self.run_dir / "console.sock"

    @property
    def export_socket(self) -> Path:
        return self.run_dir / "export.sock"

    @property
    def is_loopback(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def load(environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Read settings from `environ` (default: the process's), then apply `overrides` by field name.

    An override of None means "not given"; one that is a text or a path is read as if it stood in `environ`.
    Raises `SettingsError` naming everything that is wrong, unknown `WATCHLLM_*` names included: a misspelt
    setting must not be silently ignored.
    """
    chosen: dict[str, Any] = {}
    problems: list[str] = []
    known = {f.metadata["name"]: f for f in fields(Settings)}
    given = {name: overrides.get(f.name) for name, f in known.items()}
    written = {name: str(value) for name, value in given.items() if isinstance(value, str | Path)}
    env = {**(os.environ if environ is None else environ), **written}
    for name in sorted(env):
        if not name.startswith(PREFIX) or name.startswith("WATCHLLM_TEST_"):
            continue
        if name not in known:
            problems.append(f"{name}: there is no such setting{_suggestion(name, known)}")
            continue
        setting = known[name]
        try:
            chosen[setting.name] = setting.metadata["parse"](env[name])
        except ValueError as exc:
            shown = "" if setting.metadata["secret"] or "@" in env[name] else f" (it is {env[name]!r})"
            problems.append(f"{name}: {exc}{shown}")
    chosen.update({name: value for name, value in overrides.items() if not isinstance(value, str | Path | None)})
    settings = Settings(**chosen)
    if _is_its_own_upstream(settings):
        problems.append("WATCHLLM_UPSTREAM_URL: this is the proxy's own address: a call would go round and round")
    if problems:
        raise SettingsError(problems)
    return settings


def _is_its_own_upstream(settings: Settings) -> bool:
    """Set to what agents are pointed at, say. Other names of this machine are not known here."""
    asked = _place(settings.upstream_url)
    if not urllib.parse.urlsplit(settings.upstream_url).path.startswith("/v1"):
        return False  # what is not below /v1/ is not forwarded again
    if settings.public_url is not None and asked == _place(settings.public_url):
        return True
    names = {settings.host.lower()}
    if settings.host in {"0.0.0.0", "::", "127.0.0.1", "::1", "localhost"}:  # noqa: S104 - compared, not bound
        names |= {"localhost", "127.0.0.1", "::1"}
    return asked in {(name, settings.port) for name in names}


def _place(url: str) -> tuple[str | None, int]:
    parts = urllib.parse.urlsplit(url)
    return parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def _suggestion(name: str, known: Iterable[str]) -> str:
    words = [each.removeprefix(PREFIX) for each in known]
    alike = difflib.get_close_matches(name.removeprefix(PREFIX), words, n=1)
    return f"; did you mean {PREFIX}{alike[0]}?" if alike else ""


def with_local_access(settings: Settings) -> Settings:
    """Settings for `watchllm up`: on a loopback address nobody needs a project key, unless told otherwise."""
    if settings.allow_anonymous is not None:
        return settings
    return replace(settings, allow_anonymous=settings.is_loopback)


def _written(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return ",".join(value) if isinstance(value, tuple) else str(value)


def child_environment(settings: Settings) -> dict[str, str]:
    """The environment for a child process that is to see exactly these settings."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    for setting in fields(settings):
        value = getattr(settings, setting.name)
        if value not in {None, ()}:
            environ[setting.metadata["name"]] = _written(value)
    if _PACKAGE_ROOT not in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        # Out of a checkout: children do not look for us in the working directory (supervisor.COMMAND).
        environ["PYTHONPATH"] = os.pathsep.join(filter(None, (_PACKAGE_ROOT, environ.get("PYTHONPATH"))))
    return environ
