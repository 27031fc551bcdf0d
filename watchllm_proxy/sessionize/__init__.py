"""Call -> Run: which calls belong together, why, and what the debugger shows of them.

observe:  rules (clues) -> placing (which run) -> run_state (its steps) -> anchoring (what later calls find)
"""

from watchllm_proxy.sessionize.runs import Shelf
from watchllm_proxy.sessionize.sessionizer import Sessionizer

__all__ = ["Sessionizer", "Shelf"]
