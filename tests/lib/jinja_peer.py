"""Chat templates as Python renders them: Jinja with the settings and additions of transformers' apply_chat_template."""

import copy
import datetime
import json

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(jinja2.ext.Extension):
    """`{% generation %}`, which renders as its body."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def _raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def _tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment(now: int) -> jinja2.Environment:
    """`now` is local time in seconds since 1970."""
    time = datetime.datetime.fromtimestamp(now, datetime.timezone.utc).replace(tzinfo=None)
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    env.filters["tojson"] = _tojson
    env.globals["raise_exception"] = _raise_exception
    env.globals["strftime_now"] = time.strftime
    return env


def render(case: dict) -> dict:
    """A case (`template`, `messages`, `variables`, `now`) as `{"text": ...}` or `{"error": ...}`."""
    variables = {"tools": None, "documents": None, "add_generation_prompt": False} | copy.deepcopy(case.get("variables", {}))
    try:
        template = environment(case.get("now", 0)).from_string(case["template"])
        return {"text": template.render(messages=case["messages"], **variables)}
    except Exception as error:  # A template can make Python raise anything.
        return {"error": f"{type(error).__name__}: {error}"}
