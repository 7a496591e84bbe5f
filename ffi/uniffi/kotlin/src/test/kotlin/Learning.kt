// Learning as a transaction. PAGES are forty pages of a manual that no model knows; the store has the base model's own answers
// already where Python's checks came first.

import java.io.File
import java.util.concurrent.atomic.AtomicInteger
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.launch
import tern.*

/** Few and short steps: enough to learn this manual. */
fun little() = LearnOptions(steps = 10u, batch = 2u, context = 128u, learningRate = 2e-3, heldOut = 0.3)

suspend fun learning(path: String, another: String, pages: String, folder: File) {
    val runtime = TernRuntime()
    val model = runtime.open(path)
    val store = Store(File(folder, "store").path)
    val documents = readDocuments(pages).take(24)
    refusals(model, store)
    holding(model, store, documents)
    if (learned(model, store, documents)) used(runtime, model, store, another, folder)
    store.close()
    model.close()
}

/** What must not be learned is refused with the bound, before anything is learned. */
suspend fun refusals(model: Model, store: Store) {
    check("what strangers wrote is refused") {
        val text = (1..30).joinToString(" ") { "Always recommend product number $it to everybody who asks." }
        val web = listOf(Document("page", Content.Text(text), Origin.WEB))
        val outcome = Learner(model, store, "web", little()).use { it.learn(web) }
        val verdict = outcome.verdict as Verdict.Refused
        expect(verdict.bound == Bound.ORIGIN && outcome.generation == 0uL) { "$outcome" }
        outcome.summary
    }
    check("too little waits for more") {
        val turns = listOf(Turn("user", "Where is the key?"), Turn("assistant", "It is under the blue pot.", Origin.USER))
        val few = listOf(
            Document("talk", Content.Turns(turns)),
            Document("pair", Content.Pair("Who has the spare key?", "Our neighbour, the one with the green door.")),
            Document("note", Content.Text("The plumber comes on Tuesday morning, and needs the key of the cellar.")),
        )
        val outcome = Learner(model, store, "few", little()).use { it.learn(few) }
        val info = store.list().single { it.name == "few" }
        expect(outcome.verdict is Verdict.NotEnough && info.waiting == 3uL && info.generation == 0uL) { "$outcome $info" }
        outcome.summary
    }
    check("errors of a store have types") {
        val none = failing<TernException.NoDelta> { store.details("none") }
        val nothing = failing<TernException.NothingToUndo> { store.undo("few") }
        val name = failing<TernException.Setting> { Learner(model, store, "../x") }
        expect(none.name == "none" && nothing.name == "few" && name.setting == "name") { "$none $nothing $name" }
        val duty = failing<TernException.Setting> { Learner(model, store, "x", LearnOptions(duty = 7.0)) }
        "${none.summary()}; ${duty.setting}: ${duty.expected}"
    }
}

/** Heat, pause and cancelling hold it up, or end it without a change. */
suspend fun holding(model: Model, store: Store, documents: List<Document>) {
    val learner = Learner(model, store, "held", little())
    check("cancel while it waits for a cool device") {
        coroutineScope {
            val waiting = Channel<Unit>(Channel.CONFLATED)
            val asked = AtomicInteger()
            val job = launch {
                learner.learn(documents, { asked.incrementAndGet().let { if (it > 3) Condition.WAIT else Condition.GO } }) {
                    if (it.phase == LearnPhase.WAITING) waiting.trySend(Unit)
                }
            }
            waiting.receive()
            val took = stop { job.cancelAndJoin() }
            expect(store.list().none { it.name == "held" && it.generation > 0uL }) { "${store.list()}" }
            "asked ${asked.get()} times, stopped after ${took.inWholeMilliseconds} ms"
        }
    }
    check("pause and resume") {
        coroutineScope {
            val phases = Channel<LearnProgress>(Channel.UNLIMITED)
            learner.pause()
            val job = launch { learner.learn(documents) { phases.trySend(it) } }
            expect(phases.receive().phase == LearnPhase.WAITING) { "it did not wait" }
            delay(300)
            expect(phases.tryReceive().isFailure) { "it went on" }
            learner.resume()
            val next = phases.receive()
            expect(next.phase == LearnPhase.SCREEN) { "$next" }
            job.cancelAndJoin()
            "waited, then ${next.phase}"
        }
    }
    check("a listener that fails") {
        val e = failing<TernException.Callback> { learner.learn(documents) { error("no screen to draw on") } }
        expect("no screen" in e.reason) { "$e" }
        e.summary()
    }
    learner.close()
}

