// OpenAI Node: the runner that streams and calls the tools itself.
import OpenAI from "openai";
import { MODEL, QUESTION, SYSTEM, TOOLS } from "./trip.mjs";

const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = Object.entries(TOOLS).map(([name, run]) => ({
  type: "function",
  function: { name, description: name, parameters, parse: JSON.parse, function: run },
}));
const runner = new OpenAI().chat.completions.runTools({
  model: MODEL,
  stream: true,
  tools,
  messages: [
    { role: "system", content: SYSTEM },
    { role: "user", content: QUESTION },
  ],
});
console.log(await runner.finalContent());
