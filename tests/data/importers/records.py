"""A record of every data set, made up here in the shape that data set publishes."""

from __future__ import annotations

import json

WEATHER = {
    "name": "get_weather",
    "description": "Forecast",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
    },
}
OSLO = {"city": "Oslo", "days": 2}
CALL = {"name": "get_weather", "arguments": OSLO}
WRAPPED = {"type": "function", "function": {**CALL, "arguments": json.dumps(OSLO)}}
SAID = "weather in Oslo for 2 days"
XLAM_TOOL = {
    "name": "get_weather",
    "description": "Forecast",
    "parameters": {
        "city": {"type": "str", "description": "City"},
        "days": {"type": "int, optional", "description": "Days", "default": ""},
    },
}
TOOLRL_SYSTEM = (
    "You can use tools.\n**Available Tools**\nIn your response, you can use the following tools:\n"
    "1. Name: get_weather\nDescription: Forecast\n"
    'Parameters: {"city": {"type": "str"}, "days": {"type": "int", "default": 1}}\n'
    "2. Name: Other Tool\nDescription: Something else\nParameters: {}\n\n"
    "**Steps for Each Turn**\nUse <tool_call>.\n"
)
TOOLRL_WANTED = (
    "<think> I write <tool_call> now. </think>\n<tool_call>\n"
    '{"name": "get_weather", "parameters": {"city": "Oslo", "days": 2}}\n</tool_call>'
)
HISTORY = f"**Dialogue Records History**\n<user> {SAID} </user>"

RECORDS = {
    "openai": {
        "messages": [
            {"role": "user", "content": SAID},
            {"role": "assistant", "content": None, "tool_calls": [WRAPPED]},
        ],
        "tools": [{"type": "function", "function": WEATHER}],
    },
    "sharegpt": {
        "conversations": [
            {"from": "human", "value": SAID},
            {"from": "function_call", "value": json.dumps(CALL)},
            {"from": "observation", "value": '{"rain": true}'},
            {"from": "gpt", "value": "It will rain."},
        ],
        "tools": json.dumps([WEATHER]),
    },
    "xlam": {
        "id": 7,
        "query": SAID,
        "tools": json.dumps([XLAM_TOOL]),
        "answers": json.dumps([CALL]),
    },
    "toolace": {
        "system": "You are an expert in composing functions. Here is a list of functions in JSON "
        f"format that you can invoke:\n{json.dumps([WEATHER])}. \nShould you decide to return ...",
        "conversations": [
            {"from": "user", "value": SAID},
            {"from": "assistant", "value": '[get_weather(city="Oslo", days=2)]'},
        ],
    },
    "glaive": {
        "system": "SYSTEM: You are a helpful assistant with access to the following functions. Use "
        f"them if required -\n{json.dumps(WEATHER, indent=4)}\n",
        "chat": f"USER: {SAID}\n\n\nASSISTANT: <functioncall> "
        '{"name": "get_weather", "arguments": \'{"city": "Oslo", "days": 2}\'} <|endoftext|>\n\n\n'
        'FUNCTION RESPONSE: {"rain": true}\n\n\nASSISTANT: It will rain. <|endoftext|>\n',
    },
    "toolrl": {
        "data_source": "rlla",
        "prompt": [
            {"role": "system", "content": TOOLRL_SYSTEM},
            {"role": "user", "content": HISTORY},
        ],
        "reward_model": {"ground_truth": TOOLRL_WANTED, "style": "rule"},
    },
    "api-bank": {
        "instruction": "Generate an API request. Expected output:\nAPI-Request: [ApiName()]\n\n"
        "API descriptions:\n" + json.dumps({**XLAM_TOOL, "output_parameters": {}}),
        "input": f"User: {SAID}\nGenerate API Request:\n",
        "expected_output": "API-Request: [get_weather(city='Oslo', days=2)]",
    },
    "when2call": {
        "uuid": "u1",
        "question": SAID,
        "tools": [json.dumps(WEATHER)],
        "answers": {"direct": "Sunny.", "tool_call": json.dumps(CALL), "cannot_answer": "I can't."},
        "correct_answer": "tool_call",
    },
    "when2call-train": {
        "tools": [json.dumps(WEATHER)],
        "messages": [{"role": "user", "content": SAID}],
        "chosen_response": {"role": "assistant", "content": f"<TOOLCALL>{json.dumps([CALL])}"},
        "rejected_response": {"role": "assistant", "content": "I cannot."},
    },
    "toucan": {
        "uuid": "u1",
        "subset_name": "single-turn-original",
        "messages": json.dumps(
            [
                {"role": "system", "content": "<|im_system|>tool_declare<|im_middle|>[...]"},
                {"role": "user", "content": SAID},
                {"role": "assistant", "content": "", "function_call": WRAPPED["function"]},
                {"role": "function", "name": "get_weather", "content": "rain"},
                {"role": "assistant", "content": "It will rain."},
            ]
        ),
        "question": SAID,
        "available_tools": json.dumps([{"type": "function", "function": WEATHER}]),
        "target_tools": "get_weather",
        "metadata": "{}",
    },
    "nemotron": {
        "uuid": "u1",
        "category": "tool_calling",
        "messages": [
            {"role": "system", "content": ""},
            {"role": "user", "content": SAID},
            {"role": "assistant", "content": "<think>\nhm\n</think>\n", "tool_calls": [WRAPPED]},
        ],
        "metadata": json.dumps({"tools": [{"type": "function", "function": WEATHER}]}),
    },
    "edgetool": {
        "id": "mine",
        "messages": [{"role": "user", "content": SAID}],
        "tools": [{"type": "function", "function": WEATHER}],
        "calls": [CALL],
    },
}

