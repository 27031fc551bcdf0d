"""What happens to a request, in order: checked, routed, admitted, authenticated, carried by a `Relay`."""

from __future__ import annotations

import time
import urllib.parse
from collections.abc import Awaitable, Callable
from typing import cast
from uuid import UUID

from aiohttp import web

from watchllm_proxy.grants import KEY_ID_HEADER, Scope
from watchllm_proxy.proxy import answers
from watchllm_proxy.proxy.answers import Answer, Refusal
from watchllm_proxy.proxy.auth import PROJECT_KEY_PREFIX, Authenticator, Identity, KeyRing
from watchllm_proxy.proxy.client import ENDS, GOES_ON, ClientConnection, Written
from watchllm_proxy.proxy.generation import GenerationLookups
from watchllm_proxy.proxy.headers import Field, RequestHead, encode_request, read_request_head
from watchllm_proxy.proxy.journal import RepeatedWarning
from watchllm_proxy.proxy.limits.admission import Admission
from watchllm_proxy.proxy.metrics import Counters
from watchllm_proxy.proxy.pool import Pool
from watchllm_proxy.proxy.relay import Relay
from watchllm_proxy.proxy.reported import BodyReader, Intake, Reported, check_type
from watchllm_proxy.proxy.targets import Route, route, upstream_target
from watchllm_proxy.proxy.tee import CaptureBudget, CaptureLog, Tee, new_exchange_id
from watchllm_proxy.proxy.upload import Limits
from watchllm_proxy.records import ExchangeEnd
from watchllm_proxy.sealing import Vault
from watchllm_proxy.settings import Settings

_NOT_WORTH_A_LINE = frozenset((ExchangeEnd.COMPLETE, ExchangeEnd.CLIENT_ABORTED))

_KEY_ID_FIELD = KEY_ID_HEADER.encode()
_NO_TEXT: Field = (b"X-WatchLLM-No-Content", b"true")

REFUSED_METHODS = frozenset(("CONNECT", "TRACE"))
"""Never passed on: one is for tunnels, the other tells back credentials."""


