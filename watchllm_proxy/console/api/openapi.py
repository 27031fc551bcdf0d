"""placeholder until written"""
DOCUMENT: dict[str, object] = {}
