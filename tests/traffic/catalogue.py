"""The set-ups that are recorded: which program, with which packages. Each makes one corpus of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.clients import environments

HERE = Path(__file__).parent
CORPORA = HERE.parent / "data" / "traffic"

QUIET = {
    "OPENAI_AGENTS_DISABLE_TRACING": "1",  # else it sends traces to OpenAI
    "AGNO_TELEMETRY": "false",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "MASTRA_TELEMETRY_DISABLED": "1",
    "OTEL_SDK_DISABLED": "true",
}
"""What a client does besides its work is switched off; the programs refuse anything but loopback anyway."""


@dataclass(frozen=True, slots=True)
class Setup:
    """`requirements` of this folder, or where `is_shared_with_e2e` of the clients in tests/e2e."""

    name: str
    program: str
    requirements: str
    is_shared_with_e2e: bool = False
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def corpus(self) -> Path:
        return CORPORA / f"{self.name}.jsonl.gz"

    def command(self) -> list[str]:
        """The environment is built on first use."""
        make = environments.node_command if self.program.endswith(".mjs") else environments.python_command
        pins = environments.REQUIREMENTS if self.is_shared_with_e2e else HERE / "requirements"
        return make(self.requirements, self.program, programs=HERE / "programs", pins_dir=pins)

    def environment(self, base_url: str) -> dict[str, str]:
        """All that a user changes: the base URL. `base_url` ends in /v1, which the Anthropic SDK adds itself."""
        return {
            "OPENAI_BASE_URL": base_url,
            "OPENAI_API_KEY": "sk-test-openai",
            "ANTHROPIC_BASE_URL": base_url.removesuffix("/v1"),
            "ANTHROPIC_API_KEY": "sk-ant-test",
            "TRAFFIC_SETUP": self.name,
            **QUIET,
            **self.environ,
        }


SETUPS = (
    Setup("anthropic_agent", "anthropic_agent.py", "anthropic", is_shared_with_e2e=True),
    Setup("anthropic_subagents", "anthropic_subagents.py", "anthropic", is_shared_with_e2e=True),
    Setup("anthropic_node", "anthropic_node.mjs", "anthropic_node"),
    Setup("openai_long", "openai_long.py", "openai", is_shared_with_e2e=True),
    Setup("openai_pool", "openai_pool.py", "openai", is_shared_with_e2e=True),
    Setup("openai_rough", "openai_rough.py", "openai", is_shared_with_e2e=True),
    Setup("openai_v1", "openai_v1.py", "openai_v1"),
    Setup("responses", "responses_chain.py", "openai", is_shared_with_e2e=True),
    Setup("responses_node", "responses_chain.mjs", "agents_js"),
    Setup("openai_agents_team", "openai_agents_team.py", "openai_agents", is_shared_with_e2e=True),
    Setup("openai_agents_js", "openai_agents_js.mjs", "agents_js"),
    Setup("home_made", "home_made.py", "openai", is_shared_with_e2e=True),
    Setup("strands", "strands_team.py", "strands"),
    Setup("agno", "agno_team.py", "agno"),
    Setup("haystack", "haystack_agent.py", "haystack"),
    Setup("mastra", "mastra_agent.mjs", "mastra"),
)