class Handler:
    """Serves every request of one worker. `relays` holds the exchanges under way."""

    def __init__(
        self,
        settings: Settings,
        *,
        log: CaptureLog,
        keys: KeyRing,
        upstream: Pool,
        console: Pool | None,
        counters: Counters,
        max_requests: int,
        admission: Admission,
        operate: Callable[[Route], Awaitable[Answer]],
        intake: Intake | None = None,
    ) -> None:
        self._operate = operate
        self._intake = intake  # None: nothing can be reported here
        self._reports = 0  # under way
        self._log = log
        self._upstream = upstream
        self._console = console
        self._counters = counters
        self._max_requests = max_requests
        self._admission = admission
        self._authenticator = Authenticator(
            keys,
            upstream_key=settings.upstream_api_key,
            allow_anonymous=bool(settings.allow_anonymous),
            open_provider_key=Vault(settings.secret_keys).provider_key,
        )
        self._prefix = urllib.parse.urlsplit(settings.upstream_url).path.rstrip("/")
        self._upstream_host = upstream.origin.host_header
        self._body_limit_bytes = settings.capture_body_bytes
        self._limits = Limits(
            settings.first_byte_timeout_s,
            settings.idle_timeout_s,
            settings.body_progress_timeout_s,
            settings.max_body_bytes,
        )
        self.budget = CaptureBudget(settings.capture_memory_bytes)
        self._warnings = RepeatedWarning()
        self.relays: set[Relay] = set()
        self.lookups = (
            GenerationLookups(upstream, self._prefix, log, counters) if settings.ask_generation else None
        )
        self.is_draining = False

    @property
    def is_busy(self) -> bool:
        """Something is under way that has an answer to come."""
        return bool(self.relays) or self._reports > 0

    async def __call__(self, request: web.BaseRequest) -> Written:
        started_s = time.monotonic()
        client = cast(ClientConnection, request.protocol)
        exchange_id = new_exchange_id()
        try:
            return await self._serve(request, client, exchange_id, started_s)
        except Refusal as refusal:
            return self._answer(request, client, exchange_id, refusal.answer)

    async def _serve(
        self, request: web.BaseRequest, client: ClientConnection, exchange_id: UUID, started_s: float
    ) -> Written:
        self._check_line(request)
        where = route(request.raw_path)
        head = read_request_head(
            request.raw_headers,
            is_http_10=request.version < (1, 1),
            for_console=where is Route.CONSOLE,
        )
        self._counters.requests[where.name.lower()] += 1
        if where is Route.FORWARD:
            self._admit(head)
            identity = self._authenticator.identify(head.credentials, address=_host_of(client))
            relay = self._forward(request, client, head, identity, exchange_id=exchange_id, started_s=started_s)
            with self._admission.shares.holding(identity.project_id):
                return await self._run(relay, "proxy.upstream_failed")
        if where is Route.CONSOLE:
            relay = self._pass_to_console(request, client, head, exchange_id, started_s)
            return await self._run(relay, "proxy.console_failed")
        if where is Route.INGESTION and self._intake is not None:
            answer = await self._take_report(self._intake, request, client, head, exchange_id)
            return self._answer(request, client, exchange_id, answer)
        return self._answer(request, client, exchange_id, await self._ours(where, request.method))

    async def _run(self, relay: Relay, failure_event: str) -> Written:
        self.relays.add(relay)
        self._counters.in_flight += 1
        try:
            return await relay.run()
        finally:
            self.relays.discard(relay)
            self._counters.in_flight -= 1
            if relay.end not in _NOT_WORTH_A_LINE:
                self._warnings.warn(
                    failure_event,
                    str(relay.end),
                    exchange_id=relay.request_id,
                    detail=relay.detail,
                )

    def _forward(
        self,
        request: web.BaseRequest,
        client: ClientConnection,
        head: RequestHead,
        identity: Identity,
        *,
        exchange_id: UUID,
        started_s: float,
    ) -> Relay:
        request_bytes = encode_request(
            request.method,
            upstream_target(self._prefix, request.raw_path),
            head,
            host=self._upstream_host,
            replaced=identity.replaced,
        )
        _refuse_stray_key(request_bytes, identity)
        keeps_text = self._admission.admit(identity.terms, identity.grant)
        tee = Tee(
            self._log,
            self.budget,
            exchange_id=exchange_id,
            project_id=identity.project_id,
            method=request.method,
            target=request.raw_path,
            fields=_captured_fields(request.raw_headers, identity, keeps_text=keeps_text),
            client_address=client.address,
            body_limit_bytes=self._body_limit_bytes,
            content_length=head.content_length,
        )
        return self._relay(
            request,
            client,
            head,
            request_bytes,
            pool=self._upstream,
            failure=answers.upstream_failure,
            exchange_id=exchange_id,
            tee=tee,
            started_s=started_s,
        )

    def _pass_to_console(
        self,
        request: web.BaseRequest,
        client: ClientConnection,
        head: RequestHead,
        exchange_id: UUID,
        started_s: float,
    ) -> Relay:
        if self._console is None:
            raise Refusal(answers.NO_CONSOLE)
        self._admit(head)
        host = next((value for name, value in head.fields if name.lower() == b"host"), b"localhost")
        head.fields.append((b"X-Forwarded-For", _host_of(client).encode()))  # a client's own were dropped
        request_bytes = encode_request(
            request.method,
            request.raw_path.encode("ascii"),
            head,
            host=host,
            replaced={},
        )
        return self._relay(
            request,
            client,
            head,
            request_bytes,
            pool=self._console,
            failure=answers.console_page_failure if _is_browser(request) else answers.console_failure,
            exchange_id=exchange_id,
            tee=None,
            started_s=started_s,
        )

    def _relay(
        self,
        request: web.BaseRequest,
        client: ClientConnection,
        head: RequestHead,
        request_bytes: bytes,
        *,
        pool: Pool,
        failure: Callable[[ExchangeEnd], Answer],
        exchange_id: UUID,
        tee: Tee | None,
        started_s: float,
    ) -> Relay:
        return Relay(
            request,
            client,
            head,
            request_bytes,
            pool=pool,
            failure=failure,
            limits=self._limits,
            counters=self._counters,
            request_id=str(exchange_id),
            tee=tee,
            started_s=started_s,
            is_last=self.is_draining or not request.keep_alive,
            broke=self.lookups.note if self.lookups is not None and tee is not None else None,
        )

    def _check_line(self, request: web.BaseRequest) -> None:
        if request.version not in {(1, 1), (1, 0)}:
            raise Refusal(answers.BAD_SYNTAX)
        if request.method in REFUSED_METHODS:
            raise Refusal(answers.NO_METHOD)

    def _admit(self, head: RequestHead) -> None:
        """Room for one more? Answered at once: a queue would only hide the overload."""
        if self.is_draining:
            raise Refusal(answers.STOPPING)
        if len(self.relays) + self._reports >= self._max_requests:
            raise Refusal(answers.BUSY)
        if (head.content_length or 0) > self._limits.max_body_bytes:
            raise Refusal(answers.body_too_large(self._limits.max_body_bytes))

    async def _take_report(
        self,
        intake: Intake,
        request: web.BaseRequest,
        client: ClientConnection,
        head: RequestHead,
        exchange_id: UUID,
    ) -> Answer:
        """It counts as under way until its answer is known: whoever drains waits for that."""
        self._admit(head)
        identity = self._authenticator.identify(head.credentials, Scope.INGEST, address=_host_of(client))
        project_id = identity.project_id
        check_type(request)
        keeps_text = self._admission.admit(identity.terms, identity.grant)
        self._reports += 1
        body = b""
        try:
            reader = BodyReader(request, client, head)
            body = await reader.read(self.budget, progress_s=self._limits.body_progress_s)
            self._counters.request_bytes += len(body)
            is_content_refused = (
                not keeps_text or request.headers.get("X-WatchLLM-No-Content", "").lower() == "true"
            )
            now_us = time.time_ns() // 1000
            return await intake(
                Reported(
                    exchange_id, request.method, request.raw_path, project_id, now_us, is_content_refused, body
                )
            )
        finally:
            self.budget.used_bytes -= len(body)
            self._reports -= 1

    async def _ours(self, where: Route, method: str) -> Answer:
        if where in {Route.INGESTION, Route.LATER}:
            return answers.NOT_AVAILABLE
        if method not in {"GET", "HEAD"}:
            return answers.ONLY_READ
        return await self._operate(where)

    def _answer(
        self, request: web.BaseRequest, client: ClientConnection, exchange_id: UUID, answer: Answer
    ) -> Written:
        """Send an answer of ours. A request whose body is not here yet ends its connection."""
        self._counters.count_response(answer.status)
        is_last = (
            answer.is_last or self.is_draining or not request.keep_alive or not request.content.is_eof()
        ) or request.version < (1, 1)
        client.send([answer.encode(str(exchange_id), is_head=request.method == "HEAD", is_last=is_last)])
        return ENDS if is_last else GOES_ON


def _captured_fields(fields: tuple[Field, ...], identity: Identity, *, keeps_text: bool) -> tuple[Field, ...]:
    """The head as it is captured: with what the recorder must know of the call beside what the client sent."""
    if identity.grant is not None:
        fields = (*fields, (_KEY_ID_FIELD, identity.grant.key_id.encode()))
    return fields if keeps_text else (*fields, _NO_TEXT)


def _host_of(client: ClientConnection) -> str:
    """Its address without the port, which a guesser changes with each connection."""
    return client.address.rpartition(":")[0]


def _refuse_stray_key(request_bytes: bytes, identity: Identity) -> None:
    """No project key goes upstream, wherever in the head a client put it. Raises `Refusal`.

    The provider key may be one: of another WatchLLM further up.
    """
    found = request_bytes.count(PROJECT_KEY_PREFIX)
    if found and found > sum(value.count(PROJECT_KEY_PREFIX) for value in identity.replaced.values()):
        raise Refusal(answers.STRAY_KEY)


def _is_browser(request: web.BaseRequest) -> bool:
    return "text/html" in request.headers.get("Accept", "")
