// What the Node programs beside this file talk about.
export const MODEL = "openai/gpt-4.1-mini";
export const SYSTEM = "You are trip-guide. You plan weekend trips. Use the tools.";
export const QUESTION = "Plan a weekend in Oslo for me.";
export const TOOLS = {
  get_weather: ({ city }) => `${city}: sunny, 19 degrees`,
  list_events: ({ city }) => `${city}: jazz festival on Sunday`,
};
