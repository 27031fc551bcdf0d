"""E-mail and IP addresses, payment cards, bank accounts."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

from stdnum import iban
from stdnum.exceptions import ValidationError

from watchllm_proxy.enrich.redaction.kinds import RedactionKind
from watchllm_proxy.enrich.redaction.rules import APART, ESCAPED, Found, Place, Rule, compiled, digits_of

# --- e-mail

_LATIN = r"[\xc3-\xc5][\x80-\xbf]"
"""UTF-8 of the letters that European languages add: no word of another script runs into an address."""

_LOCAL = rf"(?:[A-Za-z0-9_]|{_LATIN})(?:[A-Za-z0-9._+'-]|{_LATIN})*"
_DOMAIN = rf"(?:(?:[A-Za-z0-9]|{_LATIN})(?:[A-Za-z0-9-]|{_LATIN})*\.){{1,8}}(?:[A-Za-z]{{2,24}}|xn--[A-Za-z0-9-]+)"
_FILE_ENDINGS = frozenset(
    {b"png", b"jpg", b"jpeg", b"gif", b"webp", b"svg", b"ico", b"css", b"js", b"jsx", b"tsx", b"json", b"html",
     b"xml", b"yaml", b"yml", b"txt", b"csv", b"log", b"pdf", b"dll", b"exe", b"jar"}
)  # fmt: skip


def _address(place: Place) -> Found | None:
    value = place.value.lower().replace(b"%40", b"@")
    if value.rpartition(b".")[2] in _FILE_ENDINGS:  # image@2x.png
        return None
    return place.start, place.end, value


# --- cards

_CARD = compiled(
    rf"(?:\b|{ESCAPED})((?:[0-9]{{4}}(?: [0-9]{{4}}){{2,3}}(?: [0-9]{{1,7}})?"
    r"|[0-9]{4}(?:-[0-9]{4}){2,3}(?:-[0-9]{1,7})?"
    r"|[0-9]{4}[ -][0-9]{6}[ -][0-9]{4,5}"
    r"|[3-6][0-9]{11,18}|2[0-9]{15,18}|(?:1800|2131)[0-9]{11}))\b"
)
_ISSUERS = re.compile(
    rb"4(?:\d{12}|\d{15}|\d{18})$"  # Visa
    rb"|5[1-5]\d{14}$|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}$"  # Mastercard
    rb"|3[47]\d{13}$"  # American Express
    rb"|3(?:0[0-59]|[689]\d)\d{11}(?:\d{2,5})?$"  # Diners
    rb"|6(?:011|4[4-9]\d|5\d\d)\d{12}(?:\d{3})?$"  # Discover
    rb"|35\d{14}(?:\d{3})?$|(?:1800|2131)\d{11}$"  # JCB
    rb"|62\d{14}(?:\d{1,3})?$"  # UnionPay
    rb"|(?:50|5[6-9]|6[0-9])\d{10,17}$"  # Maestro, RuPay, Elo and others
    rb"|220[0-4]\d{12}(?:\d{3})?$"  # Mir
)


def _card(place: Place) -> Found | None:
    """Luhn, and a beginning and a length that an issuer uses. The last of the groups may be none of it."""
    for end in _group_ends(place):
        digits = digits_of(place.text[place.start : end])
        if _ISSUERS.match(digits) and len(set(digits)) > 1 and _is_luhn(digits):
            return place.start, end, digits
    return None


def _is_luhn(digits: bytes) -> bool:
    return (sum(digits[::-2].translate(_ONCE)) + sum(digits[-2::-2].translate(_TWICE))) % 10 == 0


_ONCE = bytes(byte - 0x30 if 0x30 <= byte <= 0x39 else 0 for byte in range(256))
_TWICE = bytes(sum(divmod(2 * digit, 10)) for digit in _ONCE)


def _group_ends(place: Place) -> list[int]:
    shorter = max(place.value.rfind(b" "), place.value.rfind(b"-"))
    return [place.end] if shorter < 0 else [place.end, place.start + shorter]


# --- IBAN

_IBAN = compiled(rf"(?:{APART})([A-Z]{{2}}[0-9](?:[ \n.-]?[0-9])(?:[ \n.-]?[0-9A-Zl]){{11,33}})")
_SEPARATORS = b" \n.-"
_READ_WRONGLY = bytes.maketrans(b"lO", b"10")


def _account(place: Place) -> Found | None:
    """As long as its country's are, and the check digits hold; l and O may stand for digits, as scanners read."""
    length = _iban_length(place.value[:2].decode())
    compact = place.value.translate(None, _SEPARATORS)
    if length is None or len(compact) < length:
        return None
    end = place.start + _end_of(place.value, length)
    if place.text[end : end + 1].isalnum():
        return None
    compact = compact[:length]
    for spelt in (compact, compact[:2] + compact[2:].translate(_READ_WRONGLY)):
        if _is_iban(spelt):
            return place.start, end, spelt
    return None


