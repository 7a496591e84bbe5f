// The generated functions block; these suspend, or flow, and stop the model when their coroutine is cancelled.
@file:JvmName("TernCoroutines")

package tern

import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.async
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.withContext

/** The runtime, with a place for log lines. */
fun TernRuntime(log: (LogLevel, String) -> Unit): TernRuntime = TernRuntime(object : LogSink {
    override fun log(level: LogLevel, line: String) = log(level, line)
})

/** Opens a GGUF file or a Hugging Face folder. [progress] gets the bytes done and the bytes in all. */
suspend fun TernRuntime.open(
    path: String,
    options: ModelOptions = ModelOptions(),
    progress: ((done: Long, total: Long) -> Unit)? = null,
): Model = loading(progress) { listener, cancel -> openBlocking(path, options, listener, cancel) }

/** Opens a GGUF file in memory; [name] is for messages. */
suspend fun TernRuntime.open(
    name: String,
    bytes: ByteArray,
    options: ModelOptions = ModelOptions(),
    progress: ((done: Long, total: Long) -> Unit)? = null,
): Model = loading(progress) { listener, cancel -> openBytesBlocking(name, bytes, options, listener, cancel) }

/**
 * Opens a GGUF file that is a part of an open file, as an uncompressed asset is: descriptor, offset and length are those
 * of its `AssetFileDescriptor`, which may be closed afterwards. [name] is for messages.
 */
suspend fun TernRuntime.open(
    name: String,
    descriptor: Int,
    offset: Long = 0,
    length: Long? = null,
    options: ModelOptions = ModelOptions(),
    progress: ((done: Long, total: Long) -> Unit)? = null,
): Model = loading(progress) { listener, cancel ->
    openDescriptorBlocking(name, descriptor, offset.toULong(), length?.toULong(), options, listener, cancel)
}

/** What opening [path] and running [sessions] sessions would take, without loading anything. */
suspend fun TernRuntime.plan(
    path: String,
    options: ModelOptions = ModelOptions(),
    session: SessionOptions = SessionOptions(),
    sessions: Int = 1,
): MemoryPlan = blocking { planBlocking(path, options, session, sessions.toULong()) }

private suspend fun loading(
    progress: ((Long, Long) -> Unit)?,
    open: (LoadListener?, CancelHandle) -> Model,
): Model = CancelHandle().use { cancel ->
    val listener = progress?.let {
        object : LoadListener {
            override fun progress(doneBytes: ULong, totalBytes: ULong) =
                told { it(doneBytes.toLong(), totalBytes.toLong()) }
        }
    }
    blocking(cancel) { open(listener, cancel) }
}

/** An empty session. */
suspend fun Model.session(options: SessionOptions = SessionOptions()): Session = blocking { sessionBlocking(options) }

/** A conversation in a session of its own. */
suspend fun Model.chat(system: String? = null, options: SessionOptions = SessionOptions()): Chat =
    blocking { chatBlocking(system, options) }

/** A session from a file that one of this model's sessions was saved to. */
suspend fun Model.restore(path: String, options: SessionOptions = SessionOptions()): Session =
    blocking { restoreBlocking(path, options) }

/** A conversation from a file that one was saved to. */
suspend fun Model.restoreChat(path: String, options: SessionOptions = SessionOptions()): Chat =
    blocking { restoreChatBlocking(path, options) }

/** Texts as vectors of length 1, near to each other where texts mean alike. */
suspend fun Model.embed(texts: List<String>, pooling: Pooling? = null): List<List<Float>> =
    blocking { embedBlocking(texts, pooling) }

/** Compiles a form that text must have. The first one of a model takes longer. */
suspend fun Model.constraint(form: Form): Constraint = blocking { constraintBlocking(form) }

/** Gives back memory that no session needs, as from `onTrimMemory`. */
suspend fun Model.trim() = blocking { trimBlocking() }

/** Appends [prompt] and generates from there, as the events are collected: tokens, and at last [Event.Done]. */
fun Session.generate(prompt: String, options: GenerateOptions = GenerateOptions()): Flow<Event> =
    events(::cancelHandle) { generateBlocking(prompt, options) }

/** The same from token ids; without any, goes on from where the session is. */
fun Session.generate(tokens: List<UInt>, options: GenerateOptions = GenerateOptions()): Flow<Event> =
    events(::cancelHandle) { generateTokensBlocking(tokens, options) }

/** All tokens so far: prompts and what was generated. */
suspend fun Session.tokens(): List<UInt> = blocking { tokensBlocking() }

/** Takes the last [count] tokens back; all of them where there are fewer. */
suspend fun Session.rollback(count: Int) {
    require(count >= 0) { "$count tokens cannot be taken back" }
    blocking { rollbackBlocking(count.toULong()) }
}

/** Another session with the same tokens, which goes its own way from here. */
suspend fun Session.fork(): Session = blocking { forkBlocking() }

/** Writes the session to a file; [Model.restore] goes on from there without computing anything again. */
suspend fun Session.save(path: String) = blocking { saveBlocking(path) }

/** Adds the user's message and generates the answer. Where collecting ends early, what there is of it is recorded. */
fun Chat.send(text: String, options: GenerateOptions = GenerateOptions()): Flow<Event> =
    events(::cancelHandle) { sendBlocking(text, options) }

/** The same with messages of any role, as of a tool's results. */
fun Chat.send(messages: List<ChatMessage>, options: GenerateOptions = GenerateOptions()): Flow<Event> =
    events(::cancelHandle) { sendMessagesBlocking(messages, options) }

