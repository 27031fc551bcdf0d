"""What the model of the recordings says: decided from the conversation alone, so it needs no state.

The programs talk about gauging stations on rivers, with a few tools; the model uses them as a model would: one,
then two at once, then it answers. Tools named `ask_…`, `Task` or `delegate…` are colleagues, `transfer_to_…`
hands the conversation over. "Survey 44 stations" makes a long run. What it says differs from run to run as with
any temperature above 0; with `temperature: 0` the same conversation gets the same words.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from dataclasses import dataclass

from tests.traffic.reading import Seen, Tool
from watchllm_proxy.demo.json_access import JsonObject, as_list, as_object, as_text
from watchllm_proxy.demo.script import Turn, Use

STATIONS = (
    "Alder Ford", "Birch Weir", "Cotter Lock", "Dunmore Bridge", "Elver Sluice", "Fenwick Mill", "Gorse Landing",
    "Hazel Reach", "Iron Gate", "Juniper Bend", "Kelp Narrows", "Larch Basin", "Moss Ferry", "Nettle Quay",
    "Otter Pool", "Plover Dam",
)  # fmt: skip
OPENERS = ("Noted", "Good", "Understood", "All right", "Very well", "Clear", "Fine", "Certainly")
DETAILS = (
    "the level rose overnight",
    "the sluice is half open",
    "the current is moderate",
    "the bank shows fresh erosion",
    "the staff plate needs cleaning",
    "the battery was changed last week",
    "the telemetry had a gap at dawn",
    "the footbridge is closed for repair",
)
COLLEAGUE = re.compile(r"^(ask_|consult_|delegate|task$|agent-)", re.IGNORECASE)
TRANSFER = re.compile(r"(transfer_to|handoff|hand_off)", re.IGNORECASE)
NUMBERED_STATION = re.compile(r"\bS-(\d\d)\b")
SURVEY = re.compile(r"[Ss]urvey (\d+) stations")
TEXT_PROTOCOL = "Action Input:"
CONDENSE = re.compile(r"condense|summari[sz]e", re.IGNORECASE)


def answer(seen: Seen) -> Turn:
    """The next words of the model, or its tool calls, or both."""
    voice = Voice(seen)
    if CONDENSE.search(seen.system) or (not seen.tools and CONDENSE.search(seen.task[:200])):
        return Turn(voice.summary())
    if TEXT_PROTOCOL in seen.system + seen.task:
        return Turn(voice.in_text_protocol())
    if not seen.tools:
        return Turn(voice.final())
    survey = SURVEY.search(seen.system + seen.everything)
    if survey:
        return voice.survey(int(survey[1]))
    return voice.transfer() or voice.delegation() or voice.look() or Turn(voice.final())


@dataclass(frozen=True, slots=True)
class _Kinds:
    own: tuple[Tool, ...]
    colleagues: tuple[Tool, ...]
    transfers: tuple[Tool, ...]


class Voice:
    """One answer to one conversation."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        key = hashlib.sha256(f"{seen.system}|{seen.task}|{seen.rounds}".encode()).hexdigest()
        self._dice = random.Random(key if seen.is_deterministic else None)
        self._plan = int(hashlib.sha256(seen.task.encode()).hexdigest()[:8], 16)
        self._kinds = _sort(seen.tools)

    # --- acts, each None when it is not the moment for it -------------------------------------------

    def transfer(self) -> Turn | None:
        unused = [tool for tool in self._kinds.transfers if tool.name not in self._seen.used]
        if not unused or self._seen.rounds < (1 if self._kinds.own else 0):
            return None
        return Turn(uses=(self._use(unused[0]),))

    def delegation(self) -> Turn | None:
        """Every colleague once per task; where there is one for all, three errands at once."""
        unused = [tool for tool in self._kinds.colleagues if tool.name not in self._seen.used_since_task]
        if not unused or self._seen.rounds < (1 if self._kinds.own else 0):
            return None
        errands = unused if len(self._kinds.colleagues) > 1 else unused * 3
        return Turn(self._aside(), tuple(self._use(tool, i) for i, tool in enumerate(errands)))

    def look(self) -> Turn | None:
        """Two to four rounds for a first question, one or two for a later one."""
        own, done = self._kinds.own, self._seen.rounds
        wanted = 2 + self._plan % 3 if self._seen.is_first_task else 1 + self._plan % 2
        if self._kinds.colleagues:
            wanted = 1
        if not own or done >= wanted:
            return None
        first = own[(self._plan + done) % len(own)]
        second = own[(self._plan + done + 1) % len(own)]
        at_once = [first, second] if done == 1 and self._seen.may_call_in_parallel else [first]
        return Turn(self._aside(), tuple(self._use(tool, done + i) for i, tool in enumerate(at_once)))

    def survey(self, stations: int) -> Turn:
        """One station after another: the next after the last that is mentioned anywhere, in summaries too."""
        done = max((int(number) for number in NUMBERED_STATION.findall(self._seen.everything)), default=0)
        if done >= stations:
            return Turn(f"{self._opener()}. All {stations} stations are surveyed; {self._detail()}.")
        use = Use(self._kinds.own[done % len(self._kinds.own)].name, {"station": f"S-{done + 1:02d}"})
        return Turn(self._aside(), (use,))

    # --- words --------------------------------------------------------------------------------------

    def final(self) -> str:
        level = 1 + self._dice.randrange(400) / 100
        station = self._stations()[0]
        return (
            f"{self._opener()}: {station} stands at {level:.2f} m, {self._detail()} and {self._detail()}. "
            f"No warning for {station} today."
        )

    def summary(self) -> str:
        done = max((int(number) for number in NUMBERED_STATION.findall(self._seen.everything)), default=None)
        so_far = f"surveyed up to S-{done:02d}" if done else f"looked at {self._stations()[0]}"
        return f"So far: {so_far}; {self._detail()}, {self._detail()}. Remark {self._dice.randrange(10**6)}."

    def in_text_protocol(self) -> str:
        seen = self._seen
        done = seen.everything.count("Observation:") - seen.template_observations
        if done < 2 + self._plan % 2:
            tool = ("read_gauge", "list_reports")[done % 2]
            station = self._stations()[done % len(self._stations())]
            return (
                f"Thought: {self._opener().lower()}, {self._detail()}; I look at {station}.\n"
                f"Action: {tool}\nAction Input: {json.dumps({'station': station})}"
            )
        return f"Thought: I know enough.\nFinal Answer: {self.final()}"

    def _aside(self) -> str:
        """Some answers say a word beside their tool calls."""
        return f"{self._opener()}, {self._detail()}: I look into it." if self._dice.random() < 0.5 else ""

    def _opener(self) -> str:
        return self._dice.choice(OPENERS)

    def _detail(self) -> str:
        return self._dice.choice(DETAILS)

    def _stations(self) -> list[str]:
        named = [station for station in STATIONS if station in self._seen.task]
        earlier = [station for station in STATIONS if station in self._seen.everything]
        return named or earlier or [STATIONS[self._plan % len(STATIONS)]]

    # --- arguments ----------------------------------------------------------------------------------

    def _use(self, tool: Tool, index: int = 0) -> Use:
        properties = as_object(tool.parameters.get("properties"))
        required = [as_text(name) for name in as_list(tool.parameters.get("required"))] or list(properties)
        return Use(tool.name, {name: self._argument(name, properties, tool, index) for name in required})

    def _argument(self, name: str, properties: JsonObject, tool: Tool, index: int) -> object:
        schema, stations = as_object(properties.get(name)), self._stations()
        station = stations[index % len(stations)]
        choices = as_list(schema.get("enum"))
        if choices:
            return choices[index % len(choices)]
        match name, schema.get("type"):
            case ("station", _):
                return station
            case (_, "number" | "integer"):
                return 3 + index
            case (_, "boolean"):
                return True
            case ("unit" | "to_unit", _):
                return ("ft", "cm", "yd")[index % 3]
            case ("subagent_type", _):
                return "surveyor"
            case ("description", _):
                return f"Look at {station}"
            case ("member_id" | "agent_name", _):
                return self._member(index)
            case _:
                return self._errand(tool, station, index)

    def _errand(self, tool: Tool, station: str, index: int) -> str:
        what = ("the level", "the reports of the last week", "the state of the banks")[index % 3]
        colleague = tool.name.removeprefix("ask_").replace("_", " ")
        errand = f"Find out {what} at {station} for the {colleague} file."
        if self._seen.is_deterministic:
            return errand
        return f"{errand} Mind that {self._detail()}, and note {self._dice.randrange(1000)}."

    def _member(self, index: int) -> str:
        """A team tells its members' ids in the system prompt (agno)."""
        members = re.findall(r'<member id="([\w-]+)"', self._seen.system) or ["surveyor"]
        return str(members[index % len(members)])


def _sort(tools: tuple[Tool, ...]) -> _Kinds:
    transfers = tuple(tool for tool in tools if TRANSFER.search(tool.name))
    colleagues = tuple(tool for tool in tools if COLLEAGUE.search(tool.name) and tool not in transfers)
    return _Kinds(tuple(t for t in tools if t not in transfers and t not in colleagues), colleagues, transfers)
