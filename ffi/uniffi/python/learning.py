"""Learning as a transaction: learning.py MODEL ANOTHER-MODEL PAGES FOLDER. PAGES are forty pages of a manual that no model
knows."""

import json
import os
import sys

import tern
from checking import check, events, raised

path, another, pages, folder = sys.argv[1:]
runtime = tern.TernRuntime()
model = runtime.open(path)
store = tern.Store(os.path.join(folder, "store"))
# Few and short steps: enough to learn this manual. The store does not keep it.
options = tern.LearnOptions(
    keep_sources=False,
    steps=10,
    batch=2,
    context=128,
    learning_rate=2e-3,
    held_out=0.3,
    facts=[
        tern.Fact(
            statement="The command kestrel drop tide forgets a station, but keeps its readings.",
            question="What does kestrel drop tide keep?",
            answer="The readings of the station.",
        )
    ],
)


class Listener(tern.LearnListener):
    """Notes what it is told; has some documents; stops a learner after its second step."""

    def __init__(self, documents=(), stops=None):
        self.phases, self.asked, self.supplied, self.stops = [], 0, 0, stops
        self.documents = {d.source: d for d in documents}

    def progress(self, progress):
        if not self.phases or self.phases[-1] != progress.phase:
            self.phases.append(progress.phase)
        if self.stops and progress.phase == tern.LearnPhase.LEARN and progress.done == 2:
            self.stops.stop()

    def condition(self):
        self.asked += 1
        return tern.Condition.GO

    def supply(self, document):
        self.supplied += 1
        return self.documents.get(document.source)


line = [tern.Document(source="log.txt", content=tern.Content.TEXT("The pump is on. " * 400))]
verdict = tern.Learner(model, store, "line", options).learn(line).verdict
check("a line again and again", verdict.bound == tern.Bound.REPETITION, verdict)
error = raised(tern.TernError.NoDelta, lambda: store.undo("none"))
check("no such delta", error.name == "none" and error.store == store.path(), error.summary())
bad = os.path.join(folder, "bad.jsonl")
with open(bad, "w", encoding="utf-8") as file:
    file.write('{"text": "fine"}\n{"text": 7}\n')
error = raised(tern.TernError.BadDocument, lambda: tern.read_documents(bad))
check("a record that is none", (error.line, error.field, error.found) == (2, "text", "7"), error.summary())

documents = tern.read_documents(pages)[:24]
handle = tern.CancelHandle()
handle.cancel()
learner = tern.Learner(model, store, "manual", options)
error = raised(tern.TernError.Cancelled, lambda: learner.learn(documents, None, handle))
check("cancelled", error.kind() == tern.ErrorKind.CANCELLED, error.summary())

stopped = tern.Learner(model, store, "stopped", options)
listener = Listener(stops=stopped)
outcome = stopped.learn(documents, listener)
check("stopped in good order", outcome.steps == 2 and outcome.gain.documents >= 5, outcome.summary)
wanted = [tern.LearnPhase.SCREEN, tern.LearnPhase.ANCHOR, tern.LearnPhase.BEFORE, tern.LearnPhase.LEARN, tern.LearnPhase.AFTER]
check("its phases", listener.phases == wanted, listener.phases)

listener = Listener()
outcome = learner.learn(documents, listener)
gain = outcome.gain
print("    ", outcome.summary, outcome.harm, f"shrunk to {outcome.shrunk:.2f}, {outcome.seconds:.0f} s")
check("learning", outcome.steps == 10 and gain.documents >= 5, f"{gain.before:.3f} -> {gain.after:.3f} bits per byte")
wanted.remove(tern.LearnPhase.ANCHOR)
check("the base's answers were kept", listener.phases == wanted, listener.phases)
check("its recall", outcome.recall.facts == 1 and outcome.recall.ceiling < outcome.recall.base, outcome.recall)
check("its report", "<html" in outcome.report and json.loads(outcome.json)["steps"] == 10, f"{len(outcome.report)} bytes")
if outcome.verdict.is_REFUSED():
    check("refused with the bound", outcome.generation == 0 and store.adapter("manual", model) is None, outcome.summary)
    sys.exit(0)

check("committed", outcome.generation == 1 and gain.low > 0, outcome.verdict)
prompt = "# kestrel watch rain\n\n## Synopsis\n\n"


def said(*adapters):
    weights = [tern.AdapterWeight(adapter=a, weight=w) for a, w in adapters]
    session = model.session(tern.SessionOptions(context=128, adapters=weights))
    found = events(session.generate(prompt, tern.GenerateOptions(max_tokens=12, logprobs=True)))
    return [(e.id, e.logprob) for e in found if e.is_TOKEN()]


plain, delta = said(), store.adapter("manual", model)
check("a delta in a session", len({str(x) for x in (plain, said((delta, 1.0)), said((delta, 0.5)))}) == 3, "by weight")
error = raised(tern.TernError.OtherBase, lambda: store.adapter("manual", runtime.open(another)))
check("another model", error.name == "manual" and error.found != error.expected, error.summary())

# Learned anew without one source, by the settings of the delta. Whether what is left passes or not, the source is gone.
source = next(d.source for d in store.details("manual").documents if not d.held_out)
error = raised(tern.TernError.NoSource, lambda: learner.forget("nothing.md"))
check("forget what is not there", error.source_name == "nothing.md", error.summary())
error = raised(tern.TernError.MissingSource, lambda: learner.forget(source, Listener(documents[:3])))
check("forget without the rest", store.details("manual").generation == 1, error.summary())
listener = Listener(documents)
outcome = learner.forget(source, listener)
details = store.details("manual")
check("forget asks for the rest", listener.supplied == len(documents) - 1, f"{listener.supplied} documents")
left = {d.source for d in details.documents}
gone = source not in left and details.generation in (0, 2) and all(e.generation != 1 for e in details.history[-1:])
check("forget", gone, f"{outcome.summary}; generation {details.generation}, {len(left)} documents")
# A model that knows nothing of text refuses it, and what counted still does; where nothing did, what waits is learned.
if details.generation:
    small = tern.Learner(runtime.open(another), store, "manual", options)
    outcome = small.rebuild(Listener(documents))
    fine = outcome.verdict.is_REFUSED() and outcome.generation == details.generation
    check("rebuild for another model", fine, outcome.summary)
    check("undo", store.undo("manual") == 0 and store.adapter("manual", model) is None, [e.event for e in details.history])
check("the model is what it was", said() == plain, f"{len(plain)} tokens with the same probabilities")
