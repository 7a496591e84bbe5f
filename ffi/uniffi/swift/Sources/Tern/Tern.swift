// The generated functions block; these are async, or streams, and stop the model when their task is cancelled.

import Foundation

extension TernRuntime {
    /// The runtime, with a place for log lines.
    public convenience init(log: @escaping @Sendable (LogLevel, String) -> Void) throws {
        try self.init(log: LogClosure(log))
    }

    /// Opens a GGUF file or a Hugging Face folder. `progress` gets the bytes done and the bytes in all.
    public func open(
        _ path: String,
        options: ModelOptions = ModelOptions(),
        progress: (@Sendable (UInt64, UInt64) throws -> Void)? = nil
    ) async throws -> Model {
        let cancel = CancelHandle()
        let listener = progress.map(ProgressClosure.init)
        return try await blocking(cancel) {
            try self.openBlocking(path: path, options: options, listener: listener, cancel: cancel)
        }
    }

    /// Opens a GGUF file in memory; `name` is for messages.
    public func open(
        _ name: String,
        bytes: Data,
        options: ModelOptions = ModelOptions(),
        progress: (@Sendable (UInt64, UInt64) throws -> Void)? = nil
    ) async throws -> Model {
        let cancel = CancelHandle()
        let listener = progress.map(ProgressClosure.init)
        return try await blocking(cancel) {
            try self.openBytesBlocking(
                name: name, bytes: bytes, options: options, listener: listener, cancel: cancel)
        }
    }

    /// Opens a GGUF file that is a part of an open file, which may be closed afterwards; `name` is for messages.
    public func open(
        _ name: String,
        descriptor: Int32,
        offset: UInt64 = 0,
        length: UInt64? = nil,
        options: ModelOptions = ModelOptions(),
        progress: (@Sendable (UInt64, UInt64) throws -> Void)? = nil
    ) async throws -> Model {
        let cancel = CancelHandle()
        let listener = progress.map(ProgressClosure.init)
        return try await blocking(cancel) {
            try self.openDescriptorBlocking(
                name: name, descriptor: descriptor, offset: offset, length: length, options: options,
                listener: listener, cancel: cancel)
        }
    }

    /// What opening `path` and running `sessions` sessions would take, without loading anything.
    public func plan(
        _ path: String,
        options: ModelOptions = ModelOptions(),
        session: SessionOptions = SessionOptions(),
        sessions: UInt64 = 1
    ) async throws -> MemoryPlan {
        try await blocking {
            try self.planBlocking(path: path, options: options, session: session, sessions: sessions)
        }
    }
}

extension Model {
    /// An empty session.
    public func session(options: SessionOptions = SessionOptions()) async throws -> Session {
        try await blocking { try self.sessionBlocking(options: options) }
    }

    /// A conversation in a session of its own.
    public func chat(system: String? = nil, options: SessionOptions = SessionOptions()) async throws -> Chat {
        try await blocking { try self.chatBlocking(system: system, options: options) }
    }

    /// A session from a file that one of this model's sessions was saved to.
    public func restore(_ path: String, options: SessionOptions = SessionOptions()) async throws -> Session {
        try await blocking { try self.restoreBlocking(path: path, options: options) }
    }

    /// A conversation from a file that one was saved to.
    public func restoreChat(_ path: String, options: SessionOptions = SessionOptions()) async throws -> Chat {
        try await blocking { try self.restoreChatBlocking(path: path, options: options) }
    }

    /// Reads an adapter: a GGUF file, or a PEFT folder. Sessions take it with `setAdapters` or in their options.
    public func adapter(_ path: String) async throws -> Adapter {
        try await blocking { try self.adapterBlocking(path: path) }
    }

    /// Texts as vectors of length 1, near to each other where texts mean alike.
    public func embed(_ texts: [String], pooling: Pooling? = nil) async throws -> [[Float]] {
        try await blocking { try self.embedBlocking(texts: texts, pooling: pooling) }
    }

    /// Compiles a form that text must have. The first one of a model takes longer.
    public func constraint(_ form: Form) async throws -> Constraint {
        try await blocking { try self.constraintBlocking(form: form) }
    }

    /// Gives back memory that no session needs, as after a memory warning.
    public func trim() async throws {
        try await blocking { try self.trimBlocking() }
    }
}

extension Session {
    /// Appends `prompt` and generates from there, as the events are taken: tokens, and at last `done`.
    public func generate(
        _ prompt: String, options: GenerateOptions = GenerateOptions()
    ) -> AsyncThrowingStream<Event, Error> {
        events(cancelHandle()) { try self.generateBlocking(text: prompt, options: options) }
    }

