// A request to this server as something to paste elsewhere. A key is named, never written out.

import { API } from "./stream.js";

export function asCurl(body, locked) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const key = locked ? ` \\\n  -H "Authorization: Bearer $EDGETOOL_API_KEY"` : "";
  const kind = `-H 'Content-Type: application/json'`;
  const data = quoted(JSON.stringify(body, null, 2));
  return `curl ${location.origin}${API} \\\n  ${kind}${key} \\\n  -d ${data}\n`;
}

export function asPython(body, locked) {
  const key = locked ? 'os.environ["EDGETOOL_API_KEY"]' : '"unused"';
  const given = Object.entries(body).map(([k, value]) => `    ${k}=${python(value, "    ")},\n`);
  return (
    (locked ? "import os\n\n" : "") +
    "import openai\n\n" +
    `client = openai.OpenAI(base_url="${location.origin}/v1", api_key=${key})\n` +
    `done = client.chat.completions.create(\n${given.join("")})\n` +
    "print(done.choices[0].message)\n"
  );
}

/** A JSON value as Python writes it. JSON's texts are Python's too. */
function python(value, indent) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = `${indent}    `;
  const list = Array.isArray(value);
  const lines = list
    ? value.map((one) => inner + python(one, inner))
    : Object.entries(value).map(([k, v]) => `${inner}${JSON.stringify(k)}: ${python(v, inner)}`);
  const [open, close] = list ? "[]" : "{}";
  return lines.length ? `${open}\n${lines.join(",\n")},\n${indent}${close}` : open + close;
}
