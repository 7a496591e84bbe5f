#!/usr/bin/env python3
"""llama.cpp's side of tests/peers/run: one process, one model, one JSON object.

    $(tests/peers/setup) tests/peers/llama_bench.py MODEL -p 512 -n 128 -t 2 -r 5
    $(tests/peers/setup) tests/peers/llama_bench.py MODEL --first-token "Once upon a time" -t 2

It does what llama-bench does: random tokens, the cache cleared before every repetition, logits of the last token only,
batches and micro-batches of 512, f16 cache, flash attention as llama.cpp chooses, one warm-up of both kinds. Only the C
calls llama_decode and llama_synchronize are timed. --depth fills the cache before the clock of decoding starts, as
llama-bench -d does; prefill starts from an empty cache, as in `tern bench`.

Peak memory is the process's peak less what Python and its libraries held before the model was loaded.
--first-token times loading the model, making a context of 512, tokenizing, prefilling and picking one token; Python's
own start is not in it.
"""

import argparse
import json
import random
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import llama

BATCH = 512


def status(field):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return 0


def spread(rates):
    return {"median": statistics.median(rates), "min": min(rates), "max": max(rates)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("-p", type=int, default=512, help="prompt tokens")
    parser.add_argument("-n", type=int, default=128, help="generated tokens")
    parser.add_argument("-t", type=int, default=2, help="threads")
    parser.add_argument("-r", type=int, default=5, help="repetitions")
    parser.add_argument("--depth", type=int, default=0, help="tokens in the cache before decoding starts")
    parser.add_argument("--first-token", metavar="PROMPT")
    options = parser.parse_args()
    before = status("VmRSS")

    started = time.perf_counter()
    if options.first_token is not None:
        model = llama.Llama(options.model, context=512, batch=BATCH, threads=options.t)
        tokens = model.tokenize(options.first_token)
        model.decode(tokens, 0)
        llama.c.llama_sampler_sample(llama.c.llama_sampler_init_greedy(), model.context, -1)
        print(json.dumps({"first_token_ms": (time.perf_counter() - started) * 1000, "prompt_tokens": len(tokens)}))
        return
    model = llama.Llama(options.model, context=options.p + options.n + options.depth, batch=BATCH, threads=options.t)
    load_ms = (time.perf_counter() - started) * 1000

    def feed(tokens, at):
        """Seconds that the C calls take for these tokens."""
        seconds = 0.0
        for start in range(0, len(tokens), BATCH):
            part = tokens[start : start + BATCH]
            model.fill(part, at + start)
            begin = time.perf_counter()
            model.run()
            seconds += time.perf_counter() - begin
        return seconds

    def draw(n):
        return [random.randrange(model.n_vocab) for _ in range(n)]

    def prefill(n):
        model.clear()
        return feed(draw(n), 0)

    def decode(n):
        model.clear()
        feed(draw(options.depth), 0)
        return sum(feed(draw(1), options.depth + i) for i in range(n))

    prefill(options.p)
    decode(min(options.n, 4))
    # One prefill, one decode, and so on: a slow moment of the machine does not fall on one of them alone.
    seconds = [
        (prefill(options.p) if options.p else None, decode(options.n) if options.n else None) for _ in range(options.r)
    ]
    result = {
        "load_ms": load_ms,
        "peak_rss_bytes": status("VmHWM") - before,
        "python_rss_bytes": before,
        "version": f"llama-cpp-python {llama.c.__version__}",
        "system": llama.c.llama_print_system_info().decode().strip(" |\n"),
    }
    if options.p:
        result["prefill_tok_s"] = spread([options.p / each[0] for each in seconds])
    if options.n:
        result["decode_tok_s"] = spread([options.n / each[1] for each in seconds])
    print(json.dumps(result))


if __name__ == "__main__":
    main()