/** Adds what tools gave and generates the answer. */
fun Chat.sendToolResults(results: List<ToolResult>, options: GenerateOptions = GenerateOptions()): Flow<Event> =
    events(::cancelHandle) { sendToolResultsBlocking(results, options) }

/** Takes the last message and its answer back; false where there is none. */
suspend fun Chat.undo(): Boolean = blocking { undoBlocking() }

/** Another conversation that goes on from here. */
suspend fun Chat.fork(): Chat = blocking { forkBlocking() }

/** Writes the conversation to a file; [Model.restoreChat] goes on from there. */
suspend fun Chat.save(path: String) = blocking { saveBlocking(path) }

/** Reads an adapter: a GGUF file, or a PEFT folder. Sessions take it with [setAdapters] or [SessionOptions.adapters]. */
suspend fun Model.adapter(path: String): Adapter = blocking { adapterBlocking(path) }

/** Uses adapters instead of those that it has; none gives the model itself, bit for bit. */
suspend fun Session.setAdapters(adapters: List<AdapterWeight>) = blocking { setAdaptersBlocking(adapters) }

/** Uses adapters from the next answer on, instead of those that it has. */
suspend fun Chat.setAdapters(adapters: List<AdapterWeight>) = blocking { setAdaptersBlocking(adapters) }

/** All deltas, by name. */
suspend fun Store.list(): List<DeltaInfo> = blocking { listBlocking() }

/** What is known about a delta: its documents, measurements and history. */
suspend fun Store.details(name: String): DeltaDetails = blocking { detailsBlocking(name) }

/** The delta as it counts, as an adapter of [model]; none where the base model as it is counts. */
suspend fun Store.adapter(name: String, model: Model): Adapter? = blocking { adapterBlocking(name, model) }

/** Goes back to the generation before, or to the base model. Returns what counts now. */
suspend fun Store.undo(name: String): Long = blocking { undoBlocking(name) }.toLong()

/** Writes the delta as a GGUF adapter. */
suspend fun Store.export(name: String, path: String) = blocking { exportBlocking(name, path) }

/** Writes the delta as a PEFT folder. */
suspend fun Store.exportPeft(name: String, model: Model, folder: String) =
    blocking { exportPeftBlocking(name, model, folder) }

/** Reads a file or a folder of text: one document each, or one for each line of a `.jsonl` file. */
suspend fun readDocuments(path: String, origin: Origin? = null): List<Document> =
    blocking { readDocumentsBlocking(path, origin) }

/** [condition] is asked before every step, on another thread: heat and battery can hold it up, or end it in good order. */
suspend fun Learner.learn(
    documents: List<Document>,
    condition: () -> Condition = { Condition.GO },
    progress: (LearnProgress) -> Unit = {},
): Outcome = learning(condition, { null }, progress) { listener, cancel -> learnBlocking(documents, listener, cancel) }

/** Forgets what came from [source]. [supply] is asked for documents that the store does not keep. */
suspend fun Learner.forget(
    source: String,
    condition: () -> Condition = { Condition.GO },
    supply: (LearnedDocument) -> Document? = { null },
    progress: (LearnProgress) -> Unit = {},
): Outcome = learning(condition, supply, progress) { listener, cancel -> forgetBlocking(source, listener, cancel) }

/** Learns the documents of the delta anew for this learner's model. */
suspend fun Learner.rebuild(
    condition: () -> Condition = { Condition.GO },
    supply: (LearnedDocument) -> Document? = { null },
    progress: (LearnProgress) -> Unit = {},
): Outcome = learning(condition, supply, progress) { listener, cancel -> rebuildBlocking(listener, cancel) }

private suspend fun learning(
    ask: () -> Condition,
    find: (LearnedDocument) -> Document?,
    tell: (LearnProgress) -> Unit,
    work: (LearnListener, CancelHandle) -> Outcome,
): Outcome = CancelHandle().use { cancel ->
    val listener = object : LearnListener {
        override fun progress(progress: LearnProgress) = told { tell(progress) }
        override fun condition() = told(ask)
        override fun supply(document: LearnedDocument) = told { find(document) }
    }
    blocking(cancel) { work(listener, cancel) }
}

/** What an application's own code throws reaches the one who called. */
private fun <T> told(work: () -> T): T = try {
    work()
} catch (e: Exception) {
    throw CallbackException.Failed(e.toString())
}

/** The event's text: whole characters, often none; in order the generated text. */
val Event.text: String
    get() = when (this) {
        is Event.Token -> text
        is Event.Done -> text
    }

/** One event at a time: the model waits for the collector. Nothing runs any more once collecting has ended. */
private fun events(handle: () -> CancelHandle, start: () -> Generation): Flow<Event> = flow {
    handle().use { cancel ->
        blocking(cancel, start).use { generation ->
            while (true) emit(blocking(cancel) { generation.nextBlocking() } ?: break)
        }
    }
}

private val io = CoroutineScope(Dispatchers.IO)

/** Runs [work] on a thread that may block. When the coroutine is cancelled, uses [cancel] and waits for the end. */
private suspend fun <T> blocking(cancel: CancelHandle? = null, work: () -> T): T {
    val running = io.async { runCatching(work) }
    try {
        return running.await().getOrThrow()
    } catch (stopped: CancellationException) {
        cancel?.cancel()
        // What comes now is nobody's.
        val late = withContext(NonCancellable) { running.await() }
        (late.getOrNull() as? AutoCloseable)?.close()
        throw stopped
    }
}
