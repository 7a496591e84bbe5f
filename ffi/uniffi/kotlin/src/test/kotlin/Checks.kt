// What an app does with Tern, end to end: ChecksKt MODEL ANOTHER-MODEL TOOLS-MODEL PAGES FOLDER. One line per check; exits
// with 1 where one fails.

import java.io.File
import kotlin.system.exitProcess
import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.measureTime
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.onEach
import kotlinx.coroutines.flow.take
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import tern.*

/** How long the model may go on after its coroutine was cancelled. */
val PROMPT_STOP = 50.milliseconds

var failures = 0

suspend fun check(name: String, body: suspend () -> String) {
    val (verdict, detail) = try {
        "ok  " to body()
    } catch (e: Throwable) {
        failures++
        "FAIL" to ((e as? TernException)?.summary() ?: e.stackTraceToString())
    }
    println("$verdict $name: $detail")
}

inline fun expect(condition: Boolean, what: () -> String) {
    if (!condition) throw AssertionError(what())
}

inline fun <reified E : Throwable> failing(body: () -> Any?): E {
    val result = try {
        body()
    } catch (e: Throwable) {
        return e as? E ?: throw e
    }
    throw AssertionError("no error, but $result")
}

fun List<Event>.tokens() = filterIsInstance<Event.Token>().map { it.id }
fun List<Event>.text() = joinToString("") { it.text }.replace('\n', ' ')
fun List<Event>.done() = last() as Event.Done

fun greedy(tokens: Int) = GenerateOptions(maxTokens = tokens.toUInt())

fun main(arguments: Array<String>) {
    val (model, another, tools, pages, folder) = arguments
    runBlocking(Dispatchers.Default) {
        checks(model, another, File(folder))
        forms(model, tools)
        learning(model, another, pages, File(folder))
    }
    if (failures > 0) println("$failures checks failed")
    exitProcess(if (failures > 0) 1 else 0)
}

suspend fun checks(path: String, another: String, folder: File) {
    val runtime = TernRuntime { level, line -> println("     $level $line") }
    errors(runtime, path, folder)
    memory(runtime, path, another)
    var last = 0L to 0L
    val model = runtime.open(path) { done, total -> last = done to total }
    check("load") {
        val info = model.info()
        expect(last.first == last.second && last.first > 0) { "the last progress was $last" }
        "${info.architecture}, ${info.parameters} parameters on ${info.backend}/${info.tier}, ${last.first} bytes of progress"
    }
    streaming(model)
    cancelling(runtime, model, path)
    saving(model, runtime.open(another), folder)
    conversation(model, folder)
    check("trim") { model.trim().let { "done" } }
    model.close()
    check("closed") { failing<IllegalStateException> { model.info() }.message!! }
}

suspend fun errors(runtime: TernRuntime, path: String, folder: File) {
    check("missing file") {
        val e = failing<TernException.Io> { runtime.open("/nowhere/model.gguf") }
        expect(e.path == "/nowhere/model.gguf" && e.reason == IoReason.NOT_FOUND && e.code == 2) { "$e" }
        expect(e.kind() == ErrorKind.IO) { "${e.kind()}" }
        "${e.reason}, code ${e.code}: ${e.summary()}"
    }
    check("not a model") {
        val file = File(folder, "notes.gguf").apply { writeText("milk, bread, two lemons\n") }
        val e = failing<TernException.NotAModel> { runtime.open(file.path) }
        expect(e.path == file.path && e.found == "this is a text file" && e.kind() == ErrorKind.INPUT) { "$e" }
        "found \"${e.found}\""
    }
    check("truncated file") {
        val file = File(folder, "half.gguf")
        File(path).inputStream().use { file.writeBytes(it.readNBytes(1 shl 16)) }
        val e = failing<TernException.BadFile> { runtime.open(file.path) }
        expect(e.path == file.path && e.problem == "Truncated" && e.offset != null) { "$e" }
        "${e.problem} at ${e.offset}: ${e.field} needs ${e.expected} bytes, found ${e.found}"
    }
    check("failing listener") {
        val e = failing<TernException.Callback> { runtime.open(path) { _, _ -> error("no screen to draw on") } }
        expect("no screen" in e.reason) { "$e" }
        e.summary()
    }
}

