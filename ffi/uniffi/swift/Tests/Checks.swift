// What an app does with Tern, end to end: checks MODEL ANOTHER-MODEL PAGES FOLDER. One line per check; exits with 1 where one
// fails.

import Foundation

#if canImport(Tern)
import Tern
#endif

struct Failure: Error, CustomStringConvertible {
    let description: String
}

func expect(_ condition: Bool, _ what: @autoclosure () -> String) throws {
    if !condition { throw Failure(description: what()) }
}

func greedy(_ tokens: UInt32) -> GenerateOptions { GenerateOptions(maxTokens: tokens) }

func text(_ events: AsyncThrowingStream<Event, Error>) async throws -> String {
    var text = ""
    for try await event in events { text += event.text }
    return text
}

/// Milliseconds until `task` has ended after it was cancelled.
func stop<T>(_ task: Task<T, Error>) async -> Double {
    let start = Date()
    task.cancel()
    _ = await task.result
    return Date().timeIntervalSince(start) * 1000
}

/// Checks run one after the other.
nonisolated(unsafe) var failures = 0

func check(_ name: String, _ body: () async throws -> String) async {
    do {
        print("ok   Swift: \(name): \(try await body())")
    } catch {
        failures += 1
        print("FAIL Swift: \(name): \(error)")
    }
}

@main
struct Checks {
    static func main() async throws {
        let arguments = CommandLine.arguments
        let runtime = try TernRuntime { level, line in print("    ", level, line) }
        await errors(runtime, arguments[1])
        let model = try await runtime.open(arguments[1])
        await streaming(model, arguments[4])
        await cancelling(runtime, model, arguments[1])
        await conversation(model, arguments[4])
        await loading(runtime, arguments[2])
        await learning(model, arguments[3], arguments[4])
        exit(failures > 0 ? 1 : 0)
    }

    static func errors(_ runtime: TernRuntime, _ path: String) async {
        await check("missing file") {
            do {
                _ = try await runtime.open("/nowhere/model.gguf")
            } catch let error as TernError {
                guard case .Io(_, "/nowhere/model.gguf", .notFound, 2) = error else { throw error }
                return error.localizedDescription
            }
            throw Failure(description: "no error")
        }
        await check("failing listener") {
            do {
                _ = try await runtime.open(path) { _, _ in throw Failure(description: "no screen to draw on") }
            } catch TernError.Callback(let text, "no screen to draw on") {
                return text
            }
            throw Failure(description: "no error")
        }
        await check("memory plan and cap") {
            let plan = try await runtime.plan(path)
            try expect(plan.fits, "\(plan)")
            do {
                _ = try await runtime.open(path, options: ModelOptions(maxBytes: 50_000_000))
            } catch TernError.Memory(_, _, let needed, let available, _) where needed > available {
                return "\(plan.totalBytes) bytes, \(needed) needed to load"
            }
            throw Failure(description: "no error")
        }
    }

    static func loading(_ runtime: TernRuntime, _ path: String) async {
        await check("model from bytes and from an open file") {
            let bytes = try Data(contentsOf: URL(fileURLWithPath: path))
            let one = try await runtime.open("bytes", bytes: bytes)
            let file = try FileHandle(forReadingFrom: URL(fileURLWithPath: path))
            let two = try await runtime.open("file", descriptor: file.fileDescriptor)
            try expect(one.info().parameters == two.info().parameters, "\(one.info()), \(two.info())")
            return "\(one.info().parameters) parameters"
        }
    }

