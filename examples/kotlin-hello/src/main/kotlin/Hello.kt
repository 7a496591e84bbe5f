// Opens a model, asks it one question, and prints the answer as it comes: HelloKt MODEL [QUESTION]

import kotlin.system.exitProcess
import kotlinx.coroutines.runBlocking
import tern.*

fun main(arguments: Array<String>) = runBlocking {
    val path = arguments.getOrNull(0)
    if (path == null) {
        System.err.println("which model? Give the path of a GGUF file or a Hugging Face folder")
        exitProcess(2)
    }
    val question = arguments.getOrElse(1) { "Name the capital of France." }
    try {
        TernRuntime().open(path).use { model ->
            model.chat().use { chat ->
                chat.send(question).collect { event ->
                    print(event.text)
                    System.out.flush()
                }
                println()
            }
        }
    } catch (e: TernException) {
        System.err.println(e.summary())
        exitProcess(1)
    }
}
