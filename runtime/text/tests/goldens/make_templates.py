"""Makes templates.cases.json: every template of `templates/` with several conversations, as Python's Jinja renders them.

    pip install jinja2
    python make_templates.py

The settings are those of transformers' apply_chat_template (tests/lib/jinja_peer.py); the conversations are in
tests/lib/conversations.py. An error's text is kept where the template itself raised it.
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[3] / "tests" / "lib"))

import jinja_peer  # noqa: E402
from conversations import CONVERSATIONS  # noqa: E402

NOW = 1_767_323_045  # 2026-01-02 03:04:05
CHOSEN = ["system", "thought", "calls", "parts"]

conversations = {name: {"messages": CONVERSATIONS[name][0], "variables": CONVERSATIONS[name][1]} for name in CHOSEN}
rendered = {}
for path in sorted((HERE / "templates").glob("*.jinja")):
    results = rendered[path.name] = {}
    for name, conversation in conversations.items():
        result = jinja_peer.render({"template": path.read_text(), "now": NOW} | conversation)
        if "error" in result:
            kind, _, message = result["error"].partition(": ")
            result = {"raises": message if kind == "TemplateError" else None}
        results[name] = result
out = {"now": NOW, "conversations": conversations, "rendered": rendered}
(HERE / "templates.cases.json").write_text(json.dumps(out, ensure_ascii=False, indent=1) + "\n")
