// Vercel AI SDK with its provider for OpenAI-compatible servers, streamed.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { MODEL, QUESTION, SYSTEM, TOOLS } from "./trip.mjs";

const city = z.object({ city: z.string() });
const tools = Object.fromEntries(
  Object.entries(TOOLS).map(([name, execute]) => [name, tool({ description: name, inputSchema: city, execute })]),
);
const provider = createOpenAICompatible({
  name: "openai-compatible",
  baseURL: process.env.OPENAI_BASE_URL,
  apiKey: process.env.OPENAI_API_KEY,
});
const result = streamText({
  model: provider(MODEL),
  system: SYSTEM,
  prompt: QUESTION,
  tools,
  stopWhen: stepCountIs(8),
});
console.log(await result.text);
