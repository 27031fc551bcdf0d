"""The part of `GET /openapi.json` about from where on something is pointed out."""

from __future__ import annotations

from typing import Final

from watchllm_proxy.console.api.openapi_parts import BACK, PAGE, asked, form

PATHS: Final = {
    "/settings/flags": {
        "get": asked("From where on something is a flag, as a page", PAGE),
        "post": form("Choose all thresholds of flags anew, from the page", {"303": BACK}),
    },
}
