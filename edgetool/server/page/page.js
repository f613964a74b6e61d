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

const UNREACHABLE = "The server does not answer. Is it still running?";

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
  body.tools = tools; // also where none is ticked: a server may offer its own to who says nothing
  if (!tools.length) return constrained ? body : { ...body, edgetool: { constrained } };
  if (!constrained) {
    return { ...body, tool_choice: choice === "none" ? "none" : "auto", edgetool: { constrained } };
  }
  const only = { type: "function", function: { name: choice.slice("tool ".length) } };
  return { ...body, tool_choice: named ? only : choice };
}

/** Asks for a key, and says so where one was given. */
function askForKey() {
  const wrong = $("key").value !== "";
  $("locked").hidden = false;
  $("key-problem").textContent = wrong
    ? "This is not the server's API key."
    : "This server asks for an API key.";
  $("key").focus();
}

// ---- sending and stopping

function setRunning(controller) {
  running = controller;
  $("stop").disabled = !controller;
}

async function send(event) {
  event.preventDefault();
  const tools = offeredTools();
  if (running || tools === null || !$("ask").reportValidity()) return;
  setRunning(new AbortController());
  for (const name of ARMS) clear($(name));
  const outcomes = [];
  // One after the other: side by side they would take each other's time.
  for (const name of ARMS) {
    $("said").textContent = `Writing (${name}) …`;
    outcomes.push(await attempt(name, tools, running.signal));
    if (outcomes.at(-1).over) break;
    if (outcomes.at(-1).failed) explain(name, outcomes);
  }
  const last = outcomes.at(-1);
  $("said").textContent = last.over ? last.text : summary(outcomes);
  setRunning(null);
}

/**
 * What came of an arm: {text}, with `failed` where there is no answer; `over` where the other arm
 * would fare no better.
 */
async function attempt(name, tools, signal) {
  try {
    const body = bodyOf(tools, name === "constrained");
    return { text: await write($(name), body, $("key").value, signal) };
  } catch (error) {
    if (error.name === "AbortError") return { text: "Stopped.", over: true };
    if (error.status === 401) {
      askForKey(); // which says why, beside the key
      return { text: "", over: true };
    }
    if (error instanceof TypeError) return { text: UNREACHABLE, over: true };
    return { text: error.message, failed: error.status ? "refused" : "failed" };
  }
}

/** Why an arm has no answer, in its place; a reason that both share is written once. */
function explain(name, [first, second]) {
  const again = second?.text === first.text;
  const text = again ? "The same as beside." : (second ?? first).text;
  $(name).querySelector(".written").append(make("div", again ? "soft" : "wrong", text));
}

function summary([constrained, free]) {
  const brief = (outcome) => outcome.failed ?? outcome.text;
  return `Constrained: ${brief(constrained)}. Free: ${brief(free)}.`;
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
  let models, tools;
  try {
    [models, tools] = await Promise.all(paths.map((path) => fetch(path, asked)));
  } catch {
    $("said").textContent = UNREACHABLE;
    return;
  }
  if (models.status === 401) return askForKey();
  $("key-problem").textContent = "";
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
