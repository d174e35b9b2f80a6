// Run where node_modules is: each client asks in each of its own ways, one JSON line for each.
// node node_clients.mjs ADDRESS PICTURE
import OpenAI from "openai";
import { generateObject, generateText, streamText, tool } from "ai";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { z } from "zod";

const [address, picture] = process.argv.slice(2);
const base = `${address}/v1`;
const own = new OpenAI({ baseURL: base, apiKey: "none", maxRetries: 0 });
const image = { type: "image_url", image_url: { url: picture } };
const messages = (...more) => [{ role: "user", content: [image, ...more, { type: "text", text: "How many? #7" }] }];
const input = [{ role: "user", content: [{ type: "input_image", image_url: picture }, { type: "input_text", text: "How many? #7" }] }];
const model = createOpenAICompatible({ name: "ergo", baseURL: base, apiKey: "none", supportsStructuredOutputs: true })("ergo");
const responses = createOpenAI({ baseURL: base, apiKey: "none" }).responses("ergo");
const asked = [{ role: "user", content: [{ type: "image", image: picture }, { type: "text", text: "How many? #7" }] }];
const now = tool({ description: "the time", inputSchema: z.object({}), execute: async () => "noon" });
const functions = [{ type: "function", function: { name: "now", parameters: { type: "object", properties: {} } } }];
const quiet = { maxRetries: 0 };

async function streamed(chosen) {
  let failed;
  const made = streamText({ model: chosen, messages: asked, ...quiet, onError: ({ error }) => { failed = error; } });
  const text = await made.text.catch(() => "");
  if (failed) throw failed;
  return text;
}

const cases = [
  ["openai Node", "chat", async () => (await own.chat.completions.create({ model: "ergo", messages: messages() })).choices[0].message.content],
  ["openai Node", "chat, streamed", async () => {
    let text = "";
    for await (const chunk of await own.chat.completions.create({ model: "ergo", messages: messages(), stream: true })) text += chunk.choices[0]?.delta.content ?? "";
    return text;
  }],
  ["openai Node", "tools", () => own.chat.completions.create({ model: "ergo", messages: messages(), tools: functions })],
  ["openai Node", "audio", () => own.chat.completions.create({ model: "ergo", messages: messages({ type: "input_audio", input_audio: { data: "aGk=", format: "wav" } }) })],
  ["openai Node", "responses", async () => (await own.responses.create({ model: "ergo", input })).output_text],
  ["openai Node", "responses, streamed", async () => {
    let text = "";
    for await (const one of await own.responses.create({ model: "ergo", input, stream: true })) if (one.type === "response.output_text.delta") text += one.delta;
    return text;
  }],
  ["openai Node", "another model", () => own.chat.completions.create({ model: "gpt-9", messages: messages() })],
  ["AI SDK", "generateText", async () => (await generateText({ model, messages: asked, ...quiet })).text],
  ["AI SDK", "streamText", () => streamed(model)],
  ["AI SDK", "its reasoning", async () => (await generateText({ model, messages: asked, ...quiet })).reasoningText === "over there\nclosely" ? "7" : "another"],
  ["AI SDK", "generateObject", async () => (await generateObject({ model, messages: asked, schema: z.object({ answer: z.string() }), ...quiet })).object.answer],
  ["AI SDK", "generateObject, a form of its own", () => generateObject({ model, messages: asked, schema: z.object({ colour: z.string() }), ...quiet })],
  ["AI SDK", "tools", () => generateText({ model, messages: asked, tools: { now }, ...quiet })],
  ["AI SDK", "a file", () => generateText({ model, messages: [{ role: "user", content: [{ type: "file", data: "aGk=", mediaType: "application/pdf" }, ...asked[0].content] }], ...quiet })],
  ["AI SDK", "Responses API, generateText", async () => (await generateText({ model: responses, messages: asked, ...quiet })).text],
  ["AI SDK", "Responses API, streamText", () => streamed(responses)],
  ["AI SDK", "Responses API, tools", () => generateText({ model: responses, messages: asked, tools: { now }, ...quiet })],
];

for (const [client, way, work] of cases) {
  try {
    console.log(JSON.stringify({ client, way, said: String(await work()) }));
  } catch (error) {
    const words = [error.responseBody, error.message, error.cause?.message].filter(Boolean).join(" ");
    console.log(JSON.stringify({ client, way, error: words.replace(/\s+/g, " ") }));
  }
}
