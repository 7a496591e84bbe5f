"""llama.cpp through the C API that llama-cpp-python exposes; no Python of theirs takes part in a run."""

import ctypes

import llama_cpp as c
import numpy as np

FILE_TYPES = {
    "F32": 0,
    "F16": 1,
    "Q4_0": 2,
    "Q4_1": 3,
    "Q8_0": 7,
    "Q5_0": 8,
    "Q5_1": 9,
    "Q4_K_M": 15,
    "Q6_K": 18,
    "BF16": 32,
}  # enum llama_ftype


@c.llama_log_callback
def _quiet(level, text, _):
    if level == 4:  # GGML_LOG_LEVEL_ERROR
        print(text.decode(errors="replace"), end="")


c.llama_log_set(_quiet, ctypes.c_void_p(0))
c.llama_backend_init()


def quantize(source, target, type_name, threads=2):
    """What `llama-quantize --allow-requantize SOURCE TARGET TYPE` does, no other option set."""
    params = c.llama_model_quantize_default_params()
    params.ftype = FILE_TYPES[type_name]
    params.nthread = threads
    params.allow_requantize = True
    if c.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params)):
        raise SystemExit(f"llama.cpp could not make {target}")


class Llama:
    """One model with one context. `flash`: llama-bench's default is to let llama.cpp choose (-1)."""

    def __init__(self, path, context=1024, batch=512, threads=2, flash=-1, kv="F16", all_logits=False, embeddings=False):
        params = c.llama_model_default_params()
        self.model = c.llama_model_load_from_file(str(path).encode(), params)
        if not self.model:
            raise SystemExit(f"llama.cpp could not load {path}")
        self.vocab = c.llama_model_get_vocab(self.model)
        self.n_vocab = c.llama_vocab_n_tokens(self.vocab)
        params = c.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = context, batch, batch
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = flash
        params.type_k = params.type_v = {"F32": 0, "F16": 1}[kv]
        params.no_perf = True
        params.embeddings = embeddings
        self.context = c.llama_init_from_model(self.model, params)
        if not self.context:
            raise SystemExit("llama.cpp could not make a context")
        self.batch = c.llama_batch_init(batch, 0, 1)
        self.size = batch
        self.all_logits = all_logits

    def clear(self):
        c.llama_memory_clear(c.llama_get_memory(self.context), True)

    def decode(self, tokens, at):
        """Runs one batch whose first token stands at position `at`; logits for the last token, or for all."""
        self.fill(tokens, at)
        self.run()

    def fill(self, tokens, at):
        batch = self.batch
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i] = token
            batch.pos[i] = at + i
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = self.all_logits or i == len(tokens) - 1

    def run(self):
        if c.llama_decode(self.context, self.batch):
            raise SystemExit("llama_decode failed")
        c.llama_synchronize(self.context)

    def logits(self, tokens):
        """Logits after each token, from an empty context: float32 [tokens, vocabulary]."""
        self.clear()
        out = np.empty((len(tokens), self.n_vocab), np.float32)
        for start in range(0, len(tokens), self.size):
            part = tokens[start : start + self.size]
            self.decode(part, start)
            raw = ctypes.cast(
                c.llama_get_logits(self.context), ctypes.POINTER(ctypes.c_float * (len(part) * self.n_vocab))
            )
            out[start : start + len(part)] = np.frombuffer(raw.contents, np.float32).reshape(len(part), self.n_vocab)
        return out

    def embed(self, tokens):
        """The vector of a text, pooled as the file says and not scaled."""
        self.all_logits = True
        self.decode(tokens, 0)
        size = c.llama_model_n_embd(self.model)
        raw = ctypes.cast(c.llama_get_embeddings_seq(self.context, 0), ctypes.POINTER(ctypes.c_float * size))
        return np.frombuffer(raw.contents, np.float32).astype(np.float64)

    def tokenize(self, text, special=True, around=False):
        """`special`: may texts have control tokens? `around`: with those that the file puts around a text?"""
        data = text.encode()
        buffer = (ctypes.c_int32 * (len(data) + 8))()
        n = c.llama_tokenize(self.vocab, data, len(data), buffer, len(buffer), around, special)
        return list(buffer[:n])

    def close(self):
        c.llama_batch_free(self.batch)
        c.llama_free(self.context)
        c.llama_model_free(self.model)