suspend fun memory(runtime: TernRuntime, path: String, another: String) {
    check("memory plan") {
        val options = SessionOptions(context = 4096u)
        val plan = runtime.plan(path, session = options)
        expect(plan.fits && plan.advice == null && plan.totalBytes > plan.weightsBytes + plan.kvBytes) { "$plan" }
        val tight = runtime.plan(path, ModelOptions(maxBytes = plan.totalBytes - plan.kvBytes / 2u), options)
        expect(!tight.fits && tight.fittingContext in 1uL..<4096uL) { "$tight" }
        "${plan.totalBytes / 1000000u} MB; in less: ${tight.advice}"
    }
    check("memory cap") {
        val e = failing<TernException.Memory> { runtime.open(path, ModelOptions(maxBytes = 50000000u)) }
        expect(e.available <= 50000000uL && e.needed > e.available && e.kind() == ErrorKind.MEMORY) { "$e" }
        e.summary()
    }
    check("model from bytes") {
        runtime.open("bytes", File(another).readBytes()).use { model ->
            expect(model.memory().used > 0u) { "${model.memory()}" }
            "${model.info().parameters} parameters, ${model.memory().used} bytes"
        }
    }
}

suspend fun streaming(model: Model) {
    val prompt = "The capital of France is"
    val session = model.session(SessionOptions(context = 64u))
    check("stream") {
        val events = session.generate(prompt, greedy(12)).toList()
        expect("Paris" in events.text()) { events.text() }
        expect(events.done().reason == StopReason.LENGTH && events.tokens().size == 12) { "${events.done()}" }
        expect(session.tokens() == model.encode(prompt) + events.tokens()) { "${session.tokens()}" }
        "\"${events.text()}\""
    }
    check("same tokens after going back") {
        val first = session.tokens()
        session.rollback(5)
        val again = session.generate(emptyList(), greedy(5)).toList()
        expect(session.tokens() == first && again.tokens() == first.takeLast(5)) { "${session.tokens()} after $first" }
        "${again.tokens()}"
    }
    check("taking only what is wanted") {
        val before = session.tokens().size
        val events = session.generate(emptyList(), greedy(40)).take(3).toList()
        expect(session.tokens().size == before + 3) { "${session.tokens().size} tokens after $before" }
        "\"${events.text()}\" and no further"
    }
    check("full context") {
        val e = failing<TernException.ContextFull> { session.generate("word ".repeat(100)).toList() }
        expect(e.capacity == 64uL && e.used > 0u && e.used + e.wanted > 64u) { "$e" }
        "${e.used} of ${e.capacity} tokens used, ${e.wanted} wanted"
    }
    check("wrong setting") {
        val options = GenerateOptions(sampling = Sampling(topP = 7f))
        val e = failing<TernException.Setting> { session.generate(prompt, options).toList() }
        expect(e.setting == "top_p" && e.found == "7") { "$e" }
        "${e.setting} = ${e.found}, expected ${e.expected}"
    }
    session.close()
}

suspend fun cancelling(runtime: TernRuntime, model: Model, path: String) {
    val long = "word ".repeat(3000)
    val session = model.session()
    check("cancel mid-prompt") {
        val stopped = times(5) {
            session.rollback(Int.MAX_VALUE)
            coroutineScope {
                val job = launch { session.generate(long).collect { throw AssertionError("the prompt was done before") } }
                delay(200)
                stop { job.cancelAndJoin() }
            }
        }
        expect(session.tokens().size > 2900) { "${session.tokens().size} tokens" }
        stopped
    }
    check("cancel mid-answer") {
        times(5) {
            session.rollback(Int.MAX_VALUE)
            coroutineScope {
                val tokens = Channel<Event>(Channel.UNLIMITED)
                val options = GenerateOptions(maxTokens = 2000u, ignoreEnd = true)
                val job = launch { session.generate("Once", options).onEach(tokens::send).toList() }
                repeat(4) { tokens.receive() }
                val took = stop { job.cancelAndJoin() }
                val size = session.tokens().size
                delay(60)
                expect(session.tokens().size == size) { "the model went on" }
                took
            }
        }
    }
    check("cancel with the handle") {
        session.rollback(Int.MAX_VALUE)
        val events = session.generate("Once", GenerateOptions(maxTokens = 2000u, ignoreEnd = true))
        val seen = events.onEach { if (session.capacity() > 0u) session.cancelHandle().use(CancelHandle::cancel) }.toList()
        expect(seen.done().reason == StopReason.CANCELLED) { "${seen.done()}" }
        "${seen.done().reason} after ${seen.tokens().size} tokens"
    }
    check("session goes on after that") {
        session.rollback(Int.MAX_VALUE)
        session.generate("The capital of France is", greedy(8)).toList().text()
    }
    session.close()
    check("cancel while loading") {
        times(5) {
            coroutineScope {
                val begun = Channel<Unit>(Channel.CONFLATED)
                val job = async { runtime.open(path) { _, _ -> begun.trySend(Unit) } }
                begun.receive()
                stop { job.cancelAndJoin() }.also { expect(job.isCancelled) { "it was loaded before" } }
            }
        }
    }
}

