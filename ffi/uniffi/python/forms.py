"""Text of a given form, calls of tools, embeddings, text without an end: forms.py MODEL TOOLS-MODEL."""

import json
import re
import sys

import tern
from checking import check, events, raised, text

runtime = tern.TernRuntime()
model = runtime.open(sys.argv[1])


def written(form, prompt):
    options = tern.GenerateOptions(max_tokens=80, constraint=model.constraint(form))
    return text(model.session(tern.SessionOptions(context=256)).generate(prompt, options))


schema = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}, "people": {"type": "integer", "minimum": 1}},
    "required": ["city", "people"],
    "additionalProperties": False,
}
answer = written(tern.Form.JSON_SCHEMA(json.dumps(schema)), "The capital of France, as JSON:")
found = json.loads(answer)
check("JSON of a schema", found["city"] in ("Paris", "Rome") and found["people"] >= 1, answer)
date = written(tern.Form.REGEX("[12][0-9]{3}-[01][0-9]"), "The date of today is ")
check("regular expression", re.fullmatch("[12][0-9]{3}-[01][0-9]", date), date)
total = written(tern.Form.GBNF('root ::= [0-9] " + " [0-9] " = " [0-9]+ "."'), "A sum: ")
check("grammar", re.fullmatch(r"\d \+ \d = \d+\.", total), total)
error = raised(tern.TernError.Constraint, lambda: model.constraint(tern.Form.GBNF('root ::= "a"\nother ::= (')))
check("a grammar that is none", error.line == 2 and error.kind() == tern.ErrorKind.INPUT, error.summary())

cat, kitten, bank = model.embed(
    ["A cat sits on the mat.", "A kitten lies on the rug.", "The bank raised its interest rates."]
)
near = lambda a, b: sum(x * y for x, y in zip(a, b))
fine = abs(near(cat, cat) - 1) < 1e-4 and near(cat, kitten) > near(cat, bank)
check("embeddings", fine, f"{len(cat)} numbers, {near(cat, kitten):.3f} and {near(cat, bank):.3f}")
check("pooling", model.embed(["A cat sits on the mat."], tern.Pooling.LAST)[0] != cat, "changes the vector")

session = model.session(tern.SessionOptions(context=64))
options = tern.GenerateOptions(max_tokens=150, ignore_end=True, endless=True)
last = events(session.generate("Once upon a time", options))
fine = len(last) == 151 and last[-1].reason == tern.StopReason.LENGTH and len(session.tokens()) <= 64
check("text without an end", fine, f"{len(last) - 1} tokens in a context of 64")

# A model of random weights, whose template knows tools; a form makes it call.
caller = runtime.open(sys.argv[2])


def saying(words):
    form = tern.Form.REGEX("".join(f"\\x{{{ord(c):x}}}" for c in words))
    return tern.GenerateOptions(max_tokens=1000, constraint=caller.constraint(form))


chat = caller.chat(options=tern.SessionOptions(context=2048))
chat.set_tools(json.dumps([{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]))
call = '<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>'
said = text(chat.send("How is it?", saying("I look. " + call)))
[made] = chat.tool_calls()
check("call of a tool", said == "I look. " and made.name == "weather" and json.loads(made.arguments) == {"city": "Oslo"}, made)
result = tern.ToolResult(name=made.name, id=made.id, text="3 degrees")
said = text(chat.send_tool_results([result], saying("It is cold.")))
roles = [m.role for m in chat.messages()]
check("its result", said == "It is cold." and roles == ["user", "assistant", "tool", "assistant"], said)
error = raised(tern.TernError.Setting, lambda: chat.set_tools("weather!"))
check("tools that are no JSON", error.setting == "tools", error.summary())
