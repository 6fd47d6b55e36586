"""`Term`: a piece of a sentence that names a time.

The patterns here decide what is one, and in doubt they say no: a dog may be "the second", people "march" and "may",
and "between two and three" are hours only if no dogs follow. `TimeReader` then reads what a term means.
"""

from __future__ import annotations

import re
from typing import NamedTuple


def _any(*patterns: str) -> str:
    return f"(?:{'|'.join(patterns)})"


def _behind(words: str) -> str:
    """Only where one of these words stands before."""
    return _any(*(rf"(?<=\b{word} )" for word in words.split()))


_SPELLED = _any(*["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"])
_HOUR = _any(r"2[0-3]", r"1\d", r"0?\d", _SPELLED)
_MINUTES = _any("five", "ten", "twenty(?:[- ]five)?", r"[1-5]?\d") + "(?: minutes)?"
_PART = _any("morning", "afternoon", "evening", "night")
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_WEEKDAY = _any(*WEEKDAYS)
# "Monday week" is not a time we know; "Monday morning" and "who came Monday" are.
_CAPITAL = rf"(?-i:{_any(*map(str.title, WEEKDAYS))})\b(?!')"
_CAPITAL_WEEKDAY = _any(
    rf"(?<=\w )(?<!\bis )(?<!\bwas )(?<!\bit )(?<!\bthe )(?<!\ba ){_CAPITAL}",
    rf"\b{_CAPITAL}(?=,| (?:at|between|from|after|before|around|about|{_PART})\b)",
)
_MONTH = _any(
    *["january", "february", "april", "june", "july", "august", "september", "october", "november", "december"],
    *["jan", "feb", "mar", "apr", "jun", "jul", "aug", "sept?", "oct", "nov", "dec"],
)
_ANY_MONTH = _any(_MONTH, "march", "may")  # these two are months only if more than a number says so
_YEAR = r"(?:19|20)\d\d\b"
_NUMBER = _any(
    r"\d{1,6}(?:\.\d)?",
    _SPELLED,
    *["fifteen", "thirty", "fifty", "sixty", "ninety"],
    "(?:twenty|forty)(?:[- ]five)?",
    "(?:a )?(?:couple of|few)",
)
_UNIT = _any("seconds?", "secs?", "minutes?", "mins?", "hours?", "hrs?", "days?", "weeks?", "months?", "years?")
_COUNTED = _any(rf"{_NUMBER} {_UNIT}", rf"\d{{1,6}}(?:\.\d)? ?(?:{_UNIT}|[smhd])") + r"\b"
_AMOUNT = _any(
    rf"{_COUNTED}(?:(?: and|,)? {_COUNTED})?",
    r"half an? (?:hour|minute|day)\b",
    r"an hour and a half\b",
    r"(?:a )?quarter of an hour\b",
    rf"an? {_UNIT}\b",
)
_AM_PM = r"(?:[ap]\.m\.|[ap]\.?m)(?!\w)"
_IN_PART = _any(rf" in the {_PART}\b", r" at night\b")
_TO = _any(" (?:and|to|till|until) ", " ?[-–] ?")
# What may follow two bare hours: anything but a noun that they would count.
_NO_NOUN = r"(?= ?(?:$|[?.,;!)]|(?:{})\b))".format(
    "yesterday|today|this|last|on|in the|at|who|what|which|how|when|where|did|was|were|is|are|has|have|any|and|or"
)
_AT = _behind("at since until till before after by about around from to and between")
_ON = _behind("on since until till before after by from to and between through")
_SINCE = _behind("in since until till before after during")
_DURING = _behind("in within over during for throughout")
_ISO_DATE = rf"(?<![\d-]){_YEAR[:-2]}-\d\d-\d\d"
_ORDINAL = r"\d{1,2}(?:st|nd|rd|th)"

