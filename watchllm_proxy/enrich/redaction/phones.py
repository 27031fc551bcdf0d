"""Telephone numbers, as phonenumbers knows them, where they are written as such.

+49 30 1234567, 0049…         a country code: the length fits the country
(030) 123-4567, 030/12 34 56  with the trunk 0 or an area in brackets: a number of one of `REGIONS`
212-555-0123                  as North America groups them: a number of it
Tel. 510 070 901              anything of that length beside a word that says so
"""

from __future__ import annotations

from functools import lru_cache

from phonenumbers import (
    NumberParseException,
    PhoneNumberType,
    is_possible_number,
    is_valid_number,
    number_type,
    parse,
)

from watchllm_proxy.enrich.redaction.kinds import RedactionKind
from watchllm_proxy.enrich.redaction.rules import ESCAPED, Found, Place, Rule, compiled, digits_of, is_date

REGIONS = ("GB", "DE", "FR", "IT", "NL", "SE", "JP", "TR", "AU", "BE", "AT", "CH", "IE", "NZ", "ZA", "PH", "KR",
           "IN", "IL", "UA", "AR", "BR", "CN", "TW", "TH", "MY", "ID", "VN", "EG", "NG", "RO", "FI", "RS",
           "HR", "BG", "SK", "SI")  # fmt: skip
"""Where numbers are written with a trunk 0, or with their area in brackets."""

_WORDS = (
    "tele?|tél|telephone|téléphone|telefon[a-z]{0,8}|telefoon|teléfono|tfno|tlf|telf|tfn|tlfn|"
    "phone|mobile?|mobil[a-z]{1,8}|móvil|cell|cell(?:ular|phone)|celular|cellulare|handy|gsm|portable|fax|"
    "call|called|calling|dial|sms|whatsapp|hotline|rufnummer|puhelin|"
    "電話|携帯|电话|手机|전화|핸드폰|"
    "โทร|тел(?:ефон)?"
)
_MIN_DIGITS, _MAX_DIGITS = 7, 15
_MIN_UNGROUPED = 9
_EXTENSION = r"(?: ?(?:x|ext\.? ?|#) ?[0-9]{1,6}\b)?"
_GROUPS = r"(?:[ .()/-]{0,3}[0-9])"
_START = rf"(?:^|[^0-9A-Za-z+]|{ESCAPED})"

_INTERNATIONAL = compiled(rf"{_START}\(?((?:\+ ?\(?|00 ?\(?|\+ ?00)[1-9]{_GROUPS}{{6,16}}{_EXTENSION})")
_TRUNK = compiled(
    rf"{_START}(\(?0[0-9]{_GROUPS}{{6,12}}{_EXTENSION}|\([1-9][0-9]{{1,4}}\){_GROUPS}{{5,10}}{_EXTENSION})"
)
_AMERICAN = compiled(
    rf"{_START}((?:1[ .-])?(?:\([2-9][0-9]{{2}}\) ?|[2-9][0-9]{{2}}[ .-])[2-9][0-9]{{2}}[ .-][0-9]{{4}}"
    rf"{_EXTENSION})"
)
_IN_PAIRS = compiled(r"(0[1-9](?:[ .-][0-9]{2}){4})")  # as in France, whatever of its numbers is given out
_NAMED = compiled(rf"(?:{_WORDS})\b[^0-9+(\n]{{0,24}}(\(?[0-9]{_GROUPS}{{6,14}}{_EXTENSION})", ignore_case=True)
_NAMES = compiled(rf"(^|[^a-z])(?:{_WORDS})(?:[^a-z]|$)", ignore_case=True)
_NAMED_AFTER = compiled(
    rf"{_START}(\(?[0-9]{_GROUPS}{{8,14}}) \(?(?:fax|mobile|cell|phone|tel|home|work|office|direct)\b",
    ignore_case=True,
)
_ALONE = compiled(rf"^\s*(\(?[0-9]{_GROUPS}{{6,14}}{_EXTENSION})\s*$")
_MOBILES = (PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE)


def _international(place: Place) -> Found | None:
    main, digits = _main(place)
    if _goes_on(place) or place.is_part_of_code or place.is_part_of_row:
        return None
    number = digits.removeprefix(b"00")
    if not _is_possible(number.decode()) or (main.isdigit() and not _is_given_out(number.decode())):
        return None
    return place.start, place.end, number


def _trunk(place: Place) -> Found | None:
    main, digits = _main(place)
    if _goes_on(place) or place.is_part_of_code or place.is_part_of_row or len(set(digits)) < 3:
        return None
    is_other = main.count(b"/") > 1 or is_date(main)  # 0932/01/2026: a file or an invoice
    is_found = _IN_PAIRS.fullmatch(main) is not None or (not is_other and _is_national(main.decode()))
    return (place.start, place.end, digits) if is_found else None


def _american(place: Place) -> Found | None:
    main, digits = _main(place)
    return None if _goes_on(place) or not _is_of(main.decode(), "US") else (place.start, place.end, digits)


def _named(place: Place) -> Found | None:
    main, digits = _main(place)
    fits = _MIN_DIGITS <= len(digits) <= _MAX_DIGITS and len(set(digits)) > 2
    return None if not fits or _goes_on(place) or is_date(main) else (place.start, place.end, digits)


def _in_named_field(place: Place) -> Found | None:
    """`{"phone": "5551234567"}`"""
    return _named(place) if names_phone(place.context) else None


def names_phone(name: bytes) -> bool:
    return _NAMES.search(name.replace(b"_", b" ")) is not None


def _main(place: Place) -> tuple[bytes, bytes]:
    """The number without its extension: as written, and its digits."""
    value = place.value
    for mark in (b"x", b"ext", b"#"):
        value = value.partition(mark)[0]
    return value, digits_of(value)


def _goes_on(place: Place) -> bool:
    """A longer number, a decimal or a name that only begins like one."""
    after = place.text[place.end : place.end + 1]
    return after.isalnum() and after < b"\x80"


@lru_cache(maxsize=8192)
def _is_possible(digits: str) -> bool:
    try:
        return is_possible_number(parse(f"+{digits}"))
    except NumberParseException:
        return False


@lru_cache(maxsize=8192)
def _is_given_out(digits: str) -> bool:
    """Of digits that are not grouped more must hold than their number: 00 begins other things, too."""
    return is_valid_number(parse(f"+{digits}"))


@lru_cache(maxsize=8192)
def _is_national(written: str) -> bool:
    return any(_is_of(written, region) for region in REGIONS)


def _is_of(written: str, region: str) -> bool:
    """Without groups only a mobile's number is taken for one: others are any digits after a 0."""
    try:
        number = parse(written, region)
    except NumberParseException:
        return False
    if not is_valid_number(number):
        return False
    return not written.isdigit() or (len(written) >= _MIN_UNGROUPED and number_type(number) in _MOBILES)


PHONES = (
    Rule(RedactionKind.PHONE, _INTERNATIONAL, _international),
    Rule(RedactionKind.PHONE, _TRUNK, _trunk),
    Rule(RedactionKind.PHONE, _AMERICAN, _american),
    Rule(RedactionKind.PHONE, _NAMED, _named, max_places=4_000),
    Rule(RedactionKind.PHONE, _NAMED_AFTER, _named, max_places=4_000),
    Rule(RedactionKind.PHONE, _ALONE, _in_named_field),
)