    /// The same from token ids; without any, goes on from where the session is.
    public func generate(
        tokens: [UInt32], options: GenerateOptions = GenerateOptions()
    ) -> AsyncThrowingStream<Event, Error> {
        events(cancelHandle()) { try self.generateTokensBlocking(tokens: tokens, options: options) }
    }

    /// Uses adapters instead of those that it has; none gives the model itself, bit for bit.
    public func setAdapters(_ adapters: [AdapterWeight]) async throws {
        try await blocking { try self.setAdaptersBlocking(adapters: adapters) }
    }

    /// All tokens so far: prompts and what was generated.
    public func tokens() async throws -> [UInt32] {
        try await blocking { self.tokensBlocking() }
    }

    /// Takes the last `count` tokens back; all of them where there are fewer.
    public func rollback(_ count: UInt64) async throws {
        try await blocking { try self.rollbackBlocking(count: count) }
    }

    /// Another session with the same tokens, which goes its own way from here.
    public func fork() async throws -> Session {
        try await blocking { try self.forkBlocking() }
    }

    /// Writes the session to a file; `restore` of the model goes on from there without computing anything again.
    public func save(_ path: String) async throws {
        try await blocking { try self.saveBlocking(path: path) }
    }
}

extension Chat {
    /// Adds the user's message and generates the answer. Where the loop ends early, what there is of it is recorded.
    public func send(
        _ text: String, options: GenerateOptions = GenerateOptions()
    ) -> AsyncThrowingStream<Event, Error> {
        events(cancelHandle()) { try self.sendBlocking(text: text, options: options) }
    }

    /// The same with messages of any role, as of a tool's results.
    public func send(
        _ messages: [ChatMessage], options: GenerateOptions = GenerateOptions()
    ) -> AsyncThrowingStream<Event, Error> {
        events(cancelHandle()) { try self.sendMessagesBlocking(messages: messages, options: options) }
    }

    /// Adds what tools gave and generates the answer.
    public func send(
        _ results: [ToolResult], options: GenerateOptions = GenerateOptions()
    ) -> AsyncThrowingStream<Event, Error> {
        events(cancelHandle()) { try self.sendToolResultsBlocking(results: results, options: options) }
    }

    /// Uses adapters from the next answer on, instead of those that it has.
    public func setAdapters(_ adapters: [AdapterWeight]) async throws {
        try await blocking { try self.setAdaptersBlocking(adapters: adapters) }
    }

    /// Takes the last message and its answer back; false where there is none.
    public func undo() async throws -> Bool {
        try await blocking { try self.undoBlocking() }
    }

    /// Another conversation that goes on from here.
    public func fork() async throws -> Chat {
        try await blocking { try self.forkBlocking() }
    }

    /// Writes the conversation to a file; `restoreChat` of the model goes on from there.
    public func save(_ path: String) async throws {
        try await blocking { try self.saveBlocking(path: path) }
    }
}

extension Store {
    /// All deltas, by name.
    public func list() async throws -> [DeltaInfo] {
        try await blocking { try self.listBlocking() }
    }

    /// What is known about a delta: its documents, measurements and history.
    public func details(_ name: String) async throws -> DeltaDetails {
        try await blocking { try self.detailsBlocking(name: name) }
    }

    /// The delta as it counts, as an adapter of `model`; none where the base model as it is counts.
    public func adapter(_ name: String, model: Model) async throws -> Adapter? {
        try await blocking { try self.adapterBlocking(name: name, model: model) }
    }

    /// Goes back to the generation before, or to the base model. Returns what counts now.
    public func undo(_ name: String) async throws -> UInt64 {
        try await blocking { try self.undoBlocking(name: name) }
    }

    /// Writes the delta as a GGUF adapter.
    public func export(_ name: String, to path: String) async throws {
        try await blocking { try self.exportBlocking(name: name, path: path) }
    }

    /// Writes the delta as a PEFT folder.
    public func exportPeft(_ name: String, model: Model, to folder: String) async throws {
        try await blocking { try self.exportPeftBlocking(name: name, model: model, folder: folder) }
    }
}

/// Reads a file or a folder of text: one document each, or one for each line of a `.jsonl` file.
public func readDocuments(_ path: String, origin: Origin? = nil) async throws -> [Document] {
    try await blocking { try readDocumentsBlocking(path: path, origin: origin) }
}