_CLOCK = (
    rf"(?<![\d:.,])\d{{1,2}}:\d\d(?::\d\d)?(?![\d:])(?: ?{_AM_PM})?{_IN_PART}?",
    r"\b\d{1,2}h\d\d\b",
    rf"\b\d{{1,2}} ?{_AM_PM}",
    rf"\b{_SPELLED} (?:a\.m\.|p\.?m)(?!\w)",
    rf"{_AT}{_SPELLED} am\b",
    rf"\b{_HOUR} ?o'?clock\b{_IN_PART}?",
    rf"(?:\b(?:half|(?:a )?quarter|{_MINUTES}) past|\b(?:a )?quarter to|{_AT}{_MINUTES} (?:to|after)) {_HOUR}\b"
    rf"(?: ?{_AM_PM})?{_IN_PART}?",
    rf"{_AT}{_HOUR}{_IN_PART}",
    r"\b(?:12 )?(?:noon|midday|midnight)\b",
)
_DAY = (
    r"\b(?:the )?day before yesterday\b",
    r"\b(?:today|yesterday)\b",
    rf"{_ISO_DATE}(?![\d-])",
    rf"(?:\b(?:last|this) |{_ON}){_WEEKDAY}\b(?: (?:of )?(?:this|last) week\b)?",
    rf"{_CAPITAL_WEEKDAY}(?: (?:of )?(?:this|last) week\b)?",
    rf"\b(?:the )?{_ORDINAL} (?:of )?{_ANY_MONTH}\b(?:,? {_YEAR})?",
    rf"\b\d{{1,2}} (?:of )?(?:{_MONTH}|(?-i:March|May))\b(?:,? {_YEAR})?",
    rf"{_ON}\d{{1,2}} {_ANY_MONTH}\b(?:,? {_YEAR})?",
    rf"\b{_ANY_MONTH} (?:the )?{_ORDINAL}\b(?:,? {_YEAR})?",
    rf"(?:\b{_MONTH}|{_ON}{_ANY_MONTH}) \d{{1,2}}\b(?!:)(?:,? {_YEAR})?",
    rf"(?<![\d./])\d{{1,2}}[./]\d{{1,2}}[./]{_YEAR}(?![./])",
)
_KINDS = {
    "future": (
        r"\b(?:the day after )?tomorrow\b",
        rf"\bnext (?:week|month|year|weekend|{_WEEKDAY})\b",
        rf"\b{_AMOUNT} from now\b",
        r"\blater (?:today|tonight)\b",
    ),
    "ago": (rf"\b{_AMOUNT} ago\b",),
    "rolling": (
        rf"(?:\bthe |\bthese |{_DURING})(?:last|past) {_AMOUNT}(?! ago)",
        rf"{_DURING}the (?:last|past) {_UNIT}\b(?! of)",
        r"\b(?:the )?(?:last|past) hour\b(?! of)",
    ),
    "tonight": (
        r"\bthis (?:morning|afternoon|evening)\b",
        r"\b(?:last|the previous) (?:night|evening)\b",
        r"\btonight\b",
        r"\bovernight\b",
    ),
    "exact": (rf"{_ISO_DATE}[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{{1,6}})?)?(?: ?Z\b|[+-]\d\d:?\d\d)?(?![\d:])",),
    "day": (rf"{_any(*_DAY)}(?: (?:in the |at )?{_PART}\b)?",),
    "period": (
        r"\b(?:this|last) (?:week|month|year|weekend)\b",
        rf"{_behind('at on over during in since until till before after')}the weekend\b",
        rf"{_SINCE}{_ANY_MONTH}\b(?: {_YEAR})?",
        rf"\b{_ANY_MONTH} {_YEAR}",
        rf"(?<=\bin ){_YEAR}",
    ),
    "part": (
        rf"{_behind('in during throughout on since until till before after')}the {_PART}(?: of)?\b"
        r"(?! (?:sky|sun|light))",
    ),
    "hours": (
        rf"{_behind('between from')}{_HOUR}{_TO}{_HOUR}(?: ?{_AM_PM}| o'?clock\b|{_IN_PART}|(?![\w:]){_NO_NOUN})",
        rf"\b\d{{1,2}} ?[-–] ?\d{{1,2}} ?{_AM_PM}",
    ),
    "clock": (*_CLOCK, rf"{_behind('between from')}{_HOUR}(?={_TO}{_any(*_CLOCK)})"),
}
_TERM = re.compile("|".join(f"(?P<{kind}>{_any(*patterns)})" for kind, patterns in _KINDS.items()), re.IGNORECASE)
_TWO_HOURS = re.compile(rf"({_HOUR}){_TO}({_HOUR}.*)", re.IGNORECASE)
_BARE_END = re.compile(rf"{_TO}({_HOUR})(?![\w:])(?!{_IN_PART}){_NO_NOUN}", re.IGNORECASE)
_IS_TODAY = re.compile(r"^how(?:'s| is| are) .*\btoday\b|\blike today\b", re.IGNORECASE)  # what is asked is now
_WILL = re.compile(r"\b(?:will|shall|going to|happens)\b|'ll\b", re.IGNORECASE)
_AHEAD = re.compile(rf"\b(?:in|within) (?:the next )?{_AMOUNT}", re.IGNORECASE)


class Term(NamedTuple):
    """A piece of a sentence from `start` to before `end`.

    Attributes:
        kind: `future`, `ago`, `rolling` (up to now), `tonight` (a part of a day that says of which), `exact`
            (an ISO time), `day`, `period` (several days), `part` (of a day that is named elsewhere) or `clock`.
    """

    kind: str
    text: str
    start: int
    end: int


def find_terms(sentence: str) -> list[Term]:
    """The times that a sentence names, from left to right.

    Args:
        sentence: with single blanks between the words.
    """
    found: list[Term] = []
    for match in _TERM.finditer(sentence):
        kind = match.lastgroup or ""
        if kind == "hours" and (two := _TWO_HOURS.match(sentence, match.start(), match.end())):
            found += [Term("clock", two[group], two.start(group), two.end(group)) for group in (1, 2)]
        elif not (match[0].lower() == "today" and _IS_TODAY.search(sentence)):
            found.append(Term(kind, match[0], match.start(), match.end()))
        if (
            kind == "clock"
            and (bare := _BARE_END.match(sentence, match.end()))
            and _opens_span(sentence, match.start())
        ):
            found.append(Term("clock", bare[1], bare.start(1), bare.end(1)))
    if not found and _WILL.search(sentence) and (ahead := _AHEAD.search(sentence)):
        found.append(Term("future", ahead[0], ahead.start(), ahead.end()))
    return found


def _opens_span(sentence: str, start: int) -> bool:
    return sentence[:start].lower().endswith(("between ", "from "))
