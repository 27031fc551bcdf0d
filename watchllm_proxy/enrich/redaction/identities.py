"""National identity, tax and insurance numbers, as python-stdnum checks them.

`SHAPES`   found wherever they stand: letters or separators in their places, a date, checks that few numbers pass
`NAMED`    what any number of that length passes once in ten times: found beside a word that names it

A shape is a number with its digits read as 0 and its letters as A: one look-up tells which checks to make.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from stdnum.at import vnr as at_vnr
from stdnum.au import abn, acn, tfn
from stdnum.be import nn as be_nn
from stdnum.bg import egn
from stdnum.br import cnpj, cpf
from stdnum.ca import sin
from stdnum.ch import ssn as ahv
from stdnum.cl import rut
from stdnum.cn import ric
from stdnum.cz import rc
from stdnum.de import idnr as de_idnr
from stdnum.dk import cpr
from stdnum.ee import ik
from stdnum.es import dni, nie
from stdnum.fr import nir
from stdnum.gb import nhs, utr
from stdnum.ie import pps
from stdnum.il import idnr as il_idnr
from stdnum.in_ import aadhaar, epic, gstin, pan
from stdnum.it import codicefiscale, iva
from stdnum.kr import brn, rrn
from stdnum.mx import curp
from stdnum.no import fodselsnummer
from stdnum.pl import nip, pesel
from stdnum.pt import nif
from stdnum.ro import cnp
from stdnum.se import orgnr, personnummer
from stdnum.sg import uen
from stdnum.th import pin
from stdnum.tr import tckimlik
from stdnum.us import ein, ssn
from stdnum.za import idnr as za_idnr

from watchllm_proxy.enrich.redaction.kinds import RedactionKind
from watchllm_proxy.enrich.redaction.rules import ESCAPED, Found, Place, Rule, as_it_is, compiled

IsValid = Callable[[str], bool]


def _nino(number: str) -> bool:
    """UK national insurance: prefixes that were never given out are none."""
    head, tail = number[:2].upper(), number[-1].upper()
    return (
        head[0] not in "DFIQUV"
        and head[1] not in "DFIOQUV"
        and head not in {"BG", "GB", "KN", "NK", "NT", "TN", "ZZ"}
        and tail in "ABCD"
    )


def _nric(number: str) -> bool:
    """Singapore: seven weighted digits give the last letter, by the first letter's table."""
    first, digits, last = number[0].upper(), number[1:8], number[8].upper()
    weights = sum(int(digit) * weight for digit, weight in zip(digits, (2, 7, 6, 5, 4, 3, 2), strict=True))
    if first in "ST":
        return "JZIHGFEDCBA"[(weights + (4 if first == "T" else 0)) % 11] == last
    if first in "FG":
        return "XWUTRQPNMLK"[(weights + (4 if first == "G" else 0)) % 11] == last
    return first == "M" and "KLJNPQRTUWX"[10 - (weights + 3) % 11] == last


def _hetu(number: str) -> bool:
    """Finnish, with the separators that were added in 2023: a date, and the remainder by 31."""
    digits = number[:6] + number[7:10] if len(number) == 11 else ""
    if not digits.isdigit() or number[6].upper() not in "+-YXWVUABCDEF":
        return False
    is_date = "00" < number[:2] <= "31" and "00" < number[2:4] <= "12"
    return is_date and "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(digits) % 31] == number[10].upper()


def _itin(number: str) -> bool:
    """US taxpayers without a social security number: 9xx, and the ranges given out for the middle."""
    digits = number.replace("-", "")
    middle = int(digits[3:5])
    return digits[0] == "9" and (50 <= middle <= 65 or 70 <= middle <= 99) and middle not in {89, 93}


def _short_dni(number: str) -> bool:
    """Seven digits are written without their leading zero."""
    return dni.is_valid(number.zfill(9))


