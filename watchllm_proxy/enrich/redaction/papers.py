"""Passports, identity cards, licences, insurance numbers: letters and digits beside a word that names them.

What they look like is different in each country, and few have a check digit, so the word decides. A number of the
form that stands alone is left: it may be the name of anything.
"""

from __future__ import annotations

import re

from watchllm_proxy.enrich.redaction.kinds import RedactionKind
from watchllm_proxy.enrich.redaction.rules import Found, Place, Rule, compiled, is_date

_WORDS = "|".join(
    (
        r"passports?|paszport(?:u|em)?|pasaporte|passeport|passaporto|passaporte|paspoort|reisepass",
        r"dow(?:o|ó)d(?:u|em)?(?: osobist(?:y|ego|ym))?|(?:national |personal )?identity card|id card",
        r"(?:personal)?ausweis|carta d.identit(?:a|à)|carte d.identit(?:e|é)|c(?:e|é)dula",
        r"driv(?:ing|er|er.?s) licen[cs]e|f(?:u|ü)hrerschein|praw(?:o|a|em) jazdy|permis de conduire",
        r"kvnr|egk|krankenversicherten|versicherten|rvnr|rentenversicherungs|nass|seguridad social",
        r"mbi|medicare (?:id|number|no)|npi|provider identifier|nhc|historia cl(?:i|í)nica|mrn|medical record",
        r"n(?:º|°|o\.) ?col(?:egiad[oa])?|colegiad[oa]",
        r"tin|vat (?:id|number|no|reg)|ust-?id|gstin",
    )
)
_NUMBER = r"(?:[ -]?(?:nr|no|n°|nº|nummer|number|numer|n(?:u|ú)mero|num|id|card|is|es|lautet)\.?){0,3}"
_VALUE = r"[A-Z]{0,5}[ .\n-]?[0-9](?:[ .\n/-]?[0-9A-Z]){4,18}"
_NAMED = compiled(
    rf"(?:^|[^A-Za-z])(?:{_WORDS}){_NUMBER}[^0-9A-Za-z\n][^0-9A-Za-z\n]{{0,5}}({_VALUE})", ignore_case=True
)
_ALONE = compiled(rf"^\s*({_VALUE})\s*$", ignore_case=True)
_NAMES = compiled(rf"(?:^|[^a-z])({_WORDS})(?:[^a-z]|$)", ignore_case=True)
_GROUP = re.compile(rb"[0-9A-Za-z]+")
_DIGIT = re.compile(rb"[0-9]")
_MIN_DIGITS, _MAX_LETTERS = 5, 9
_MIN_CHARACTERS, _MAX_CHARACTERS = 6, 16
_WHOLE = 8
"""So many are a number: what follows on the next line is something else."""


def _paper(place: Place) -> Found | None:
    end = _end(place)
    compact = b"".join(_GROUP.findall(place.text[place.start : end])).upper()
    digits = len(_DIGIT.findall(compact))
    fits = _MIN_CHARACTERS <= len(compact) <= _MAX_CHARACTERS and digits >= _MIN_DIGITS
    if not fits or len(compact) - digits > _MAX_LETTERS or is_date(place.text[place.start : end]):
        return None
    is_cut = place.text[end : end + 1].isalnum()
    return None if is_cut else (place.start, end, compact)


def _in_named_field(place: Place) -> Found | None:
    """`{"passport_number": "CD7654321"}`"""
    return _paper(place) if place.context and names_paper(place.context) else None


def names_paper(name: bytes) -> bool:
    return _NAMES.search(name.replace(b"_", b" ")) is not None


def _end(place: Place) -> int:
    """Behind the last of its groups: the first may be letters, each other one has a digit."""
    end, characters = place.start, 0
    for group in _GROUP.finditer(place.value):
        is_next_line = b"\n" in place.text[end : place.start + group.start()]
        has_digit = _DIGIT.search(group[0]) is not None
        if characters and (not has_digit or (is_next_line and characters >= _WHOLE)):
            break
        characters += len(group[0])
        if characters > _MAX_CHARACTERS:
            break
        end = place.start + group.end()
    return end


PAPERS = (
    Rule(RedactionKind.NATIONAL_ID, _NAMED, _paper, max_places=1_500),
    Rule(RedactionKind.NATIONAL_ID, _ALONE, _in_named_field),
)
