// The Responses API in Node: chains by previous_response_id, streamed and not, and conversations.
import { all, run } from "./label.mjs";
import { DESCRIPTIONS, FOLLOW_UPS, MODEL, PARAMETERS, SAME, SYSTEM, TOOLS, question } from "./rivers.mjs";
import OpenAI from "openai";

const tools = Object.keys(TOOLS).map((name) => ({ type: "function", name, description: DESCRIPTIONS[name], parameters: PARAMETERS, strict: true }));
const outputs = (response) => response.output.filter((item) => item.type === "function_call")
  .map((item) => ({ type: "function_call_output", call_id: item.call_id, output: TOOLS[item.name](JSON.parse(item.arguments)) }));

async function create(client, asked, stream) {
  const whole = { model: MODEL, instructions: SYSTEM, tools, ...asked };
  return stream ? client.responses.stream(whole).finalResponse() : client.responses.create(whole);
}

async function chain(scenario, i, first, turns, { stream = false, ...options } = {}) {
  const client = new OpenAI();
  let previous;
  for (const [turn, asked] of [first, ...FOLLOW_UPS].slice(0, turns).entries())
    await run(scenario, `r${i}`, { turn }, async () => {
      for (let input = [{ role: "user", content: asked }]; input.length; ) {
        const response = await create(client, { input, previous_response_id: previous, ...options }, stream);
        previous = response.id;
        input = outputs(response);
      }
    });
}

async function conversation(scenario, i, first, turns) {
  const client = new OpenAI();
  const { id } = await run(scenario, `r${i}`, {}, () => client.conversations.create({}));
  for (const [turn, asked] of [first, ...FOLLOW_UPS].slice(0, turns).entries())
    await run(scenario, `r${i}`, { turn }, async () => {
      for (let input = [{ role: "user", content: asked }]; input.length; )
        input = outputs(await create(client, { input, conversation: id }));
    });
}

await all(3, (i) => chain("chain", i, question(i), 3));
await all(3, (i) => chain("chain_stream", i, question(i + 3), 2, { stream: true }));
await all(3, (i) => chain("chain_identical", i, SAME, 2, { temperature: 0 }));
await all(3, (i) => conversation("conversation", i, question(i + 6), 3));
process.exit(0);
