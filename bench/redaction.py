"""What redaction costs: CPU of a megabyte of text of several kinds, and of the worst megabyte for each rule.

python -m bench.redaction
"""

from __future__ import annotations

import time
from pathlib import Path

from watchllm_proxy.enrich.redaction.finding import RULES, Redaction
from watchllm_proxy.enrich.redaction.kinds import RedactionMode
from watchllm_proxy.enrich.redaction.rules import TooMany
from watchllm_proxy.enrich.redaction.rulesets import Finder
from watchllm_proxy.enrich.redaction.tags import KEY_BYTES, Tags

MIB = 1 << 20
ALL = RULES[RedactionMode.ALL]
SOURCE = Path(__file__).resolve().parents[1] / "watchllm_proxy" / "recorder.py"

TEXTS = {
    "prose": b"call bob@example.com, " + b"the quick brown fox jumps over the lazy dog and runs on. " * 40,
    "code": SOURCE.read_bytes(),
    "instants": b'{"at":1732281234567,"id":731234567890123456,"ms":12},',
    "log": b"2026-11-22T14:12:50.123Z INFO [w3] GET /v1/chat/completions 200 1532ms bytes=48213 req_8f3k2j1h\n",
}
HOSTILE = (
    b"4111 1111 1111 1111 ", b"1234567890", b"1234 ", b"0000 0000 0000 ", b"a@", b"a@b.co ", b"a", b"1.",
    b"1.2.3.4 ", b"a:", b"::1 ", b"DE89 3704 0044 ", b"DE", b"-----BEGIN PRIVATE KEY-----", b"eyJhbGciOi.", b"eyJ",
    b"sk-", b"sk_live_", b"AKIA", b"password=", b"password=abc123 ", b"http://a:", b"http://a:b@", b"bearer ",
    b"bearer abc123abc123abc123 ", b"+49 30 1234567 ", b"+", b"tel 5551234 ", b"tel ", b"(0", b"0 1 ", b"\\",
    b"pesel 12345678901 ", b"pesel: 1 2 3 4 5 ", b"123-45-6789 ", b"131052-308T ", b"AAAAAA00A00A000A ", b"%40",
    b"passport C3590543 ", b"\n1", b"1-", b"[email_7", b"12345678901 ", b"0000000000000 ", b"9001010000000 ",
)  # fmt: skip


def megabyte(text: bytes) -> bytes:
    return (text * (MIB // len(text) + 1))[:MIB]


def whole_ms(text: bytes) -> float:
    redaction = Redaction(ALL, Tags(bytes(KEY_BYTES), "bench"))
    began = time.process_time()
    redaction.text(text)
    return (time.process_time() - began) * 1e3


def rule_ms(rule: Finder, text: bytes) -> float:
    began = time.process_time()
    try:
        for _ in rule.spans(text, b""):
            pass
    except TooMany:
        pass
    return (time.process_time() - began) * 1e3


def main() -> None:
    print("A megabyte, all rules, best of 3 (ms CPU)")
    for name, text in TEXTS.items():
        print(f"  {name:8} {min(whole_ms(megabyte(text)) for _ in range(3)):6.1f}")
    print("The worst megabyte for each rule, best of 3 (ms CPU)")
    for rule in ALL:
        worst = max(HOSTILE, key=lambda text: rule_ms(rule, megabyte(text)))
        taken = min(rule_ms(rule, megabyte(worst)) for _ in range(3))
        name = getattr(getattr(rule, "check", None), "__qualname__", type(rule).__name__)
        print(f"  {rule.kind:11} {name.split('.')[0]:18} {taken:6.1f}  {worst[:30]!r}")


if __name__ == "__main__":
    main()
