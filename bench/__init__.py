"""What the product costs, measured: `python -m bench` (see bench/README.md). Not part of the package."""