HERMES_SYSTEM = (
    "You are a function calling AI model. You are provided with function signatures within "
    f"<tools></tools> XML tags.\n<tools>\n{json.dumps([WEATHER])}\n</tools>\nFor each function "
    "call return a json object within <tool_call></tool_call> XML tags as follows:\n<tool_call>\n"
    "{'arguments': <args-dict>, 'name': <function-name>}\n</tool_call>"
)
QUOTED = '{"name": "get_weather", "arguments": \'{"city": "Oslo", "days": 2}\'}'


def shared_gpt(*turns: tuple[str, str], **fields: object) -> dict:
    """ShareGPT's form: (from, value) of each turn behind the first, the user's."""
    listed = [("human", SAID), *turns]
    conversations = [{"from": speaker, "value": text} for speaker, text in listed]
    return {"conversations": conversations, "tools": json.dumps([WEATHER]), **fields}


def messages(*turns: dict, **fields: object) -> dict:
    """OpenAI's form: the messages behind the first, the user's."""
    return {"messages": [{"role": "user", "content": SAID}, *turns], "tools": [WEATHER], **fields}


def toucan_run(*turns: tuple[str, str]) -> dict:
    """The form of Toucan's split for fine-tuning."""
    listed = [{"role": role, "content": text} for role, text in (("user", SAID), *turns)]
    return {
        "uuid": "u1",
        "subset_name": "multi-turn",
        "question": SAID,
        "target_tools": "get_weather",
        "tools": json.dumps([WEATHER]),
        "messages": json.dumps(listed),
    }


PYTHON_CALL = str({"name": "get_weather", "arguments": json.dumps(OSLO)})
THOUGHT = "<think>\nThey want <tool_call> rain.\n</think>\n"
AS_PYTHON = '<TOOLCALL>[get_weather(city="Oslo", days=2)]</TOOLCALL>'

XLAM_TYPES = {
    "city": {"type": "Literal['Oslo', \"L'Aquila\"]", "description": "City"},
    "days": {"type": "Optional[int]", "description": "Days", "default": 1},
    "unit": {"type": "str, optional", "description": "Unit"},
    "span": {"type": "List[Tuple[float, float]], optional", "description": "Span"},
    "extra": {"type": "Dict[str, int]", "description": "More", "default": {}},
}

# Other spellings of the same request: data set, record, what is left out of it.
SPELLINGS = {
    "llama-factory: a thought before the call": (
        "sharegpt",
        shared_gpt(("function_call", f"{THOUGHT}{json.dumps(CALL)}"), ("observation", "rain")),
        ["thoughts"],
    ),
    "llama-factory: words before the call": (
        "sharegpt",
        shared_gpt(("gpt", "Let me see."), ("function_call", json.dumps([CALL]))),
        [],
    ),
    "hermes: a python dict": (
        "sharegpt",
        shared_gpt(("gpt", f"<tool_call>\n{CALL}\n</tool_call>")),
        [],
    ),
    "hermes: its own list of tools": (
        "sharegpt",
        shared_gpt(
            ("gpt", f"{THOUGHT}<tool_call>\n{json.dumps(CALL)}\n</tool_call>"),
            system=HERMES_SYSTEM,
        ),
        ["a system message's own list of tools", "thoughts"],
    ),
    "hermes: no other list of tools": (
        "sharegpt",
        shared_gpt(("gpt", f"<tool_call>{CALL}</tool_call>"), system=HERMES_SYSTEM, tools=None),
        ["a system message's own list of tools"],
    ),
    "glaive as sharegpt": (
        "sharegpt",
        shared_gpt(("gpt", f"<functioncall> {QUOTED} <|endoftext|>")),
        [],
    ),
    "openai: reasoning in a field of its own": (
        "openai",
        messages({"role": "assistant", "reasoning_content": "hm", "tool_calls": [WRAPPED]}),
        ["thoughts"],
    ),
    "ms-swift: tool_call as a role": (
        "openai",
        messages({"role": "tool_call", "content": json.dumps(CALL)}),
        [],
    ),
    "llama-factory: its roles in openai's form": (
        "openai",
        messages(
            {"role": "function_call", "content": f"{THOUGHT}{json.dumps(CALL)}"},
            {"role": "observation", "content": "rain"},
            {"role": "gpt", "content": "It will rain."},
        ),
        ["thoughts"],
    ),
    "xlam: python's types": (
        "xlam",
        {
            "query": SAID,
            "tools": [{"name": "get_weather", "description": "", "parameters": XLAM_TYPES}],
            "answers": [CALL],
        },
        [],
    ),
    "nvidia: calls as python": (
        "openai",
        messages({"role": "assistant", "content": AS_PYTHON}),
        [],
    ),
    "toucan: fine-tuning": (
        "toucan",
        toucan_run(("tool_call", PYTHON_CALL), ("tool_response", "rain"), ("assistant", "Rain.")),
        [],
    ),
    "nemotron: metadata as an object": (
        "nemotron",
        messages(
            {"role": "assistant", "content": None, "tool_calls": [WRAPPED]},
            tools=None,
            metadata={"tools": json.dumps([WEATHER])},
        ),
        [],
    ),
}