/// What an application says while a model learns. Each is called on the thread that learns.
public struct LearnCallbacks: Sendable {
    /// Is told how far it is.
    public var progress: @Sendable (LearnProgress) throws -> Void
    /// Is asked before every step: heat and battery can hold it up, or end it in good order.
    public var condition: @Sendable () throws -> Condition
    /// Gives documents that the store does not keep.
    public var supply: @Sendable (LearnedDocument) throws -> Document?

    public init(
        progress: @escaping @Sendable (LearnProgress) throws -> Void = { _ in },
        condition: @escaping @Sendable () throws -> Condition = { .go },
        supply: @escaping @Sendable (LearnedDocument) throws -> Document? = { _ in nil }
    ) {
        self.progress = progress
        self.condition = condition
        self.supply = supply
    }
}

extension Learner {
    /// Learns from documents, if it helps and harms nothing.
    public func learn(_ documents: [Document], callbacks: LearnCallbacks = LearnCallbacks()) async throws -> Outcome {
        let (listener, cancel) = (LearnClosures(callbacks), CancelHandle())
        return try await blocking(cancel) {
            try self.learnBlocking(documents: documents, listener: listener, cancel: cancel)
        }
    }

    /// Forgets what came from `source`.
    public func forget(_ source: String, callbacks: LearnCallbacks = LearnCallbacks()) async throws -> Outcome {
        let (listener, cancel) = (LearnClosures(callbacks), CancelHandle())
        return try await blocking(cancel) {
            try self.forgetBlocking(source: source, listener: listener, cancel: cancel)
        }
    }

    /// Learns the documents of the delta anew for this learner's model.
    public func rebuild(callbacks: LearnCallbacks = LearnCallbacks()) async throws -> Outcome {
        let (listener, cancel) = (LearnClosures(callbacks), CancelHandle())
        return try await blocking(cancel) { try self.rebuildBlocking(listener: listener, cancel: cancel) }
    }
}

extension Event {
    /// The event's text: whole characters, often none; in order the generated text.
    public var text: String {
        switch self {
        case .token(_, let text, _, _): return text
        case .done(_, let text, _, _): return text
        }
    }
}

extension TernError: LocalizedError {
    public var errorDescription: String? { summary() }
}

/// One event at a time: the model waits for the loop over the stream.
private func events(
    _ cancel: CancelHandle, _ start: @escaping @Sendable () throws -> Generation
) -> AsyncThrowingStream<Event, Error> {
    let running = Running(start)
    return AsyncThrowingStream { try await blocking(cancel) { try running.next() } }
}

/// A generation that begins when its first event is wanted. The stream calls it once at a time.
private final class Running: @unchecked Sendable {
    private let start: @Sendable () throws -> Generation
    private var generation: Generation?

    init(_ start: @escaping @Sendable () throws -> Generation) { self.start = start }

    func next() throws -> Event? {
        let generation = try self.generation ?? start()
        self.generation = generation
        return try generation.nextBlocking()
    }
}

/// Threads that may block: never those of Swift's concurrency, of which there is only one a core.
private let threads = DispatchQueue(label: "tern", qos: .userInitiated, attributes: .concurrent)

/// Runs `work` on a thread that may block. When the task is cancelled, uses `cancel`; the work then ends soon.
private func blocking<T: Sendable>(
    _ cancel: CancelHandle? = nil, _ work: @escaping @Sendable () throws -> T
) async throws -> T {
    do {
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                threads.async { continuation.resume(with: Result { try work() }) }
            }
        } onCancel: {
            cancel?.cancel()
        }
    } catch TernError.Cancelled where Task.isCancelled {
        throw CancellationError()
    }
}

private final class ProgressClosure: LoadListener {
    private let closure: @Sendable (UInt64, UInt64) throws -> Void

    init(_ closure: @escaping @Sendable (UInt64, UInt64) throws -> Void) { self.closure = closure }

    func progress(doneBytes: UInt64, totalBytes: UInt64) throws { try closure(doneBytes, totalBytes) }
}

private final class LearnClosures: LearnListener {
    private let callbacks: LearnCallbacks

    init(_ callbacks: LearnCallbacks) { self.callbacks = callbacks }

    func progress(progress: LearnProgress) throws { try callbacks.progress(progress) }

    func condition() throws -> Condition { try callbacks.condition() }

    func supply(document: LearnedDocument) throws -> Document? { try callbacks.supply(document) }
}

private final class LogClosure: LogSink {
    private let closure: @Sendable (LogLevel, String) -> Void

    init(_ closure: @escaping @Sendable (LogLevel, String) -> Void) { self.closure = closure }

    func log(level: LogLevel, line: String) throws { closure(level, line) }
}
