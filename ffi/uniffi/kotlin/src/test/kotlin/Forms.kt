// Text of a given form, calls of tools, embeddings, text without an end.

import kotlin.math.abs
import kotlinx.coroutines.flow.toList
import tern.*

suspend fun forms(path: String, tools: String) {
    val runtime = TernRuntime()
    val model = runtime.open(path)
    structured(model)
    embedding(model)
    endless(model)
    model.close()
    runtime.open(tools).use { calling(it) }
}

suspend fun written(model: Model, form: Form, prompt: String): String =
    model.session(SessionOptions(context = 256u)).use { session ->
        model.constraint(form).use { constraint ->
            session.generate(prompt, GenerateOptions(maxTokens = 60u, constraint = constraint)).toList().text()
        }
    }

suspend fun structured(model: Model) {
    check("JSON of a schema") {
        val schema = """{"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"],
            "additionalProperties": false}"""
        val text = written(model, Form.JsonSchema(schema), "The capital of France, as JSON:")
        expect(Regex("""\s*\{\s*"city"\s*:\s*"(Paris|Rome)"\s*\}\s*""").matches(text)) { text }
        text
    }
    check("a regular expression and a grammar") {
        val date = written(model, Form.Regex("[12][0-9]{3}-[01][0-9]"), "The date of today is ")
        expect(Regex("[12][0-9]{3}-[01][0-9]").matches(date)) { date }
        val sum = written(model, Form.Gbnf("root ::= [0-9] \" + \" [0-9] \" = \" [0-9]+ \".\""), "A sum: ")
        expect(Regex("""\d \+ \d = \d+\.""").matches(sum)) { sum }
        "$date, $sum"
    }
    check("a grammar that is none") {
        val e = failing<TernException.Constraint> { model.constraint(Form.Gbnf("root ::= \"a\"\nother ::= (")) }
        expect(e.line == 2uL && e.kind() == ErrorKind.INPUT) { "$e" }
        "line ${e.line}, column ${e.column}: ${e.reason}"
    }
}

suspend fun embedding(model: Model) {
    check("embeddings") {
        val texts = listOf("A cat sits on the mat.", "A kitten lies on the rug.", "The bank raised its interest rates.")
        val (cat, kitten, bank) = model.embed(texts)
        fun near(a: List<Float>, b: List<Float>) = a.zip(b).sumOf { (x, y) -> x.toDouble() * y }
        expect(abs(near(cat, cat) - 1) < 1e-4) { "length ${near(cat, cat)}" }
        expect(near(cat, kitten) > near(cat, bank)) { "${near(cat, kitten)}, ${near(cat, bank)}" }
        val last = model.embed(texts, Pooling.LAST).first()
        expect(last != cat) { "pooling changes nothing" }
        "%d numbers, %.3f to what is alike, %.3f to what is not".format(cat.size, near(cat, kitten), near(cat, bank))
    }
}

suspend fun endless(model: Model) {
    check("text without an end") {
        val session = model.session(SessionOptions(context = 64u))
        val options = GenerateOptions(maxTokens = 150u, ignoreEnd = true, endless = true)
        val events = session.generate("Once upon a time", options).toList()
        expect(events.tokens().size == 150 && events.done().reason == StopReason.LENGTH) { "${events.done()}" }
        expect(session.tokens().size <= 64) { "${session.tokens().size} tokens" }
        session.close()
        "${events.tokens().size} tokens in a context of 64"
    }
}

/** The model has random weights and a template that knows tools; a form makes it call. */
suspend fun calling(model: Model) {
    check("calls of tools") {
        val tools = """[{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]"""
        val call = """<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>"""
        val chat = model.chat(options = SessionOptions(context = 2048u))
        chat.setTools(tools)
        val said = chat.send("How is it?", saying(model, "I look. $call")).toList()
        expect(said.text() == "I look. ") { said.text() }
        val made = chat.toolCalls().single()
        expect(made.name == "weather" && made.arguments == """{"city":"Oslo"}""" && made.id.isNotEmpty()) { "$made" }
        val result = ToolResult(name = made.name, id = made.id, text = "3 degrees")
        val answer = chat.sendToolResults(listOf(result), saying(model, "It is cold.")).toList()
        expect(answer.text() == "It is cold.") { answer.text() }
        expect(chat.messages().map { it.role } == listOf("user", "assistant", "tool", "assistant")) { "${chat.messages()}" }
        val e = failing<TernException.Setting> { chat.setTools("weather!") }
        expect(e.setting == "tools") { "$e" }
        chat.close()
        "${made.name}(${made.arguments}) -> \"${answer.text()}\""
    }
}

suspend fun saying(model: Model, text: String): GenerateOptions {
    val literal = text.map { "\\x{%x}".format(it.code) }.joinToString("")
    return GenerateOptions(maxTokens = 1000u, constraint = model.constraint(Form.Regex(literal)))
}
