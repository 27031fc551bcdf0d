"""How figures are written on the pages. All pure; `None` is not known and is written as a dash, never as 0."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

UNKNOWN = "–"
_SECOND_US = 1_000_000
_MINUTE_S = 60
_HOUR_S = 3600
_DAY_S = 86400


def usd(amount: Decimal | None) -> str:
    """Four decimals so that columns line up; six below a tenth of a cent; two from $100."""
    if amount is None:
        return "unpriced"
    if amount == 0:
        return "$0.0000"
    if amount >= 100:
        return f"${amount:,.2f}"
    if amount >= Decimal("0.001"):
        return f"${amount:.4f}"
    return f"${amount:.6f}" if amount >= Decimal("0.0000005") else "<$0.000001"


def usd_short(amount: Decimal | None) -> str:
    """For the narrow column of a timeline: always four decimals or fewer."""
    if amount is None:
        return "unpriced"
    if 0 < amount < Decimal("0.00005"):
        return "<$0.0001"
    return f"${amount:.4f}" if amount < 10 else f"${amount:,.2f}"


def duration(us: int | None) -> str:
    if us is None:
        return UNKNOWN
    if us < 1000:
        return f"{us} µs" if us else "0 ms"
    if us < _SECOND_US:
        return f"{us // 1000} ms"
    seconds = round(us / _SECOND_US, 2)
    if seconds < _MINUTE_S:
        return f"{seconds:.2f} s"
    whole = int(seconds)
    if whole < _HOUR_S:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // _HOUR_S}h {whole % _HOUR_S // 60:02d}m"


def compact(number: int | None) -> str:
    """1,234 stays; 12,345 is 12.3k; 1,234,567 is 1.23M."""
    if number is None:
        return UNKNOWN
    if number < 10_000:
        return f"{number:,}"
    if number < 999_950:
        return f"{number / 1000:.1f}k"
    return f"{number / 1_000_000:.2f}M"


def size(size_bytes: int) -> str:
    """Of a file, in steps of a thousand."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    amount = size_bytes / 1000
    for unit in ("kB", "MB", "GB"):
        if amount < 999.95:
            return f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:,.1f} TB"


def tokens(input_tokens: int | None, output_tokens: int | None) -> str:
    if input_tokens is None and output_tokens is None:
        return ""
    return f"{compact(input_tokens)}→{compact(output_tokens)}"


def percent(part: int, whole: int) -> str:
    """Of nothing there is no share: a dash."""
    return f"{round(100 * part / whole)} %" if whole else UNKNOWN


def count_of(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def ago(at_us: int, now_us: int) -> str:
    """How long since, in the largest whole unit; a clock that runs behind makes it "just now"."""
    seconds = (now_us - at_us) // _SECOND_US
    if seconds < 10:
        return "just now"
    if seconds < _MINUTE_S:
        return f"{seconds} s ago"
    if seconds < _HOUR_S:
        return f"{seconds // 60} min ago"
    if seconds < _DAY_S:
        return f"{seconds // _HOUR_S} h ago"
    return count_of(seconds // _DAY_S, "day") + " ago"


def instant(at_us: int | None) -> str | None:
    """RFC 3339 in UTC, to the microsecond."""
    if at_us is None:
        return None
    whole, micros = divmod(at_us, _SECOND_US)
    return datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{micros:06d}Z"
