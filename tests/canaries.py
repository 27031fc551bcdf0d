"""Values that must not be found again, and where to put them: made up, of the forms that are redacted."""

from __future__ import annotations

from collections.abc import Iterable

KEYS = {
    "ours": "lgw_proj_CANARYk3yQ7vJt0pXw9ZbR2mN8sLh4",
    "openrouter": "sk-or-v1-c4na4y00ffee11223344556677889900aabbccddeeff00112233445566778899",
    "openai": "sk-proj-CANARY8Jx2mQp7vLk3Nw9ZtR5bYc1Hd6Fg4Sa0",
    "anthropic": "sk-ant-api03-CANARY-xK9mQ2vL7pNw3ZtR8bYc5Hd1Fg6Sa4_Je0AA",
    "aws": "AKIACANARYQ7VJT3XWZB",
    "github": "ghp_CANARYk3yQ7vJt0pXw9ZbR2mN8sLh4Gd6Fa1",
    "google": "AIzaSyCANARY7vJt0pXw9ZbR2mN8sLh4Gd6Fa1Q",
    "slack": "xoxb-1234567890-CANARYQ7vJt0pXw9ZbR2mN8s",
    "stripe": "sk_live_CANARYQ7vJt0pXw9ZbR2mN8s",
    "huggingface": "hf_CANARYQ7vJt0pXw9ZbR2mN8sLh4Gd6Fa1Q",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c4n4ryS1gn4tur3Q7vJt0pXw9ZbR2",
}
EMAIL = "canary.bird@example.com"
PASSWORD = "c4n4ry-hunter2"
CARD = "4111111111111111"
PHONE = "+49 30 901820"
IBAN = "DE89370400440532013000"
SSN = "536-90-4399"
IP = "203.0.113.77"

ALL = (*KEYS.values(), EMAIL, PASSWORD, CARD, PHONE, IBAN, SSN, IP)
TEXT = " and ".join(
    (*KEYS.values(), EMAIL, f"postgres://bird:{PASSWORD}@db.example/x", CARD, PHONE, IBAN, SSN, IP)
)
"""A sentence with all of them."""


def found_in(texts: Iterable[bytes | str]) -> set[str]:
    """Which of them stand there: as they are, or as the digits of a number."""
    found = set()
    for text in texts:
        raw = text.encode("utf-8", "replace") if isinstance(text, str) else text
        found |= {value for value in ALL if value.encode() in raw}
    return found
