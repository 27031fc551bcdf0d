"""Agno: agents with sessions, and a team whose lead delegates to its members by agno's own tool."""

import asyncio
import itertools
import os

import label
from agno.agent import Agent
from agno.db.in_memory import InMemoryDb
from agno.models.openai.like import OpenAILike
from agno.team import Team
from rivers import FOLLOW_UPS, MODEL, SAME, SYSTEM, list_reports, question, read_gauge


def model(is_deterministic=False):
    return OpenAILike(
        id=MODEL,
        temperature=0 if is_deterministic else None,
        base_url=os.environ["OPENAI_BASE_URL"],
        api_key=os.environ["OPENAI_API_KEY"],
    )


async def turns(scenario, index, first, count=3, is_deterministic=False, **more):
    agent = Agent(
        model=model(is_deterministic),
        instructions=SYSTEM,
        tools=[read_gauge, list_reports],
        db=InMemoryDb(),
        session_id=f"{scenario}-{index}",
        add_history_to_context=True,
        **more,
    )
    for number, asked in enumerate((first, *FOLLOW_UPS)[:count]):
        with label.run(scenario, f"r{index}", turn=number):
            await agent.arun(asked)


class Member(Agent):
    """Each errand of a member is a child of the run that sent it."""

    errands = itertools.count()

    def arun(self, *args, **kwargs):
        return self._labelled(super().arun(*args, **kwargs))

    async def _labelled(self, work):
        with label.child(f"{self.name}{next(self.errands)}"):
            return await work


async def team(scenario, index, asked, is_deterministic=False):
    def member(name, role, tool):
        return Member(name=name, role=role, model=model(is_deterministic), tools=[tool])

    lead = Team(
        name="river watch",
        model=model(is_deterministic),
        instructions=SYSTEM,
        members=[
            member("hydrologist", "judges levels", read_gauge),
            member("archivist", "judges reports", list_reports),
        ],
    )
    with label.run(scenario, f"r{index}"):
        await lead.arun(asked)


async def main():
    await asyncio.gather(*(turns("turns", i, question(i)) for i in range(3)))
    await asyncio.gather(*(turns("clock", i, question(i), add_datetime_to_context=True) for i in range(3)))
    await asyncio.gather(*(turns("identical", i, SAME, 1, is_deterministic=True) for i in range(4)))
    await asyncio.gather(*(turns("last_turns_only", i, question(i), 4, num_history_runs=1) for i in range(3)))
    await asyncio.gather(*(team("team", i, question(i)) for i in range(3)))
    await asyncio.gather(*(team("team_identical", i, SAME, is_deterministic=True) for i in range(3)))


asyncio.run(main())
