"""The dashboard: pages made on the server. What a page shows is decided here; templates only lay it out."""