def _korean(number: str) -> bool:
    """Since 2020 the last digits are random: a date and the century's digit must do."""
    return number[2:4] <= "12" and number[2:4] > "00" and "00" < number[4:6] <= "31" and number[6] in "12345678"


def _of_thirteen_digits(number: str) -> bool:
    """With a date in it, which most instants in milliseconds lack; or Swiss."""
    if number.startswith("756"):
        return bool(ahv.is_valid(number))
    if _is_day(number[2:6]) and (za_idnr.is_valid(number) or rrn.is_valid(number)):
        return True
    return _is_day(number[3:7]) and bool(cnp.is_valid(number))


def _is_day(digits: str) -> bool:
    return "00" < digits[:2] <= "12" and "00" < digits[2:] <= "31"


def _checks(*modules: ModuleType) -> tuple[IsValid, ...]:
    return tuple(module.is_valid for module in modules)


SHAPES: dict[bytes, tuple[IsValid, ...]] = {
    b"000-00-0000": (ssn.is_valid, _itin),
    b"00000000A": _checks(dni, uen),
    b"00000000-A": _checks(dni),
    b"0000000A": (_short_dni, pps.is_valid),
    b"0000000-A": (_short_dni,),
    b"0000000AA": _checks(pps),
    b"A0000000A": (nie.is_valid, _nric),
    b"A0000000-A": _checks(nie),
    b"A-0000000-A": _checks(nie),
    b"AAAAAA00A00A000A": _checks(codicefiscale),
    b"000000-0000": (personnummer.is_valid, orgnr.is_valid, _hetu),
    b"000000+0000": (personnummer.is_valid, _hetu),
    b"00000000-0000": _checks(personnummer),
    b"000000A000A": (_hetu,),
    b"000000A0000": (_hetu,),
    b"000000-000A": (_hetu,),
    b"000000+000A": (_hetu,),
    b"000000-0000000": (_korean, rrn.is_valid),
    b"0 00 00 00 000 000 00": _checks(nir),
    b"AA000000A": (_nino,),
    b"AA 00 00 00 A": (_nino,),
    b"0000 0000 0000": _checks(aadhaar),
    b"0000-0000-0000": _checks(aadhaar),
    b"AAAAA0000A": _checks(pan),
    b"00AAAAA0000A0A0": _checks(gstin),
    b"00AAAAA0000A0AA": _checks(gstin),
    b"AAA0000000": _checks(epic),
    b"000.000.000-00": _checks(cpf),
    b"00.000.000/0000-00": _checks(cnpj),
    b"00 000 000 000": _checks(abn, de_idnr),
    b"0-0000-00000-00-0": _checks(pin),
    b"000000/0000": _checks(rc),
    b"000000/000": _checks(rc),
    b"000.0000.0000.00": _checks(ahv),
    b"AAAA000000AAAAAA00": _checks(curp),
    b"AAAA000000AAAAAAA0": _checks(curp),
    b"00.000.000-0": _checks(rut),
    b"00.000.000-A": _checks(rut),
    b"000-000-00-00": _checks(nip),
    b"000-00-00-000": _checks(nip),
    b"000000000A": _checks(uen),
    b"A00AA0000A": _checks(uen),
}
_ELEVEN_DIGITS = {b"00000000000": _checks(tckimlik, pesel, de_idnr, cpf, fodselsnummer, be_nn, ik, abn)}
"""Eight checks each: few of them are made in one text."""

_GROUPED: dict[bytes, tuple[IsValid, ...]] = {
    b"000 000 0000": _checks(nhs),
    b"000-000-0000": _checks(nhs),
}
"""As telephone numbers are written too: looked at after these."""

