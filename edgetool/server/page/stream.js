// An answer of this server as it comes.

export const API = "/v1/chat/completions";

export function headersOf(key) {
  const json = { "content-type": "application/json" };
  return key ? { ...json, authorization: `Bearer ${key}` } : json;
}

/** The chunks of a streamed answer. Throws an Error with the server's message. */
export async function* chunksOf(body, key, signal) {
  const asked = { ...body, stream: true, stream_options: { include_usage: true } };
  const answer = await fetch(API, {
    method: "POST",
    headers: headersOf(key),
    body: JSON.stringify(asked),
    signal,
  });
  if (!answer.ok) throw Object.assign(new Error(await refusal(answer)), { status: answer.status });
  const reader = answer.body.getReader();
  const decoder = new TextDecoder();
  for (let rest = ""; ; ) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
      const chunk = JSON.parse(line.slice("data: ".length));
      if (chunk.error) throw new Error(chunk.error.message);
      yield chunk;
    }
  }
}

export async function refusal(answer) {
  try {
    return (await answer.json()).error.message;
  } catch {
    return `The server answered ${answer.status}.`;
  }
}
