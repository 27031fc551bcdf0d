// Mastra: agents with tools over an OpenAI-compatible model, streamed and not, and agents as tools of another.
import { all, child, run } from "./label.mjs";
import { DESCRIPTIONS, FOLLOW_UPS, SAME, SYSTEM, TOOLS, question } from "./rivers.mjs";
import { Agent } from "@mastra/core/agent";
import { createTool } from "@mastra/core/tools";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { z } from "zod";

const provider = createOpenAICompatible({ name: "watched", baseURL: process.env.OPENAI_BASE_URL, apiKey: process.env.OPENAI_API_KEY });
const model = provider.chatModel("openai/gpt-4.1-mini");
const own = Object.fromEntries(Object.keys(TOOLS).map((name) => [name, createTool({ id: name, description: DESCRIPTIONS[name], inputSchema: z.object({ station: z.string() }), execute: async (input) => TOOLS[name](input.context ?? input) })]));
const agent = (name, instructions, tools) => new Agent({ name, instructions, model, tools });

async function said(who, messages, { stream = false, temperature, maxSteps = 8 } = {}) {
  const options = { maxSteps, modelSettings: { temperature } };
  return stream ? (await who.stream(messages, options)).text : (await who.generate(messages, options)).text;
}

async function turns(scenario, i, first, count, options) {
  const who = agent("river-watch", SYSTEM, own), messages = [];
  for (const [turn, asked] of [first, ...FOLLOW_UPS].slice(0, count).entries())
    await run(scenario, `r${i}`, { turn }, async () => {
      messages.push({ role: "user", content: asked });
      messages.push({ role: "assistant", content: await said(who, messages, options) });
    });
}

async function team(scenario, i, asked, options) {
  const colleague = (name) => createTool({ id: `ask_${name}`, description: `Ask the ${name}.`, inputSchema: z.object({ task: z.string() }), execute: async (input) => child(name, () => said(agent(name, `You are the ${name}.`, own), [{ role: "user", content: (input.context ?? input).task }], options)) });
  const lead = agent("lead", SYSTEM, { read_gauge: own.read_gauge, ask_hydrologist: colleague("hydrologist"), ask_archivist: colleague("archivist") });
  await run(scenario, `r${i}`, {}, () => said(lead, [{ role: "user", content: asked }], options));
}

await all(3, (i) => turns("turns", i, question(i), 3));
await all(3, (i) => turns("streamed", i, question(i + 4), 2, { stream: true }));
await all(3, (i) => turns("step_limit", i, question(i + 8), 2, { maxSteps: 2 }));
await all(3, (i) => turns("identical", i, SAME, 2, { temperature: 0 }));
await all(3, (i) => team("team", i, question(i)));
await all(3, (i) => team("team_identical", i, SAME, { temperature: 0 }));
process.exit(0);
