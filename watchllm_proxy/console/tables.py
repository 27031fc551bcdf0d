"""Tables as files for a spreadsheet: RFC 4180, UTF-8."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from decimal import Decimal

from aiohttp import web

from watchllm_proxy.console.answers import money_text


def table_answer(name: str, table: str) -> web.Response:
    """`table`, to be saved as `name`."""
    answer = web.Response(text=table, content_type="text/csv", charset="utf-8")
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    answer.enable_compression()
    return answer


def table_of(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """What is not known is empty, money is exact."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(head)
    writer.writerows([_cell(each) for each in line] for line in lines)
    return file.getvalue()


def _cell(figure: object) -> object:
    """Text from traffic stays text: a spreadsheet would take `=…` for a formula, and run it."""
    if isinstance(figure, Decimal):
        return money_text(figure)
    if not isinstance(figure, str):
        return figure
    text = figure.encode("utf-8", "replace").decode()
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
