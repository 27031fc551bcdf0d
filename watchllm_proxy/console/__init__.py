"""The console: the JSON API and the server-rendered dashboard over what the stores hold.

app        routes; `build_app` is the way in
guard      Host allow-list, security headers, errors
reading    the seam to the stores
loading    one run with all that is shown of it
api/       JSON answers and the document that describes them
pages/     what each page shows; templates/ lay it out, static/ makes it quick to move around in
"""

from watchllm_proxy.console.app import build_app
from watchllm_proxy.console.context import Health

__all__ = ["Health", "build_app"]
