"""Conversations that bring out what chat templates do: (messages, variables) by name.

Role and content come first in a message, as `tern_text::Message` writes them: a template can print a message whole.
"""

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather\nof a <city> & \"more\"",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Name, e.g. Zürich"},
                "unit": {"type": "string", "enum": ["c", "f"], "default": "c"},
                "days": {"type": ["integer", "null"], "description": "1 to 7"},
                "spots": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "number"}}}},
            },
            "required": ["city"],
        },
        "return": {"type": "object", "properties": {"degrees": {"type": "number"}}},
    },
}
TOOLS = [WEATHER, {"type": "function", "function": {"name": "noop", "description": "Nothing", "parameters": {"type": "object", "properties": {}}}}]

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
PROMPT = SPECIAL | {"add_generation_prompt": True}


def call(name, arguments, id="call12345"):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


ASK = {"role": "user", "content": "What's the weather in Zürich?"}
CALLS = [
    {"role": "system", "content": "Use tools."},
    ASK,
    {"role": "assistant", "content": "", "tool_calls": [call("get_weather", {"city": "Zürich", "days": 2, "spots": [{"x": 1.5}], "deep": {"a": None, "b": True}})]},
    {"role": "tool", "content": "{\"degrees\": 21.5}", "name": "get_weather", "tool_call_id": "call12345"},
    {"role": "assistant", "content": "It is 21.5 °C."},
    {"role": "user", "content": "Thanks!"},
]
PARTS = [{"type": "text", "text": "Look: "}, {"type": "image"}, {"type": "text", "text": "what is it?"}]

CONVERSATIONS = {
    "one": ([{"role": "user", "content": "Hello"}], PROMPT),
    "system": ([{"role": "system", "content": " Be brief.\n"}, {"role": "user", "content": "Hi "}, {"role": "assistant", "content": " Hey\n\n"}, {"role": "user", "content": "2 + 2 <b>&'\"?"}], PROMPT),
    "ended": ([{"role": "user", "content": "Привет, как дела? 👩‍👩‍👧 é"}, {"role": "assistant", "content": "Хорошо.\r\nИ у тебя?"}], SPECIAL),
    "continued": ([{"role": "user", "content": "Go on"}, {"role": "assistant", "content": "Once upon"}], SPECIAL | {"continue_final_message": True}),
    "thought": ([{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "<think>\nHm, 1 < 2.\n</think>\n\nBecause."}, {"role": "user", "content": "And?"}], PROMPT | {"enable_thinking": True}),
    "no thinking": ([{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So.", "reasoning_content": "Let me see.", "thinking": "Let me see."}, {"role": "user", "content": "And?"}], PROMPT | {"enable_thinking": False, "thinking": False, "reasoning_effort": "low"}),
    "tools": ([ASK], PROMPT | {"tools": TOOLS}),
    "tools with system": ([{"role": "system", "content": "Use tools."}, ASK], PROMPT | {"tools": TOOLS, "date_string": "01 Jan 2026", "tools_in_user_message": False}),
    "calls": (CALLS, PROMPT | {"tools": TOOLS}),
    "awaiting": (CALLS[:4], PROMPT | {"tools": TOOLS}),
    "two calls": (
        [ASK, {"role": "assistant", "content": None, "tool_calls": [call("get_weather", {"city": "Bern"}, "aaaaaaaaa"), call("noop", {}, "bbbbbbbbb")]},
         {"role": "tool", "content": "3", "name": "get_weather", "tool_call_id": "aaaaaaaaa"}, {"role": "tool", "content": [{"type": "text", "text": "ok"}], "name": "noop", "tool_call_id": "bbbbbbbbb"}],
        PROMPT | {"tools": TOOLS[:1]},
    ),
    "text arguments": ([ASK, {"role": "assistant", "content": "Calling.", "tool_calls": [call("get_weather", "{\"city\": \"Bern\"}")]}, {"role": "tool", "content": "rain", "tool_call_id": "call12345"}], PROMPT | {"tools": TOOLS}),
    "parts": ([{"role": "system", "content": [{"type": "text", "text": "See."}]}, {"role": "user", "content": PARTS}], PROMPT),
    "documents": ([{"role": "user", "content": "Sum up."}], PROMPT | {"documents": [{"title": "T", "text": "Body", "contents": "Body"}, {"title": "U", "text": "More"}]}),
    "developer": ([{"role": "developer", "content": "Talk like a pirate."}, {"role": "user", "content": "Hi"}], PROMPT | {"model_identity": "You are X.", "builtin_tools": ["python", "browser"]}),
    "wrong order": ([{"role": "assistant", "content": "I begin."}, {"role": "assistant", "content": "And go on."}], PROMPT),
    "empty": ([{"role": "user", "content": ""}, {"role": "assistant", "content": ""}, {"role": "user", "content": "x" * 300}], SPECIAL),
    "no specials": ([{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Yes"}, {"role": "user", "content": "a\n\n  b"}], {"add_generation_prompt": True}),
}
