//! `runner completions`: what a shell needs to complete command lines.
//!
//! ```text
//! once:  runner completions SHELL ──► script ──► the shell
//! Tab:   script ──words, RUNNER_COMPLETE=SHELL──► answer ──► clap's engine ──► candidates
//! ```
//!
//! The script asks this very program at each Tab: so it knows the agents that there are, and
//! nothing has to be kept in step with the verbs.

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::{Path, absolute};

use clap::{Arg, Command, CommandFactory as _, Parser, ValueHint};
use clap_complete::env::Shells;
use clap_complete::{ArgValueCompleter, CompleteEnv, Shell};

use super::candidates::{self, Asked};
use super::{Cli, Ending, fail, print};

/// The variable by which a shell says that it asks, and which one it is. No other program is asked
/// by it, so nobody has it set by accident.
const ASKS: &str = "RUNNER_COMPLETE";

/// Print what a shell needs to complete command lines, with the names of agents.
#[derive(Debug, Parser)]
#[command(after_help = "Examples, each for the file that the shell reads when it starts:\n  \
                  source <(runner completions bash)          # bash: ~/.bashrc\n  \
                  source <(runner completions zsh)           # zsh: ~/.zshrc, after compinit\n  \
                  runner completions fish | source           # fish: ~/.config/fish/config.fish\n  \
                  eval (runner completions elvish | slurp)   # elvish: ~/.config/elvish/rc.elv\n  \
                  runner completions powershell | Out-String | Invoke-Expression   # $PROFILE\n\n\
                  What is printed belongs to this version of the program: have it printed anew \
                  rather than keep it in a file.")]
pub(super) struct Args {
    /// For which shell.
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &Args) -> Ending {
    match program().and_then(|program| script(args.shell, &program)) {
        Ok(script) => {
            print(script.trim());
            Ending::Done
        }
        Err(error) => fail("completions cannot be had", &error),
    }
}

fn script(shell: Shell, program: &str) -> io::Result<String> {
    let shells = Shells::builtins();
    let shell = shells.completer(&shell.to_string()).ok_or(io::ErrorKind::Unsupported)?;
    let name = env!("CARGO_PKG_NAME");
    let mut script = Vec::new();
    shell.write_registration(ASKS, name, name, program, &mut script)?;
    String::from_utf8(script).map_err(io::Error::other)
}

/// What the shell is to ask: the program as it was called, wherever that is done.
fn program() -> io::Result<String> {
    let called = env::args_os().next().unwrap_or_default();
    let is_path = Path::new(&called).components().count() > 1;
    let program = if is_path { absolute(&called)?.into_os_string() } else { called };
    // The scripts of some shells cannot quote it.
    program.into_string().ok().filter(|program| candidates::is_plain(program)).ok_or_else(|| {
        io::Error::other("the program's path has characters that shells read otherwise; call it by its name, from PATH")
    })
}

/// Answers a shell that asks for candidates; none if nobody asks. What goes wrong is told to
/// nobody: it would be written into the middle of a command line.
pub(super) fn answer() -> Option<Ending> {
    let shell = env::var_os(ASKS).filter(|shell| !shell.is_empty())?;
    let words: Vec<OsString> = env::args_os().skip_while(|word| word != "--").skip(1).collect();
    candidates::asked(Asked { quotes: quotes(&shell.to_string_lossy()), words });
    let cwd = env::current_dir().ok();
    let engine = CompleteEnv::with_factory(command).var(ASKS);
    match engine.try_complete(env::args_os(), cwd.as_deref()) {
        Ok(true) => Some(Ending::Done),
        Ok(false) => None,
        Err(_) => Some(Ending::Failed),
    }
}

/// Whether the shell quotes what it puts into the command line. Others put it there as it is.
fn quotes(shell: &str) -> bool {
    matches!(shell, "zsh" | "fish" | "elvish")
}

/// All that can be completed.
fn command() -> Command {
    with_safe_paths(Cli::command().disable_help_subcommand(true))
}

/// The engine itself would offer paths as they are.
fn with_safe_paths(command: Command) -> Command {
    let complete = |arg: Arg| {
        let is_path = matches!(arg.get_value_hint(), ValueHint::AnyPath | ValueHint::DirPath);
        if is_path && arg.get::<ArgValueCompleter>().is_none() {
            arg.add(ArgValueCompleter::new(candidates::directories))
        } else {
            arg
        }
    };
    command.mut_args(complete).mut_subcommands(with_safe_paths)
}