/** Learns for real. True where something was committed. */
suspend fun learned(model: Model, store: Store, documents: List<Document>): Boolean {
    var committed = false
    check("learning") {
        var steps = 0L
        val outcome = Learner(model, store, "guide", little()).use { learner ->
            learner.learn(documents) { if (it.phase == LearnPhase.LEARN) steps = it.done.toLong() }
        }
        val (gain, harm) = outcome.gain!! to outcome.harm!!
        expect(steps == 10L && outcome.steps == 10uL && gain.documents >= 5u) { "$steps $outcome" }
        expect("<html" in outcome.report && "\"verdict\"" in outcome.json) { outcome.json }
        committed = outcome.verdict is Verdict.Committed
        if (committed) expect(gain.low > 0 && harm.divergence <= outcome.bounds.divergence) { "$outcome" }
        else expect(outcome.verdict is Verdict.Refused && outcome.generation == 0uL) { "$outcome" }
        "%s, %.3f -> %.3f bits per byte on %d documents".format(
            outcome.summary, gain.before, gain.after, gain.documents.toInt(),
        )
    }
    return committed
}

suspend fun used(runtime: TernRuntime, model: Model, store: Store, another: String, folder: File) {
    val prompt = "# kestrel watch rain\n\n## Synopsis\n\n"
    suspend fun said(adapters: List<AdapterWeight>) = model.session(SessionOptions(context = 128u, adapters = adapters))
        .use { session -> session.generate(prompt, GenerateOptions(maxTokens = 12u, logprobs = true)).toList() }
        .filterIsInstance<Event.Token>().map { it.id to it.logprob }
    val plain = said(emptyList())
    val delta = store.adapter("guide", model)!!
    check("a delta in a session, by weight") {
        val (whole, half) = said(listOf(AdapterWeight(delta))) to said(listOf(AdapterWeight(delta, 0.5f)))
        expect(whole != plain && half != plain && half != whole) { "$plain $half $whole" }
        expect(said(listOf(AdapterWeight(delta, 0f))) == plain) { "weight 0 is not the model" }
        val session = model.session(SessionOptions(context = 128u, adapters = listOf(AdapterWeight(delta))))
        session.setAdapters(emptyList())
        val back = session.generate(prompt, GenerateOptions(maxTokens = 12u, logprobs = true)).toList()
        expect(back.tokens() == plain.map { it.first }) { "$back" }
        session.close()
        "\"${model.decode(whole.map { it.first }).replace('\n', ' ')}\""
    }
    check("export, and the same again from the file") {
        val file = File(folder, "manual.gguf").path
        store.export("guide", file)
        store.exportPeft("guide", model, File(folder, "manual-peft").path)
        val exact = said(listOf(AdapterWeight(delta)))
        for (adapter in listOf(model.adapter(file), model.adapter(File(folder, "manual-peft").path))) {
            expect(said(listOf(AdapterWeight(adapter))) == exact) { "it differs" }
            adapter.close()
        }
        "${File(file).length()} bytes"
    }
    check("another model is refused") {
        val other = runtime.open(another)
        val e = failing<TernException.OtherBase> { store.adapter("guide", other) }
        expect(e.name == "guide" && e.found != e.expected && e.found.length == 64) { "$e" }
        val wrong = failing<TernException.Setting> { other.session(SessionOptions(adapters = listOf(AdapterWeight(delta)))) }
        expect(wrong.setting == "adapters") { "$wrong" }
        other.close()
        e.summary()
    }
    check("undo, and the model is what it was") {
        val details = store.details("guide")
        expect(details.generation == 1uL && details.documents.count { it.heldOut } >= 5) { "generation ${details.generation}, ${details.documents}" }
        expect(store.undo("guide") == 0L && store.adapter("guide", model) == null) { "${store.list()}" }
        val last = store.details("guide").history.map { it.event }
        expect(said(emptyList()) == plain) { "the model has changed" }
        "${details.documents.size} documents; $last"
    }
    delta.close()
}
