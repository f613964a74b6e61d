// Asks this server the same thing twice, constrained and free, and shows both being written.
// What comes from a model, a tool or a user is put in as text, never as HTML.

import { asCurl, asPython } from "./snippets.js";
import { headersOf, refusal } from "./stream.js";
import { clear, make, write } from "./writing.js";

const $ = (id) => document.getElementById(id);
const ARMS = ["constrained", "free"];
// What a server without tools of its own begins with.
const EXAMPLE = [
  {
    name: "get_weather",
    description: "Weather forecast for a city",
    parameters: {
      type: "object",
      properties: {
        city: { type: "string", description: "City name" },
        days: { type: "integer", description: "Days ahead" },
      },
      required: ["city"],
    },
  },
  {
    name: "set_timer",
    description: "Start a timer",
    parameters: {
      type: "object",
      properties: { minutes: { type: "number", description: "How long" } },
      required: ["minutes"],
    },
  },
];

let model = "";
let running = null; // AbortController of the requests under way
let left = new Set(); // names of the tools that are not on offer

// ---- tools

/** The tools in the text field, in OpenAI's form. Throws an Error that says what is wrong. */
function readTools() {
  const text = $("tools").value.trim();
  if (!text) return [];
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(`The tools are not JSON: ${error.message}`);
  }
  const list = Array.isArray(value) ? value : (value?.tools ?? [value]);
  if (!Array.isArray(list)) throw new Error("The tools must be a list.");
  return list.map((entry, place) => {
    const tool = entry?.function ?? entry;
    if (typeof tool?.name !== "string" || !tool.name) {
      throw new Error(`Tool ${place + 1} has no name.`);
    }
    return { type: "function", function: tool };
  });
}

/** Tools that are ticked; null, with the reason on the page, where they cannot be read. */
function offeredTools() {
  try {
    const tools = readTools().filter((tool) => !left.has(tool.function.name));
    $("problem").textContent = "";
    return tools;
  } catch (error) {
    $("problem").textContent = error.message;
    $("edit").open = true;
    return null;
  }
}

function showTools() {
  let tools;
  try {
    tools = readTools();
    $("problem").textContent = "";
  } catch (error) {
    $("problem").textContent = error.message;
    return;
  }
  const names = tools.map((tool) => tool.function.name);
  left = new Set([...left].filter((name) => names.includes(name)));
  $("offered").replaceChildren(...tools.map(tickBox));
  showChoices(names);
}

function tickBox(tool) {
  const { name, description } = tool.function;
  const box = make("input");
  box.type = "checkbox";
  box.checked = !left.has(name);
  box.addEventListener("change", () => (box.checked ? left.delete(name) : left.add(name)));
  const label = make("label", "", box, ` ${name}`);
  label.title = typeof description === "string" ? description : "";
  return label;
}

function showChoices(names) {
  const before = $("choice").value;
  const options = [["auto", "when the model sees fit"], ["required", "at least one"]];
  const named = names.map((name) => [`tool ${name}`, `only ${name}`]);
  const all = [...options, ...named, ["none", "none"]];
  $("choice").replaceChildren(...all.map(([value, text]) => new Option(text, value)));
  if (all.some(([value]) => value === before)) $("choice").value = before;
}

// ---- requests

/** The body of the request. Free shows what the model does on its own, so it is never forced. */
function bodyOf(tools, constrained) {
  const choice = $("choice").value;
  const named = choice.startsWith("tool ");
  const body = {
    model,
    messages: [{ role: "user", content: $("request").value }],
    max_tokens: Number($("limit").value),
  };
  if (!tools.length) return constrained ? body : { ...body, edgetool: { constrained } };
  body.tools = tools;
  if (!constrained) {
    return { ...body, tool_choice: choice === "none" ? "none" : "auto", edgetool: { constrained } };
  }
  const only = { type: "function", function: { name: choice.slice("tool ".length) } };
  return { ...body, tool_choice: named ? only : choice };
}

function askForKey() {
  $("locked").hidden = false;
  $("key").focus();
}

// ---- sending and stopping

async function send(event) {
  event.preventDefault();
  const tools = offeredTools();
  if (running || tools === null || !$("ask").reportValidity()) return;
  running = new AbortController();
  for (const name of ARMS) clear($(name));
  const done = {};
  // One after the other: side by side they would take each other's time.
  for (const name of ARMS) {
    done[name] = await attempt(name, tools, running.signal);
    if (!done[name]) break;
  }
  if (done.free) $("said").textContent = `Constrained: ${done.constrained}. Free: ${done.free}.`;
  running = null;
}

/** What `write` gives, or null when it failed or was stopped, which the page then says. */
async function attempt(name, tools, signal) {
  try {
    $("said").textContent = `Writing (${name}) …`;
    const body = bodyOf(tools, name === "constrained");
    return await write($(name), body, $("key").value, signal);
  } catch (error) {
    if (error.status === 401) askForKey();
    const stopped = error.name === "AbortError";
    const text = stopped ? "Stopped." : error.message;
    $(name).querySelector(".written").append(make("div", stopped ? "soft" : "wrong", text));
    $("said").textContent = text;
    return null;
  }
}

async function copy(written) {
  const tools = offeredTools();
  if (tools === null) return;
  const field = $("snippet");
  field.value = written(bodyOf(tools, true), $("key").value !== "");
  field.hidden = false;
  field.select();
  try {
    await navigator.clipboard.writeText(field.value);
    $("said").textContent = "Copied.";
  } catch {
    $("said").textContent = "Selected; copy it with Ctrl+C.";
  }
}

// ---- beginning

async function begin() {
  const asked = { headers: headersOf($("key").value) };
  const paths = ["/v1/models", "/page/tools.json"];
  const [models, tools] = await Promise.all(paths.map((path) => fetch(path, asked)));
  if (models.status === 401) return askForKey();
  if (!models.ok || !tools.ok) {
    $("said").textContent = await refusal(models.ok ? tools : models);
    return;
  }
  const [served] = (await models.json()).data;
  model = served.id;
  $("template").textContent = served.edgetool.chat_template.note ?? "";
  document.title = `${model} · edgetool`;
  $("model").textContent = model;
  const own = await tools.json();
  $("tools").value = JSON.stringify(own.length ? own : EXAMPLE, null, 2);
  showTools();
}

function listen() {
  $("ask").addEventListener("submit", send);
  $("stop").addEventListener("click", () => running?.abort());
  $("tools").addEventListener("input", showTools);
  $("key").addEventListener("change", begin);
  $("curl").addEventListener("click", () => copy(asCurl));
  $("python").addEventListener("click", () => copy(asPython));
  $("request").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    $("ask").requestSubmit();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") running?.abort();
  });
}

listen();
showChoices([]);
await begin();
