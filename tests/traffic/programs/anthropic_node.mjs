// The Anthropic SDK for Node: its own tool runner, streamed and not, and a loop by hand.
import { all, changed, run } from "./label.mjs";
import { DESCRIPTIONS, FOLLOW_UPS, PARAMETERS, SAME, SYSTEM, TOOLS, question } from "./rivers.mjs";
import Anthropic from "@anthropic-ai/sdk";

const MODEL = "anthropic/claude-haiku-4.5";
const tools = Object.keys(TOOLS).map((name) => ({ name, description: DESCRIPTIONS[name], input_schema: PARAMETERS }));
const runnable = tools.map((tool) => ({ ...tool, type: "custom", run: TOOLS[tool.name], parse: (input) => input }));

async function byRunner(scenario, i, asked, options = {}) {
  const client = new Anthropic();
  await run(scenario, `r${i}`, {}, async () => {
    const runner = client.beta.messages.toolRunner({ model: MODEL, max_tokens: 800, system: SYSTEM, messages: [{ role: "user", content: asked }], tools: runnable, ...options });
    for await (const piece of runner) if (options.stream) for await (const _ of piece);
  });
}

async function byHand(scenario, i, first, turns, options = {}) {
  const client = new Anthropic();
  const messages = [];
  await run(scenario, `r${i}`, {}, async () => {
    for (const [turn, asked] of [first, ...FOLLOW_UPS].slice(0, turns).entries()) {
      messages.push({ role: "user", content: asked });
      await changed({ turn }, async () => {
        for (;;) {
          const said = await client.messages.create({ model: MODEL, max_tokens: 800, system: SYSTEM, messages, tools, ...options });
          messages.push({ role: "assistant", content: said.content });
          const calls = said.content.filter((block) => block.type === "tool_use");
          if (!calls.length) return;
          messages.push({ role: "user", content: calls.map((call) => ({ type: "tool_result", tool_use_id: call.id, content: TOOLS[call.name](call.input) })) });
        }
      });
    }
  });
}

await all(4, (i) => byRunner("runner", i, question(i)));
await all(3, (i) => byRunner("runner_stream", i, question(i + 4), { stream: true }));
await all(3, (i) => byRunner("runner_identical", i, SAME, { temperature: 0 }));
await all(4, (i) => byHand("turns", i, question(i + 8), 3));
process.exit(0);
