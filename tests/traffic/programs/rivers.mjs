// What the Node programs beside this file talk about: gauging stations on rivers.
const STATIONS = ["Alder Ford", "Birch Weir", "Cotter Lock", "Dunmore Bridge", "Elver Sluice", "Fenwick Mill", "Gorse Landing", "Hazel Reach", "Iron Gate", "Juniper Bend", "Kelp Narrows", "Larch Basin", "Moss Ferry", "Nettle Quay", "Otter Pool", "Plover Dam"];
export const SYSTEM = "You are river-watch. You report on gauging stations. Use the tools and be brief.";
export const MODEL = "openai/gpt-4.1-mini";
export const SAME = "How do Hazel Reach and Moss Ferry stand today?";
export const FOLLOW_UPS = ["And what about Otter Pool?", "Which of them needs a visit this week?"];
export const question = (i) => `How do ${STATIONS[i % 16]} and ${STATIONS[(i * 5 + 3) % 16]} stand today?`;
export const TOOLS = {
  read_gauge: ({ station }) => `${station}: ${(1 + station.length / 10).toFixed(2)} m, falling`,
  list_reports: ({ station }) => `${station}: two reports, the last on Tuesday, about driftwood at the pier`,
};
export const DESCRIPTIONS = { read_gauge: "Read the gauge of a station.", list_reports: "List the reports about a station." };
export const PARAMETERS = { type: "object", properties: { station: { type: "string" } }, required: ["station"], additionalProperties: false };
