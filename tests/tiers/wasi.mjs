// Runs a WebAssembly program under node: `node wasi.mjs PROGRAM.wasm ARGUMENTS...`, a runner for cargo.
import { readFile } from "node:fs/promises";
import { WASI } from "node:wasi";

const [file, ...args] = process.argv.slice(2);
const wasi = new WASI({ version: "preview1", args: [file, ...args], env: process.env, returnOnExit: true });
const module = await WebAssembly.compile(await readFile(file));

// Older versions of WASI's libc lack the functions for threads that Rust's std calls. Without threads they are quickly told.
const EAGAIN = 6;
const threads = {
  pthread_attr_init: () => 0,
  pthread_attr_setstacksize: () => 0,
  pthread_attr_destroy: () => 0,
  pthread_create: () => EAGAIN,
  pthread_join: () => EAGAIN,
  pthread_detach: () => EAGAIN,
};

const instance = await WebAssembly.instantiate(module, { ...wasi.getImportObject(), env: threads });
process.exitCode = wasi.start(instance);
