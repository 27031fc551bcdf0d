"""The JSON API: `/api/*` and the document that describes it."""
