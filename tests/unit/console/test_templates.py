"""What must never stand in a template."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from watchllm_proxy import console

TEMPLATES = sorted((Path(console.__file__).parent / "templates").glob("*.html"))
FORBIDDEN = (
    r"\sstyle\s*=",
    r"\son[a-z]+\s*=",
    r"\|\s*safe\b",
    r"autoescape\s+false",
    r"Markup",
    r"https?://",
    r"href=\"#\"",
    r"<script(?![^>]*\ssrc=)",
    r"javascript:",
)


def test_there_are_templates() -> None:
    assert len(TEMPLATES) >= 5


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_a_template_escapes_everything_and_holds_nothing_inline(template: Path) -> None:
    text = template.read_text(encoding="utf-8")
    assert [pattern for pattern in FORBIDDEN if re.search(pattern, text)] == []


def test_every_form_that_changes_something_carries_the_session_s_token() -> None:
    """But for those that open and end a session."""
    lacking = [
        f"{path.name}: {form}"
        for path in TEMPLATES
        for form in re.findall(r'<form[^>]*method="post".*?</form>', path.read_text(encoding="utf-8"), re.DOTALL)
        if '{% include "_token.html" %}' not in form and not re.search(r'action="/log(in|out)"', form)
    ]
    assert lacking == []