def _end_of(written: bytes, length: int) -> int:
    """Behind so many characters that are no separators."""
    for at, byte in enumerate(written):
        if byte not in _SEPARATORS:
            length -= 1
            if not length:
                return at + 1
    return len(written)


def _is_iban(compact: bytes) -> bool:
    try:
        iban.validate(compact.decode(), check_country=False)
    except ValidationError:
        return False
    return True


@lru_cache(maxsize=512)
def _iban_length(country: str) -> int | None:
    """Characters of an IBAN of that country, from the registry; None where it has none."""
    info = iban._ibandb.info(country)[0][1]  # the registry that `iban.validate` reads
    structure = info.get("bban")
    return None if structure is None else 4 + sum(map(int, re.findall(r"(\d+)!", structure)))


# --- IP

_IPV4 = compiled(rf"(?:^|[^0-9A-Za-z.]|{ESCAPED})((?:[0-9]{{1,3}}\.){{3}}[0-9]{{1,3}}(?:/[0-9]{{1,2}}\b)?)")
_IPV6 = compiled(
    rf"(?:^|[^0-9A-Za-z:.]|{ESCAPED})"
    r"((?:(?:[0-9A-Fa-f]{1,4}:){6,7}|(?:[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4}){0,6})?::(?:[0-9A-Fa-f]{1,4}:){0,6})"
    r"(?:(?:[0-9]{1,3}\.){3}[0-9]{1,3}|[0-9A-Fa-f]{0,4})(?:/[0-9]{1,3}\b)?)"
)
_PRODUCT_BEFORE = re.compile(rb"(?:[A-Za-z]/|[vV]|[vV]ersion\W{0,2}|==|>=|<=|~=|@)$")
_PART_OF_IPV6 = re.compile(rb"[A-Za-z0-9:]|\.[0-9]")
_BEFORE_VERSIONS = (b"", b"/", b"v", b"V", b"=", b"@", b" ", b":")
_PART_OF_MORE = re.compile(rb"[A-Za-z0-9]|\.[0-9]")


def _ipv4(place: Place) -> Found | None:
    """Four numbers up to 255 that are no version: `Chrome/120.0.0.0`, `v1.2.3.4`, `pkg==1.2.3.4`."""
    address, _, mask = place.value.partition(b"/")
    end = place.end
    if mask and int(mask) > 32:
        end = place.start + len(address)
    parts = address.split(b".")
    if any(int(part) > 255 or (len(part) > 1 and part.startswith(b"0")) for part in parts):
        return None
    if _PART_OF_MORE.match(place.text, end) or (
        place.text[place.start - 1 : place.start] in _BEFORE_VERSIONS and _PRODUCT_BEFORE.search(place.before(12))
    ):
        return None
    return place.start, end, address


def _ipv6(place: Place) -> Found | None:
    """At least one digit, or all eight groups: `a::b` is a name in several languages."""
    address, _, mask = place.value.partition(b"/")
    end = place.end
    if mask and int(mask) > 128:
        end = place.start + len(address)
    if _PART_OF_IPV6.match(place.text, end) or not re.search(rb"[0-9]", place.value):
        return None
    try:
        read = ipaddress.IPv6Address(address.decode())
    except ValueError:
        return None
    return place.start, end, read.compressed.encode()


PERSONAL = (
    Rule(
        RedactionKind.EMAIL,
        compiled(rf"{ESCAPED}?({_LOCAL}(?:@|%40){_DOMAIN})\b"),
        _address,
    ),
    Rule(RedactionKind.IBAN, _IBAN, _account, max_places=5_000),
    Rule(RedactionKind.CARD, _CARD, _card, max_places=10_000),
    Rule(RedactionKind.IP_ADDRESS, _IPV6, _ipv6, max_places=3_500),
    Rule(RedactionKind.IP_ADDRESS, _IPV4, _ipv4, max_places=5_000),
)
