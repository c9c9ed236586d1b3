//! What is wrong with a file, where, and what to write instead.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// A range of bytes of the file.
pub(super) type Span = Range<usize>;

/// How many mistakes of a file are shown with the lines that they are in.
const MOST_DRAWN: usize = 100;

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    span: Span,
    title: String,
    label: Option<String>,
    help: Option<String>,
    related: Option<(Span, String)>,
}

impl Mistake {
    pub(super) fn at(span: &Span, title: impl Into<String>) -> Self {
        Self { span: span.clone(), title: title.into(), label: None, help: None, related: None }
    }

    fn place(&self, lines: &Lines<'_>) -> Place<'_> {
        let (line, column) = lines.place(self.span.start);
        Place { line, column, message: &self.title, help: self.help.as_deref() }
    }

    /// Words beside the marked place.
    pub(super) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// What to write instead.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Another place that has to do with it.
    pub(super) fn related(mut self, span: Option<&Span>, label: impl Into<String>) -> Self {
        self.related = span.map(|span| (span.clone(), label.into()));
        self
    }
}

/// Collects mistakes while the file is walked.
#[derive(Debug, Default)]
pub(super) struct Sink {
    list: RefCell<Vec<Mistake>>,
    broken: Cell<bool>,
}

impl Sink {
    pub(super) fn note(&self, mistake: Mistake) {
        self.list.borrow_mut().push(mistake);
    }

    /// Notes that something is missing, unless the file could not be read in full: what is missing
    /// may then stand where it could not be read.
    pub(super) fn note_absence(&self, mistake: Mistake) {
        if !self.broken.get() {
            self.note(mistake);
        }
    }

    /// Notes a place that is not TOML.
    pub(super) fn note_broken(&self, mistake: Mistake) {
        self.broken.set(true);
        self.note(mistake);
    }

    /// All mistakes in the order of the file, or nothing if there are none. Where a line is not
    /// TOML, what else seems wrong with it follows from that, and is left out.
    pub(super) fn into_mistakes(self, file: &str, text: &str, syntax: usize) -> Option<Mistakes> {
        let mut list = self.list.into_inner();
        if list.is_empty() {
            return None;
        }
        let lines = Lines::of(text);
        let (broken, others) = list.split_at(syntax.min(list.len()));
        let bad: BTreeSet<usize> = broken.iter().map(|it| lines.place(it.span.start).0).collect();
        let kept = others.iter().filter(|it| !bad.contains(&lines.place(it.span.start).0));
        list = broken.iter().chain(kept).cloned().collect();
        list.sort_by_key(|mistake| (mistake.span.start, mistake.span.end));
        list.dedup();
        Some(Mistakes { file: file.to_owned(), text: text.to_owned(), list })
    }
}

/// Everything that is wrong with a file: never empty, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes {
    file: String,
    text: String,
    list: Vec<Mistake>,
}

impl std::error::Error for Mistakes {}

/// A mistake as one line of a log has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'m> {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// What is wrong.
    pub message: &'m str,
    /// What to write instead.
    pub help: Option<&'m str>,
}

impl Place<'_> {
    /// As a line, after the name of the file.
    fn after(&self, file: &str) -> String {
        let Place { line, column, message, help } = self;
        let help = help.map_or_else(String::new, |help| format!("; {help}"));
        format!("{file}:{line}:{column}: {message}{help}")
    }
}

impl Mistakes {
    /// A file whose single mistake is `mistake`.
    pub(super) fn only(file: &str, text: &str, mistake: Mistake) -> Self {
        Self { file: file.to_owned(), text: text.to_owned(), list: vec![mistake] }
    }

    /// The file, as it was named to [`parse`](super::parse).
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// How many there are; at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Each mistake with its place, in the order of the file.
    #[must_use]
    pub fn places(&self) -> Vec<Place<'_>> {
        let lines = Lines::of(&self.text);
        self.list.iter().map(|mistake| mistake.place(&lines)).collect()
    }

    /// The mistakes as a person reads them: each with its place, the offending line and what to
    /// write. Where there are very many, the lines are left out after the first of them: each may
    /// be as long as the file.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let lines = Lines::of(&self.text);
        let (first, others) = self.list.split_at(self.list.len().min(MOST_DRAWN));
        let each = |mistake: &Mistake| self.render_one(&renderer, &lines, mistake);
        let mut text = first.iter().map(each).collect::<Vec<_>>().join("\n\n");
        for mistake in others {
            let place = mistake.place(&lines);
            // Writing to a string does not fail.
            let _ = write!(text, "\n{}", place.after(&self.file));
        }
        text
    }

    fn render_one(&self, renderer: &Renderer, lines: &Lines<'_>, mistake: &Mistake) -> String {
        let mut from = mistake.span.start;
        let mut to = mistake.span.end;
        if let Some((related, _)) = &mistake.related {
            from = from.min(related.start);
            to = to.max(related.end);
        }
        // Only the lines in question: the cost of a mistake must not grow with the file.
        let (first_line, excerpt_start, excerpt) = lines.excerpt(from, to);
        let within = |span: &Span| -> Span {
            let clamp = |at: usize| boundary(excerpt, at.saturating_sub(excerpt_start));
            clamp(span.start)..clamp(span.end)
        };
        let primary =
            AnnotationKind::Primary.span(within(&mistake.span)).label(mistake.label.as_deref());
        let mut snippet = Snippet::source(excerpt)
            .path(self.file.as_str())
            .line_start(first_line)
            .annotation(primary);
        if let Some((span, label)) = &mistake.related {
            let context = AnnotationKind::Context.span(within(span)).label(label);
            snippet = snippet.annotation(context);
        }
        let mut group = Level::ERROR.primary_title(&mistake.title).element(snippet);
        if let Some(help) = &mistake.help {
            group = group.element(Level::HELP.message(help));
        }
        renderer.render(&[group])
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, place) in self.places().into_iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&place.after(&self.file))?;
        }
        Ok(())
    }
}

/// The greatest boundary between characters that is not behind `at`.
fn boundary(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|index| text.is_char_boundary(*index)).unwrap_or(0)
}

/// A text, and where its lines begin.
pub(super) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        let after_newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(after_newlines).collect() }
    }

    /// The line that holds the byte at `offset` (from 0), and where it begins.
    fn line(&self, offset: usize) -> (usize, usize) {
        let index = self.starts.partition_point(|start| *start <= offset).saturating_sub(1);
        (index, self.starts.get(index).copied().unwrap_or(0))
    }

    /// Line and column, from 1.
    pub(super) fn place(&self, offset: usize) -> (usize, usize) {
        let offset = boundary(self.text, offset);
        let (index, start) = self.line(offset);
        let before = self.text.get(start..offset).unwrap_or_default();
        (index + 1, before.chars().count() + 1)
    }

    /// The whole lines from that of `from` to that of `to`: the number of the first, from 1, the
    /// offset at which it begins, and the text.
    fn excerpt(&self, from: usize, to: usize) -> (usize, usize, &'t str) {
        let (first, start) = self.line(boundary(self.text, from));
        let (last, _) = self.line(boundary(self.text, to.max(from)));
        let end = self.starts.get(last + 1).copied().unwrap_or(self.text.len());
        (first + 1, start, self.text.get(start..end).unwrap_or_default())
    }
}
