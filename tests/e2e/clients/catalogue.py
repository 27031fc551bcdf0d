"""The clients that are driven: which program, with which packages, and what its run must look like."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.e2e.clients.environments import node_command, python_command
from tests.fake_openai import TRIP_ANSWER

TRIP_STEPS = (
    ("user_input", None),
    ("decision", None),
    ("tool_call", "get_weather"),
    ("decision", None),
    ("tool_call", "get_weather"),
    ("tool_call", "list_events"),
    ("model_response", None),
)
"""(type, tool) of the weekend trip, in order: a tool, two tools at once, the answer."""

TRIP_TOOLS: tuple[tuple[object, str], ...] = (
    ({"city": "Oslo"}, "Oslo: sunny, 19 degrees"),
    ({"city": "Bergen"}, "Bergen: sunny, 19 degrees"),
    ({"city": "Oslo"}, "Oslo: jazz festival on Sunday"),
)
"""(arguments, output) of its tools, in order."""


@dataclass(frozen=True, slots=True)
class Client:
    """`steps`, `tools` and `named` (agent and title) are those of its one run; `calls` counts its requests."""

    program: str
    requirements: str
    path: str
    prints: str = TRIP_ANSWER
    steps: tuple[tuple[str, str | None], ...] = TRIP_STEPS
    tools: tuple[tuple[object, str], ...] = TRIP_TOOLS
    named: tuple[str | None, str] = ("trip-guide", "Plan a weekend in Oslo for me.")
    calls: int = 3
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.program.partition(".")[0]

    def command(self) -> list[str]:
        make = node_command if self.program.endswith(".mjs") else python_command
        return make(self.requirements, self.program)

    def environment(self, base_url: str) -> dict[str, str]:
        """All that a user changes: the base URL. `base_url` ends in /v1, which the Anthropic SDK adds itself."""
        return {
            "OPENAI_BASE_URL": base_url,
            "OPENAI_API_KEY": "sk-test-openai",
            "ANTHROPIC_BASE_URL": base_url.removesuffix("/v1"),
            "ANTHROPIC_API_KEY": "sk-ant-test",
            "OPENAI_AGENTS_DISABLE_TRACING": "1",  # else it sends traces to OpenAI
            **self.environ,
        }


CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
MESSAGES = "/v1/messages"

# The Agents SDK takes "openai/" for the name of its own provider and leaves it out.
AGENTS_MODEL = {"TRIP_MODEL": "gpt-4.1-mini"}

CLIENTS = (
    Client("openai_chat_sync.py", "openai", CHAT),
    Client("openai_chat_async.py", "openai", CHAT),
    Client("openai_chat_stream.py", "openai", CHAT),
    Client("openai_responses.py", "openai", RESPONSES),
    Client(
        "openai_embeddings.py",
        "openai",
        "/v1/embeddings",
        prints="2 8",
        steps=(("model_response", None),),
        tools=(),
        named=(None, "a harbour"),
        calls=1,
    ),
    Client("openai_node.mjs", "openai_node", CHAT),
    Client("openai_node_stream.mjs", "openai_node", CHAT),
    Client("vercel_ai.mjs", "vercel", RESPONSES),
    Client("vercel_ai_stream.mjs", "vercel", CHAT),
    Client("langgraph_agent.py", "langgraph", CHAT),
    Client("langgraph_agent_stream.py", "langgraph", CHAT),
    Client("agents_sdk.py", "openai_agents", RESPONSES, environ=AGENTS_MODEL),
    Client("agents_sdk_chat.py", "openai_agents", CHAT, environ=AGENTS_MODEL),
    Client("pydantic_ai_agent.py", "pydantic_ai", CHAT),
    Client("anthropic_messages.py", "anthropic", MESSAGES),
    Client("anthropic_stream.py", "anthropic", MESSAGES),
)
