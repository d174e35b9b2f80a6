// The server behind the page: what it is, and a question's events as they come.

export const server = { status: "unknown", name: "", notice: "", examples: [], limits: { bytes: Infinity } };

const authorization = key => (key ? { authorization: `Bearer ${key}` } : {});

/** Fills `server`. Never throws: what cannot be had stays as it was. */
export async function meet(key) {
  const health = await json("health");
  server.status = health?.status ?? "unreachable";
  server.problem = health?.problem ?? "";
  const listed = await json("v1/models", authorization(key));
  const model = listed?.data?.[0];
  if (!model) return;
  server.name = model.root ?? "";
  server.notice = model.notice ?? "";
  server.limits = model.limits;
}

export async function meetExamples() {
  server.examples = (await json("examples")) ?? [];
}

const json = (path, headers = {}) => fetch(path, { headers }).then(reply => reply.json()).catch(() => null);

/** Why there is no answer. status: of HTTP, 0 where nothing came back. */
export class Refusal extends Error {
  constructor(message, status = 0) { super(message); this.status = status; }
}

/** The events of POST /v1/chat/completions. Throws Refusal, or AbortError once `signal` is aborted. */
export async function* ask(body, key, signal) {
  const headers = { "content-type": "application/json", ...authorization(key) };
  let reply;
  try {
    reply = await fetch("v1/chat/completions", { method: "POST", headers, signal, body: JSON.stringify({ ...body, stream: true }) });
  } catch (error) {
    throw error.name === "AbortError" ? error : new Refusal("the server cannot be reached");
  }
  if (!reply.ok) {
    const told = await reply.json().catch(() => null);
    throw new Refusal(told?.error?.message ?? `the server answered ${reply.status}`, reply.status);
  }
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ;) {
    const { value, done } = await reader.read().catch(error => {
      throw error.name === "AbortError" ? error : new Refusal("the connection ended before the answer");
    });
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {  // what begins otherwise is a sign of life
      if (!part.startsWith("data: ") || part === "data: [DONE]") continue;
      const event = JSON.parse(part.slice(6));
      if (event.error) throw new Refusal(event.error.message, Number(event.error.code) || 0);
      yield event;
    }
  }
}