/** Times of [count] runs; the median is what counts, since other programs may have the processor for a while. */
suspend fun times(count: Int, run: suspend () -> Duration): String {
    val took = List(count) { run() }.sorted()
    expect(took[count / 2] < PROMPT_STOP) { "stopped after $took" }
    return "stopped after ${took.joinToString { "${it.inWholeMilliseconds}" }} ms"
}

suspend fun stop(body: suspend () -> Unit): Duration = measureTime { body() }

suspend fun saving(model: Model, another: Model, folder: File) {
    val file = File(folder, "session").path
    val session = model.session(SessionOptions(context = 128u))
    session.generate("Once upon a time, in a village by the sea,", greedy(20)).toList()
    check("save, restore, go on with the same tokens") {
        session.save(file)
        val restored = model.restore(file)
        expect(restored.tokens() == session.tokens()) { "${restored.tokens()} of ${session.tokens()}" }
        val there = restored.generate(emptyList(), greedy(20)).toList()
        val here = session.fork().use { fork -> fork.generate(emptyList(), greedy(20)).toList() }
        expect(there.tokens() == here.tokens() && there.tokens().size == 20) { "$there but $here" }
        val reused = there.done().timings.reusedTokens
        expect(reused + 1u >= session.tokens().size.toULong()) { "only $reused tokens reused" }
        restored.close()
        "\"${there.text()}\", $reused tokens reused"
    }
    check("fork leaves the first session alone") {
        val before = session.tokens()
        session.fork().use { it.generate(" But", greedy(5)).toList() }
        expect(session.tokens() == before) { "${session.tokens()}" }
        "${before.size} tokens"
    }
    check("another model's session") {
        val e = failing<TernException.OtherModel> { another.use { it.restore(file) } }
        expect(e.path == file && e.found != e.expected && e.found.length == 64) { "$e" }
        e.summary().replace(folder.path, "")
    }
    check("not a session file") {
        val notes = File(folder, "notes").apply { writeText("milk, bread, two lemons\n") }
        val e = failing<TernException> { model.restore(notes.path) }
        expect(e.kind() == ErrorKind.INPUT) { "$e" }
        "${e::class.simpleName}: ${e.summary().replace(folder.path, "")}"
    }
    check("8-bit keys and values") {
        model.session(SessionOptions(context = 128u, kv = KvType.I8)).use {
            val answer = it.generate("The capital of France is", greedy(4)).toList()
            expect("Paris" in answer.text()) { answer.text() }
            "\"${answer.text()}\""
        }
    }
    session.close()
}

suspend fun conversation(model: Model, folder: File) {
    val chat = model.chat("Answer in one short sentence.", SessionOptions(context = 512u))
    check("chat") {
        val answer = chat.send("What is the capital of France?", greedy(40)).toList()
        expect("Paris" in answer.text()) { answer.text() }
        val more = chat.send("And of Italy?", greedy(40)).toList()
        expect(more.done().timings.reusedTokens > 30u) { "${more.done().timings}" }
        expect(chat.messages().map { it.role } == listOf("user", "assistant", "user", "assistant")) { "${chat.messages()}" }
        "\"${answer.text()}\" \"${more.text()}\" with ${more.done().timings.reusedTokens} tokens reused"
    }
    check("an answer cut short is recorded before the next message") {
        val cut = chat.send("Tell me a long story.", greedy(200)).take(4).toList()
        chat.send("Thank you.", greedy(8)).toList()
        val messages = chat.messages().takeLast(4)
        expect(messages.map { it.role } == listOf("user", "assistant", "user", "assistant")) { "$messages" }
        expect(messages[1].text.replace('\n', ' ') == cut.text()) { "$messages" }
        "\"${messages[1].text}\""
    }
    check("a conversation from a file") {
        val file = File(folder, "chat").path
        chat.save(file)
        val restored = model.restoreChat(file)
        expect(restored.messages() == chat.messages()) { "${restored.messages()}" }
        val (there, here) = listOf(restored, chat).map { it.send("Name a river there.", greedy(12)).toList() }
        expect(there.tokens() == here.tokens()) { "${there.text()} but ${here.text()}" }
        restored.close()
        "${chat.messages().size} messages, \"${there.text()}\""
    }
    check("a conversation that shifts") {
        chat.setOverflow(Overflow.SHIFT)
        while (chat.hidden() == 0uL && chat.messages().size < 60) chat.send("Go on.", greedy(40)).toList()
        expect(chat.hidden() > 0u) { "${chat.messages()}" }
        expect(chat.undo()) { "nothing to undo" }
        "${chat.hidden()} of ${chat.messages().size} messages hidden"
    }
    chat.close()
}
