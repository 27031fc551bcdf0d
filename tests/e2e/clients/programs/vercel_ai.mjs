// Vercel AI SDK with its OpenAI provider, whose default is the Responses API.
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, stepCountIs, tool } from "ai";
import { z } from "zod";
import { MODEL, QUESTION, SYSTEM, TOOLS } from "./trip.mjs";

const city = z.object({ city: z.string() });
const tools = Object.fromEntries(
  Object.entries(TOOLS).map(([name, execute]) => [name, tool({ description: name, inputSchema: city, execute })]),
);
const openai = createOpenAI({ baseURL: process.env.OPENAI_BASE_URL });
const { text } = await generateText({
  model: openai(MODEL),
  system: SYSTEM,
  prompt: QUESTION,
  tools,
  stopWhen: stepCountIs(8),
});
console.log(text);