NAMED: tuple[tuple[str, int, IsValid | None], ...] = (
    # the words that name it, its digits, and what must hold besides: None where the word leaves no doubt
    (r"pesel", 11, None),
    (r"nip", 10, None),
    (r"regon", 9, None),
    (r"regon", 14, None),
    (r"ssn|social security(?: n(?:umbe|o|)r?\.?)?", 9, None),
    (r"itin", 9, None),
    (r"ein|tax(?:payer)? id|employer id", 9, ein.is_valid),
    (r"sin|nas|social insurance(?: number)?", 9, sin.is_valid),
    (r"tfn|tax file(?: number)?", 9, tfn.is_valid),
    (r"acn", 9, acn.is_valid),
    (r"abn", 11, abn.is_valid),
    (r"aadhaar|aadhar|uidai?", 12, None),
    (r"nhs(?: n(?:umber|o\.?))?", 10, nhs.is_valid),
    (r"utr", 10, utr.is_valid),
    (r"bsn|burgerservicenummer", 9, None),
    (r"nif|nipc|contribuinte", 9, nif.is_valid),
    (r"svnr|sv-nummer|sozialversicherungsnummer", 10, at_vnr.is_valid),
    (r"idnr\.?|steuer-?id(?:-?nr\.?)?|steueridentifikationsnummer", 11, None),
    (r"oib", 11, None),
    (r"egn|егн", 10, egn.is_valid),
    (r"my ?number|マイナンバー|個人番号", 12, None),
    (r"teudat zehut|zehut|ת.ז", 9, il_idnr.is_valid),
    (r"p\.? ?iva|partita iva|iva", 11, iva.is_valid),
    (r"cpr(?:-?nr\.?| number)?", 10, cpr.is_valid),
    (r"rrn|주민등록번호", 13, None),
    (r"brn|사업자등록번호", 10, brn.is_valid),
    (r"thai id|บัตรประชาชน", 13, pin.is_valid),
    (r"personnummer|pnr|personnr", 10, personnummer.is_valid),
    (r"cpf", 11, None),
    (r"cnpj", 14, None),
    (r"(?:national |sa |rsa )?id(?:entity)?(?: (?:number|no\.?|code))", 13, za_idnr.is_valid),
)

_READ_WRONGLY = bytes.maketrans(b"lO", b"10")
_BETWEEN = r"[\"'\\]{0,3}(?:[ _-](?:nr|no|number|numer|is|id|:)\.?)?[^0-9A-Za-z\n_-][^0-9A-Za-z\n]{0,5}"
"""`PESEL: 4405…`, not `PESEL-4405…`, which is a name of its own."""
_NUMBER = r"[0-9lO](?:[ .\n/-]?[0-9lO]){7,17}"
_EVERY_NAME = "|".join(dict.fromkeys(words for words, _, _ in NAMED))
_NAMED_NUMBER = compiled(rf"(?:^|[^A-Za-z])(?:{_EVERY_NAME}){_BETWEEN}({_NUMBER})\b", ignore_case=True)
_ALONE = compiled(rf"^\s*({_NUMBER})\s*$")
_NAMES = tuple(
    (compiled(rf"(?:^|[^a-z])({words}){_BETWEEN}$", ignore_case=True), digits, is_valid)
    for words, digits, is_valid in NAMED
)
_ANY_NAME = compiled(rf"(?:^|[^a-z])({_EVERY_NAME})(?:[^a-z]|$)", ignore_case=True)
_NAMED_WITHIN = 40  # bytes before the number


def _named(place: Place) -> Found | None:
    kept = [at for at in range(place.start, place.end) if place.text[at] not in _SEPARATORS]
    compact = place.value.translate(None, _SEPARATORS).translate(_READ_WRONGLY)
    before = place.before(_NAMED_WITHIN)
    for names, digits, is_valid in _NAMES:
        if len(kept) < digits or not _is_end(kept, digits) or not names.search(before):
            continue
        number = compact[:digits]
        if is_valid is None or is_valid(number.decode("latin-1")):
            return place.start, kept[digits - 1] + 1, number
    return None


