//! `tern-conformance`: checks a plugin against the reference.

use std::io::Write;
use std::process::ExitCode;
use tern_conformance::backends::{BACKENDS, find, load};
use tern_conformance::report::{Options, Report};

const USAGE: &str = "\
tern-conformance [--backend NAME | --library PATH] [--tier NAME] [--filter TEXT] [--differences] [--json]

  --backend NAME   a plugin that is linked in (default: the last one)
  --library PATH   a plugin in a library
  --tier NAME      force an instruction-set tier of the plugin
  --filter TEXT    only cases whose title contains TEXT, such as \"LINEAR\" or \"Q4_K\"
  --differences    also check the reference's gradients against finite differences
  --json           everything as JSON

Exit code: 0 all passed, 1 something failed, 2 it could not be run.
";

struct Arguments {
    backend: String,
    library: Option<String>,
    json: bool,
    options: Options,
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let backend = BACKENDS.last().map_or("", |(name, _)| name).to_owned();
    let mut out = Arguments { backend, library: None, json: false, options: Options::default() };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--backend" => out.backend = value()?,
            "--library" => out.library = Some(value()?),
            "--tier" => out.options.tier = value()?,
            "--filter" => out.options.filter = value()?,
            "--differences" => out.options.finite = true,
            "--json" => out.json = true,
            "--help" | "-h" => return Err(String::new()),
            other => return Err(format!("unknown option {other}")),
        }
    }
    Ok(out)
}

fn run(arguments: &Arguments) -> Result<Report, String> {
    let entry = match &arguments.library {
        // SAFETY: whoever names a library to check trusts it to be a plugin.
        Some(path) => unsafe { load(path) },
        None => find(&arguments.backend),
    };
    let entry = entry.map_err(|error| error.to_string())?;
    Report::run(entry, &arguments.options).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => {
            let _ = write!(err, "{message}{}{USAGE}", if message.is_empty() { "" } else { "\n\n" });
            return ExitCode::from(2);
        }
    };
    match run(&arguments) {
        Ok(report) => {
            // A closed pipe is the reader's choice; the exit code still tells.
            let _ =
                if arguments.json { writeln!(out, "{:#}", report.json()) } else { write!(out, "{}", report.text()) };
            if report.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(message) => {
            let _ = writeln!(err, "tern-conformance: {message}");
            ExitCode::from(2)
        }
    }
}
