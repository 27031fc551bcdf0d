// OpenAI Node: the usual loop over chat completions with tools.
import OpenAI from "openai";
import { MODEL, QUESTION, SYSTEM, TOOLS } from "./trip.mjs";

const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = Object.keys(TOOLS).map((name) => ({ type: "function", function: { name, description: name, parameters } }));
const client = new OpenAI();
const messages = [
  { role: "system", content: SYSTEM },
  { role: "user", content: QUESTION },
];
let message;
for (;;) {
  message = (await client.chat.completions.create({ model: MODEL, messages, tools })).choices[0].message;
  messages.push(message);
  if (!message.tool_calls?.length) break;
  for (const call of message.tool_calls) {
    const content = TOOLS[call.function.name](JSON.parse(call.function.arguments));
    messages.push({ role: "tool", tool_call_id: call.id, content });
  }
}
console.log(message.content);