def _in_named_field(place: Place) -> Found | None:
    """`{"ssn": "123456789"}`"""
    return _named(place) if place.context else None


def names_identity(name: bytes) -> bool:
    return _ANY_NAME.search(name.replace(b"_", b" ")) is not None


def _is_end(kept: list[int], digits: int) -> bool:
    return len(kept) == digits or kept[digits] > kept[digits - 1] + 1


# --- by shape

_SEPARATORS = b" .\n/-+"
_SHAPE = bytes(
    0x30 if 0x30 <= byte <= 0x39 else 0x41 if byte < 0x80 and chr(byte).isalpha() else byte for byte in range(256)
)
_CENTURY_AT_LENGTH = 11
"""A Swedish or a Finnish number whose separator tells the century."""


def _shaped(shapes: dict[bytes, tuple[IsValid, ...]], checked_places: int | None = None) -> Rule:
    """One pattern of all shapes, the longest first."""
    ordered = sorted(shapes, key=len, reverse=True)
    pattern = "|".join(map(_pattern, ordered))

    def check(place: Place) -> Found | None:
        written = place.value
        if place.is_part_of_code or (b" " in written and place.is_part_of_row):
            return None
        compact = written.translate(None, _SEPARATORS).decode()
        as_written = written.decode()
        for is_valid in shapes[written.translate(_SHAPE)]:
            if is_valid(compact) or (len(written) == _CENTURY_AT_LENGTH and is_valid(as_written)):
                return place.start, place.end, compact.upper().encode()
        return None

    numbers = compiled(rf"(?:^|[^0-9A-Za-z]|{ESCAPED})({pattern})\b")
    return Rule(RedactionKind.NATIONAL_ID, numbers, check, max_places=4_000, checked_places=checked_places)


def _pattern(shape: bytes) -> str:
    """`0-0` as `[0-9]-[0-9]`."""
    pieces = {"0": "[0-9]", "A": "[A-Za-z]", ".": r"\.", "+": r"\+"}
    return "".join(pieces.get(letter, letter) for letter in shape.decode())


_DAY = "(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
_WITH_DATE = compiled(
    rf"(?:^|[^0-9A-Za-z]|{ESCAPED})("
    rf"(?:19|20)[0-9]{{2}}(?:0[1-9]|1[0-2])[0-9]{{6}}"  # Swedish, with the century
    rf"|756[0-9]{{10}}|[0-9]{{2}}{_DAY}[0-9]{{7}}|[1-9][0-9]{{2}}{_DAY}[0-9]{{6}}"  # Swiss; others
    rf"|[1278][0-9]{{2}}(?:0[1-9]|1[0-2])[0-9]{{10}}"  # French
    rf"|[1-9][0-9]{{5}}(?:19|20)[0-9]{{2}}{_DAY}[0-9]{{3}}[0-9Xx]"  # Chinese
    r")\b"
)
"""Digits without separators, as long as instants and ids of many systems: these have a date where it belongs."""

_OF_DIGITS: dict[int, tuple[IsValid, ...]] = {
    12: _checks(personnummer),
    13: (_of_thirteen_digits,),
    15: _checks(nir),
    18: _checks(ric),
}


def _with_date(place: Place) -> Found | None:
    if place.is_part_of_code:
        return None
    number = place.value.decode()
    is_found = any(is_valid(number) for is_valid in _OF_DIGITS[len(number)])
    return as_it_is(place) if is_found else None


IDENTITIES = (
    Rule(RedactionKind.NATIONAL_ID, _NAMED_NUMBER, _named, max_places=1_500),
    Rule(RedactionKind.NATIONAL_ID, _ALONE, _in_named_field),
    _shaped(SHAPES),
    _shaped(_ELEVEN_DIGITS, checked_places=250),
    Rule(RedactionKind.NATIONAL_ID, _WITH_DATE, _with_date, checked_places=800),
)
GROUPED_IDENTITIES = (_shaped(_GROUPED),)
