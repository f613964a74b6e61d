// One answer on the page: what is written as it comes, then whether its calls can be made and what
// they took.

import { chunksOf } from "./stream.js";
import { milliseconds, plural } from "./words.js";

export function make(tag, kind = "", ...inside) {
  const made = document.createElement(tag);
  if (kind) made.className = kind;
  made.append(...inside);
  return made;
}

export function clear(arm) {
  arm.querySelector(".written").replaceChildren();
  arm.querySelector("dl").replaceChildren();
}

/** Asks and shows what comes in `arm`; gives it in a few words. Throws as chunksOf does. */
export async function write(arm, body, key, signal) {
  const shown = arm.querySelector(".written");
  const state = { calls: [], text: null, usage: null, reason: null, first: null };
  shown.classList.add("writing");
  const begun = performance.now();
  try {
    for await (const chunk of chunksOf(body, key, signal)) {
      if (take(chunk, state, shown)) state.first ??= performance.now() - begun;
    }
  } finally {
    shown.classList.remove("writing");
  }
  state.whole = performance.now() - begun;
  const words = verdict(state, body.tools ?? []);
  showFigures(arm.querySelector("dl"), state, words);
  const passes = state.usage?.edgetool?.passes;
  const cost = passes === undefined ? "" : `, ${plural(passes, "forward pass", "forward passes")}`;
  return `${words.text}, ${milliseconds(state.whole)}${cost}`;
}

/** Puts a chunk on the page; whether it held anything written. */
function take(chunk, state, shown) {
  state.usage = chunk.usage ?? state.usage;
  const choice = chunk.choices?.[0];
  if (!choice) return false;
  state.reason = choice.finish_reason ?? state.reason;
  const forced = howForced(chunk.edgetool);
  if (choice.delta?.content) {
    state.text ??= shown.appendChild(make("div"));
    append(state.text, choice.delta.content, forced);
  }
  for (const part of choice.delta?.tool_calls ?? []) takeCall(part, state, shown, forced);
  return Boolean(choice.delta?.content || choice.delta?.tool_calls?.length);
}

function takeCall(part, state, shown, forced) {
  let call = state.calls[part.index];
  if (!call) {
    call = { name: "", text: "", head: make("b"), body: make("span") };
    state.calls[part.index] = call;
    shown.append(make("div", "call", call.head, " ", call.body));
  }
  call.name += part.function?.name ?? "";
  call.text += part.function?.arguments ?? "";
  if (part.function?.name) append(call.head, part.function.name, forced);
  if (part.function?.arguments) append(call.body, part.function.arguments, forced);
}

function append(place, text, forced) {
  place.append(forced ? make("span", forced, text) : text);
}

/** How to shade what a chunk holds: "" where the model chose all of it. */
function howForced(trace) {
  if (!trace?.forced) return "";
  return trace.forced === trace.tokens ? "forced" : "partly";
}

/** What can be said of an answer: {text, right}. */
function verdict(state, tools) {
  const calls = state.calls.filter(Boolean);
  if (state.reason === "length") return { text: "cut: more tokens are needed", right: false };
  if (!calls.length) return { text: "no call", right: null };
  const faults = calls.map((call) => faultOf(call, tools)).filter(Boolean);
  if (faults.length) return { text: faults.join("; "), right: false };
  const many = calls.length > 1 ? plural(calls.length, "call") : "a call";
  return { text: `${many} that can be made`, right: true };
}

/** Why a call could not be made, "" where nothing speaks against it. */
function faultOf(call, tools) {
  const tool = tools.find((one) => one.function.name === call.name)?.function;
  if (!tool) return `no tool is called '${call.name}'`;
  let given;
  try {
    given = JSON.parse(call.text);
  } catch {
    return "the arguments are not JSON";
  }
  if (!isObject(given)) return "the arguments are not an object";
  const schema = tool.parameters ?? {};
  const missing = (schema.required ?? []).filter((name) => !Object.hasOwn(given, name));
  const known = schema.properties ?? {};
  const unknown = Object.keys(given).filter((name) => !Object.hasOwn(known, name));
  if (missing.length) return `missing: ${missing.join(", ")}`;
  if (unknown.length && !schema.additionalProperties) return `unknown: ${unknown.join(", ")}`;
  return "";
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function showFigures(list, state, words) {
  const usage = state.usage ?? {};
  const ours = usage.edgetool ?? {};
  const written = usage.completion_tokens;
  const cached = ours.cached_prompt_tokens ?? usage.prompt_tokens_details?.cached_tokens;
  row(list, "Result", words.text, words.right === null ? "" : words.right ? "right" : "wrong");
  if (state.first !== null) row(list, "First shown", milliseconds(state.first));
  row(list, "Whole", milliseconds(state.whole));
  if (written) {
    row(list, "Tokens", `${written}, ${((1000 * written) / state.whole).toFixed(0)} a second`);
  }
  if (ours.forced_tokens !== undefined && written) {
    const share = Math.round((100 * ours.forced_tokens) / written);
    const all = plural(written, "token");
    row(list, "Forced by the grammar", `${ours.forced_tokens} of ${all} (${share} %)`);
  }
  if (ours.drafted_tokens) {
    row(list, "Copied from the prompt", plural(ours.drafted_tokens, "token"));
  }
  if (ours.passes !== undefined) row(list, "Forward passes", String(ours.passes));
  if (usage.prompt_tokens) {
    const kept = cached === undefined ? "" : `, ${cached} of them read before`;
    row(list, "Prompt", plural(usage.prompt_tokens, "token") + kept);
  }
}

function row(list, name, value, kind = "") {
  list.append(make("dt", "", name), make("dd", kind, value));
}
