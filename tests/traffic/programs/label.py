"""Says to which run each request truly belongs, in a header that is taken out of the recording.

The header is added where httpx sends, so the client's own code, pool and connections are as they always are. Each
asyncio task (and each thread that is started with its context) has its own label. Nothing but loopback is reached.
"""

import contextvars
import importlib
import json
import os
import socket
from contextlib import contextmanager

LOOPBACK = ("127.0.0.1", "::1", "localhost", b"127.0.0.1", b"localhost")
_SETUP = os.environ["TRAFFIC_SETUP"]
_label = contextvars.ContextVar("label")


@contextmanager
def run(scenario, name, **label):
    """All requests inside belong to run `name`; what else a label may say is in tests/traffic/truth.py."""
    token = _label.set({"setup": _SETUP, "scenario": scenario, "run": name, **label})
    try:
        yield
    finally:
        _label.reset(token)


@contextmanager
def changed(**label):
    """The same run, with something else about it: another turn, another agent."""
    token = _label.set({**_label.get(), **label})
    try:
        yield
    finally:
        _label.reset(token)


@contextmanager
def child(name):
    """A sub-agent's run inside the one that goes on: its parent, whose faults it does not share."""
    parent = _label.get()
    with run(parent["scenario"], f"{parent['run']}.{name}", parent=parent["run"], turn=parent.get("turn", 0)):
        yield


def set_agent(name):
    """From here on, in this task, it is `name` who speaks (after a hand-off)."""
    _label.set({**_label.get(), "agent": name})


def _install():
    for library in ("httpx", "httpx2"):
        try:
            module = importlib.import_module(library)
        except ImportError:
            continue
        for client in (module.Client, module.AsyncClient):
            client.send = _labelling(client.send)
    socket.getaddrinfo = _of_loopback_only(socket.getaddrinfo)
    socket.socket.connect = _on_loopback_only(socket.socket.connect)


def _labelling(send):
    def labelled(self, request, *args, **kwargs):
        if _label.get(None) is not None:
            request.headers["X-Truth"] = json.dumps(_label.get())
        return send(self, request, *args, **kwargs)

    return labelled


def _of_loopback_only(look_up):
    def guarded(host, *args, **kwargs):
        if host not in LOOPBACK:
            raise socket.gaierror(f"{host} is not on loopback")
        return look_up(host, *args, **kwargs)

    return guarded


def _on_loopback_only(connect):
    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in LOOPBACK:
            raise ConnectionRefusedError(f"{address} is not on loopback")
        return connect(self, address)

    return guarded


_install()
