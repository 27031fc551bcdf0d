// The OpenAI Agents SDK for Node: agents as tools, hand-offs, several turns; chat completions and Responses.
import { all, child, run } from "./label.mjs";
import { DESCRIPTIONS, FOLLOW_UPS, SAME, SYSTEM, TOOLS, question } from "./rivers.mjs";
import { Agent, OpenAIProvider, Runner, setTracingDisabled, tool } from "@openai/agents";
import OpenAI from "openai";
import { z } from "zod";

setTracingDisabled(true);
const own = Object.fromEntries(Object.keys(TOOLS).map((name) => [name, tool({ name, description: DESCRIPTIONS[name], parameters: z.object({ station: z.string() }), execute: async (input) => TOOLS[name](input) })]));

function runnerFor(useResponses, temperature) {
  const modelProvider = new OpenAIProvider({ openAIClient: new OpenAI(), useResponses });
  return new Runner({ modelProvider, model: "gpt-4.1-mini", tracingDisabled: true, modelSettings: { temperature } });
}

function lead(runner, kind) {
  const hydrologist = new Agent({ name: "hydrologist", instructions: "You are the hydrologist. You judge levels.", tools: [own.read_gauge] });
  const archivist = new Agent({ name: "archivist", instructions: "You are the archivist. You judge reports.", tools: [own.list_reports] });
  if (kind === "hand_off") return Agent.create({ name: "lead", instructions: SYSTEM, tools: [own.read_gauge], handoffs: [archivist] });
  if (kind === "alone") return new Agent({ name: "lead", instructions: SYSTEM, tools: Object.values(own) });
  const colleague = (agent) => tool({ name: `ask_${agent.name}`, description: `Ask the ${agent.name}.`, parameters: z.object({ task: z.string() }), execute: ({ task }) => child(agent.name, async () => (await runner.run(agent, task)).finalOutput) });
  return new Agent({ name: "lead", instructions: SYSTEM, tools: [own.read_gauge, colleague(hydrologist), colleague(archivist)] });
}

async function one(scenario, i, asked, kind, { useResponses = false, temperature, stream = false } = {}) {
  const runner = runnerFor(useResponses, temperature);
  await run(scenario, `r${i}`, {}, async () => {
    const result = await runner.run(lead(runner, kind), asked, { stream });
    if (stream) { for await (const _ of result); await result.completed; }
  });
}

async function turns(scenario, i, useResponses) {
  const runner = runnerFor(useResponses), agent = lead(runner, "alone");
  let history = [];
  for (const [turn, asked] of [question(i), ...FOLLOW_UPS].entries())
    await run(scenario, `r${i}`, { turn }, async () => { history = (await runner.run(agent, [...history, { role: "user", content: asked }])).history; });
}

for (const [api, useResponses] of [["chat", false], ["responses", true]]) {
  await all(3, (i) => one(`${api}_specialists`, i, question(i), "specialists", { useResponses }));
  await all(2, (i) => one(`${api}_specialists_identical`, i, SAME, "specialists", { useResponses, temperature: 0, stream: true }));
  await all(3, (i) => one(`${api}_hand_off`, i, question(i + 3), "hand_off", { useResponses }));
  await all(3, (i) => turns(`${api}_turns`, i, useResponses));
}
process.exit(0);
