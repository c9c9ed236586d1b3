//! `runner man`: manual pages, of the same words as `--help`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory as _, Parser};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::{Cli, Ending, fail, print};

/// Write the manual pages.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  \
                  runner man | man -l -\n  \
                  runner man ~/.local/share/man/man1\n\n\
                  With a directory, the page of the program and one of each verb are written \
                  there, and their paths are printed.")]
pub(super) struct Args {
    /// Where the pages are written; without it, the page of the program is printed.
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    dir: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Ending {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let done = match &args.dir {
        None => page(&program).map(|page| print(page.trim_end())),
        Some(dir) => fs::create_dir_all(dir).and_then(|()| write_all(&program, dir)),
    };
    match done {
        Ok(()) => Ending::Done,
        Err(error) => fail("the manual cannot be written", &error),
    }
}

/// Writes the page of the command and of all within it.
fn write_all(command: &Command, dir: &Path) -> io::Result<()> {
    let path = dir.join(format!("{}.1", name(command)));
    fs::write(&path, page(command)?)?;
    print(path.display());
    verbs(command).try_for_each(|verb| write_all(verb, dir))
}

fn verbs(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|verb| !verb.is_hide_set())
}

/// As the page is called: `runner-get`.
fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

fn page(command: &Command) -> io::Result<String> {
    let man = Man::new(command.clone());
    let mut page = Vec::new();
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    rest(command).to_writer(&mut page)?;
    let page = String::from_utf8(page).map_err(io::Error::other)?;
    // Each section begins with the same two lines on apostrophes, which belong above the title; and
    // a title without a date has to say so.
    let preamble = page.lines().take(2).collect::<Vec<_>>();
    let sections = page.lines().filter(|line| !preamble.contains(line)).collect::<Vec<_>>();
    let (preamble, sections) = (preamble.join("\n"), sections.join("\n"));
    let (title, version) = (name(command).to_uppercase(), env!("CARGO_PKG_VERSION"));
    Ok(format!("{preamble}\n.TH {title} 1 \"\" \"{PROGRAM} {version}\" {PROGRAM}\n{sections}\n"))
}

/// What `--help` says below the options, in sections of its own: examples come first there, then
/// what else is to be known.
fn rest(command: &Command) -> Roff {
    let said = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let paragraphs = || said.split("\n\n").map(str::trim_end);
    let mut rest = Roff::new();
    let notes = paragraphs().filter(|it| !is_example(it) && !it.starts_with(EXIT));
    for (index, note) in notes.enumerate() {
        rest.control(if index == 0 { "SH" } else { "PP" }, (index == 0).then_some("NOTES"));
        rest.text([roman(note)]);
    }
    rest.control("SH", ["EXAMPLES"]).control("nf", []);
    for example in paragraphs().filter(|it| is_example(it)) {
        let (_, lines) = example.split_once(':').unwrap_or_default();
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            rest.text([bold(line)]);
        }
    }
    rest.control("fi", []).control("SH", ["EXIT STATUS"]);
    for ending in Ending::ALL {
        rest.control("TP", []).text([bold((ending as u8).to_string())]);
        rest.text([roman(format!("{}.", ending.meaning()))]);
    }
    for note in paragraphs().filter(|it| it.starts_with(EXIT) && command.get_name() != PROGRAM) {
        rest.control("PP", []).text([roman(note)]);
    }
    if command.get_name() != PROGRAM {
        rest.control("SH", ["SEE ALSO"]).text([bold(PROGRAM), roman("(1)")]);
    }
    rest
}

fn is_example(paragraph: &str) -> bool {
    paragraph.starts_with("Example")
}

/// How a paragraph on exit codes begins.
const EXIT: &str = "Exit";

const PROGRAM: &str = env!("CARGO_PKG_NAME");
