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
    "edgetool": {
        "id": "mine",
        "messages": [{"role": "user", "content": SAID}],
        "tools": [{"type": "function", "function": WEATHER}],
        "calls": [CALL],
    },
}