    static func learning(_ model: Model, _ pages: String, _ folder: String) async {
        await check("learning") {
            let store = Store(path: "\(folder)/swift-store")
            let options = LearnOptions(steps: 10, batch: 2, context: 128, learningRate: 2e-3)
            let learner = try Learner(model: model, store: store, name: "manual", options: options)
            let documents = try await readDocuments(pages)
            let outcome = try await learner.learn(documents)
            if case .refused = outcome.verdict { return outcome.summary }
            try expect(outcome.generation == 1, outcome.summary)
            let delta = try await store.adapter("manual", model: model)!
            let session = try await model.session(options: SessionOptions(context: 128))
            try await session.setAdapters([AdapterWeight(adapter: delta)])
            let answer = try await text(session.generate("# kestrel watch rain", options: greedy(12)))
            try await store.export("manual", to: "\(folder)/swift-manual.gguf")
            let left = try await store.undo("manual")
            try expect(left == 0, "\(left)")
            return "\(outcome.summary); \(answer.debugDescription)"
        }
        await check("no such delta") {
            do {
                _ = try await Store(path: folder).details("none")
            } catch TernError.NoDelta(let text, _, "none") {
                return text
            }
            throw Failure(description: "no error")
        }
    }

    static func streaming(_ model: Model, _ folder: String) async {
        await check("stream") {
            let session = try await model.session(options: SessionOptions(context: 64))
            let answer = try await text(session.generate("The capital of France is", options: greedy(8)))
            try expect(answer.contains("Paris"), answer)
            return answer.debugDescription
        }
        await check("save, restore, fork, roll back: the same tokens") {
            let session = try await model.session(options: SessionOptions(context: 128))
            _ = try await text(session.generate("Once upon a time", options: greedy(20)))
            try await session.save("\(folder)/swift-session")
            let restored = try await model.restore("\(folder)/swift-session")
            let fork = try await session.fork()
            let expected = try await text(session.generate(tokens: [], options: greedy(10)))
            try await session.rollback(10)
            for other in [restored, fork, session] {
                let answer = try await text(other.generate(tokens: [], options: greedy(10)))
                try expect(answer == expected, "\(answer) but \(expected)")
            }
            let tokens = try await session.tokens().count
            return "\(expected.debugDescription), \(tokens) tokens"
        }
    }

    static func cancelling(_ runtime: TernRuntime, _ model: Model, _ path: String) async {
        await check("cancel mid-prompt, mid-answer and while loading") {
            let session = try await model.session(options: SessionOptions(isolated: true))
            let long = String(repeating: "word ", count: 3000)
            let prompt = Task { for try await _ in session.generate(long) {} }
            try await Task.sleep(nanoseconds: 200_000_000)
            let first = await stop(prompt)
            try await session.rollback(.max)
            let endless = GenerateOptions(maxTokens: 3000, ignoreEnd: true)
            let answer = Task {
                var last: Event?
                for try await event in session.generate("Once", options: endless) { last = event }
                return last
            }
            try await Task.sleep(nanoseconds: 200_000_000)
            let second = await stop(answer)
            if case .done(let reason, _, _, _)? = try await answer.value {
                try expect(reason == .cancelled, "\(reason)")
            }
            let loading = Task { try await runtime.open(path) }
            try await Task.sleep(nanoseconds: 2_000_000)
            let third = await stop(loading)
            if case .failure(let error) = await loading.result {
                try expect(error is CancellationError, "\(error)")
            }
            try expect(max(first, second) < 50, "\(first), \(second), \(third) ms")
            try await model.trim()
            return String(format: "stopped after %.0f, %.0f and %.0f ms", first, second, third)
        }
    }

    static func conversation(_ model: Model, _ folder: String) async {
        await check("chat") {
            let chat = try await model.chat(system: "Answer in one short sentence.")
            let answer = try await text(chat.send("What is the capital of France?", options: greedy(40)))
            try expect(answer.contains("Paris"), answer)
            for try await event in chat.send("Tell me a story.") where !event.text.isEmpty { break }
            _ = try await text(chat.send([ChatMessage(role: "user", text: "Thanks.")], options: greedy(5)))
            try expect(chat.messages().map(\.role) == ["user", "assistant", "user", "assistant", "user", "assistant"],
                "\(chat.messages())")
            try await chat.save("\(folder)/swift-chat")
            let restored = try await model.restoreChat("\(folder)/swift-chat")
            let fork = try await chat.fork()
            try expect(restored.messages() == fork.messages(), "\(restored.messages())")
            let undone = try await chat.undo()
            try expect(undone && chat.messages().count == 4, "\(chat.messages())")
            return answer
        }
    }
}
